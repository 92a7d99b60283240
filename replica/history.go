package replica

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/raftlog"
)

// keepHistory says that the entry, which was just applied, holds these changes. A record of
// history is the digest of the stream after the entry. Written twice, after a restart, it is
// the same record.
func (r *Replica[D]) keepHistory(e *raftlog.Entry, changes []*events.Change) {
	digest := r.state.Head.Digest // a copy: the record must not keep the whole model alive
	r.group.AddHistory(raftlog.Record{First: changes[0].Revision(), Last: r.state.Head.Revision, Entry: e.Index, Data: digest[:]})
	for _, c := range changes {
		r.checkpts.grown += uint64(len(c.Raw()))
	}
}

// Past is what a stream's history says of one entry of the log.
type Past struct {
	*events.Batch
	Digest events.Digest // of the stream after it, as it was when the entry was applied
}

// DecodePast reads a record of history with its entry. It keeps references into both. An error
// means that they are not what keepHistory has seen.
func DecodePast(p *raftlog.Past) (past Past, err error) {
	if past.Batch, err = events.DecodeBatch(p.Content); err != nil {
		return past, fmt.Errorf("log entry %d: %w", p.Entry, err)
	}
	first, last := past.Changes[0].Revision(), past.Changes[len(past.Changes)-1].Revision()
	switch {
	case first != p.First || last != p.Last:
		return past, fmt.Errorf("log entry %d holds revisions %d to %d, history says %d to %d", p.Entry, first, last, p.First, p.Last)
	case past.Term != p.Term:
		return past, fmt.Errorf("log entry %d of term %d was decided in term %d, so it never took effect", p.Entry, p.Term, past.Term)
	case len(p.Data) != len(past.Digest):
		return past, fmt.Errorf("the digest after log entry %d has %d bytes", p.Entry, len(p.Data))
	}
	copy(past.Digest[:], p.Data)
	return past, nil
}

// SplitPast returns the bytes of the changes of a record of history, as DecodePast does, without
// decoding them. It keeps references into the record.
func SplitPast(p *raftlog.Past) ([][]byte, error) {
	b, changes, err := events.SplitBatch(p.Content)
	switch {
	case err != nil:
		return nil, fmt.Errorf("log entry %d: %w", p.Entry, err)
	case uint64(len(changes)) != p.Last-p.First+1:
		return nil, fmt.Errorf("log entry %d holds %d changes, history says revisions %d to %d", p.Entry, len(changes), p.First, p.Last)
	case b.Term != p.Term:
		return nil, fmt.Errorf("log entry %d of term %d was decided in term %d, so it never took effect", p.Entry, p.Term, b.Term)
	}
	return changes, nil
}
