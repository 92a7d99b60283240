package canonical

import metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

func (r *reader) tableCreated(s span, m *metadatav1.CreateTableResponse) {
	for f := (field{}); r.next(&s, &f); {
		switch {
		case f.tag == 1<<3|chunk && m.Table == nil:
			m.Table = new(metadatav1.TableSchema)
			r.table(f.value, m.Table)
		case f.tag == 2<<3|chunk && m.Result == nil:
			m.Result = r.result(f.value)
		default:
			r.odd = true
		}
	}
}

func (r *reader) tableRead(s span, m *metadatav1.GetTableResponse) {
	for f := (field{}); r.next(&s, &f); {
		switch {
		case f.tag == 1<<3|chunk && m.Table == nil:
			m.Table = new(metadatav1.TableSchema)
			r.table(f.value, m.Table)
		case f.tag == 2<<3|chunk && m.Position == nil:
			m.Position = r.position(f.value)
		default:
			r.odd = true
		}
	}
}

// result reads one without the events of a dry run.
func (r *reader) result(s span) *metadatav1.WriteResult {
	w := new(metadatav1.WriteResult)
	for f := (field{}); r.next(&s, &f); {
		switch {
		case f.tag == 1<<3|chunk && w.Position == nil:
			w.Position = r.position(f.value)
		case f.tag == 3<<3|varint:
			w.Changed = f.number != 0
		case f.tag == 4<<3|varint:
			w.Deduplicated = f.number != 0
		default:
			r.odd = true
		}
	}
	return w
}

func (r *reader) position(s span) *metadatav1.Position {
	p := new(metadatav1.Position)
	for f := (field{}); r.next(&s, &f); {
		switch f.tag {
		case 1<<3 | chunk:
			p.ClusterId = r.string(f.value)
		case 2<<3 | varint:
			p.RecoveryEpoch = f.number
		case 3<<3 | varint:
			p.SchemaRevision = f.number
		case 4<<3 | varint:
			p.TopologyRevision = f.number
		default:
			r.odd = true
		}
	}
	return p
}
