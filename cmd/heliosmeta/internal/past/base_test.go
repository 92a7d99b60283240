package past

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// left is what is left of the tables of a member from a revision on, with its base.
func left(first uint64) *historytest.Based {
	changes := historytest.Tables(tables, 1)
	base := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(changes[:first-1])
	var checkpoint []byte
	for chunk := range base.Chunks(1 << 20) {
		checkpoint = append(checkpoint, chunk...)
	}
	return historytest.New(schemaStream, changes).Trim(first).Base(checkpoint)
}

// wantFolded rehearses a past whose schema begins at a revision, and reads it as it was from
// right before that on.
func wantFolded(t *testing.T, p Past, first uint64) {
	t.Helper()
	r, err := Rehearse(t.Context(), p, schemaStream, nil)
	must(t, err)
	if r.From.Revision != first-1 || r.State.Head().Revision != tables || len(r.Said) == 0 {
		t.Errorf("folded %d to %d, said: %d", r.From.Revision, r.State.Head().Revision, len(r.Said))
	}
	for _, c := range r.Said {
		if !c.Fits() {
			t.Errorf("%s at %d: %v, %v", c.By, c.Head.GetRevision(), c.Err, c.Difference)
		}
	}
	for _, revision := range []uint64{first - 1, first, tables} {
		res, err := p.Tables(t.Context(), "", at(revision))
		if err != nil || len(res.GetTables()) != int(revision) {
			t.Errorf("at %d: %d tables, %v", revision, len(res.GetTables()), err)
		}
	}
	if _, err := p.Tables(t.Context(), "", at(first-2)); !failure.Is(err, trimmed) {
		t.Errorf("at %d: %v", first-2, err)
	}
	res, err := p.Table(t.Context(), tableNamed(3), at(first))
	if err != nil || res.GetTable().GetTableId() != 3 {
		t.Errorf("a table that nothing is left of is %v, %v", res, err)
	}
	verdicts, err := Verify(t.Context(), p, p.Streams()[:1], nil, nil)
	if err != nil || verdicts[0].History.First != first || !verdicts[0].Base || verdicts[0].Lacks() {
		t.Errorf("verified %+v, %v", verdicts, err)
	}
}

// A file has what is left of a history and what it is folded from, and so has a directory that
// it is unpacked into.
func TestTrimmedFile(t *testing.T) {
	name := exported(t, nil, left(31))
	f, err := OpenFile(name)
	must(t, err)
	defer f.Close()
	wantFolded(t, f, 31)
	dir := filepath.Join(t.TempDir(), "imported")
	_, err = Import(t.Context(), f, dir, nil)
	must(t, err)
	p, err := OpenData(dir)
	must(t, err)
	defer p.Close()
	wantFolded(t, p, 31)
}

// A directory that was trimmed right behind a checkpoint has one, and passes it on.
func TestBaseOfADirectory(t *testing.T) {
	m := newMember(t, nil)
	must(t, m.store.TrimHistory(raftlog.GroupID(schemaStream), 41))
	p := m.open()
	wantFolded(t, p, 41)
	source, err := p.Source(t.Context(), schemaStream)
	must(t, err)
	name := filepath.Join(t.TempDir(), "left.export")
	must(t, export.Create(name, func(to io.Writer) error {
		_, err := export.Write(t.Context(), to, export.Header{}, []history.Source{source}, export.Options{})
		return err
	}))
	f, err := OpenFile(name)
	must(t, err)
	defer f.Close()
	wantFolded(t, f, 41)
}

// What has no base says so: it can be read and verified, but not folded.
func TestHistoriesWithoutABase(t *testing.T) {
	f, err := OpenFile(exported(t, nil, left(31).Memory))
	must(t, err)
	defer f.Close()
	m := newMember(t, nil)
	must(t, m.store.TrimHistory(raftlog.GroupID(schemaStream), 31))
	for name, p := range map[string]Past{"file": f, "directory": m.open()} {
		verdicts, err := Verify(t.Context(), p, p.Streams()[:1], nil, nil)
		if err != nil || verdicts[0].Base || !verdicts[0].Lacks() {
			t.Errorf("%s: verified %+v, %v", name, verdicts, err)
		}
		if _, err := p.Tables(t.Context(), "", at(31)); !IsMissing(err) {
			t.Errorf("%s: as it was: %v", name, err)
		}
	}
	if _, err := Rehearse(t.Context(), f, schemaStream, nil); !IsMissing(err) {
		t.Errorf("rehearsed with %v", err)
	}
}
