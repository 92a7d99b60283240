package past

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

const (
	trimmed  = metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED
	future   = metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION
	notFound = metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND
)

func TestDirectoryFitsItsCheckpoints(t *testing.T) {
	p := newMember(t, nil).open()
	r, err := Rehearse(t.Context(), p, schemaStream, nil)
	must(t, err)
	if r.From.Revision != 0 || r.State.Head().Revision != tables || len(r.Said) != 3 {
		t.Fatalf("folded %d to %d, said: %d", r.From.Revision, r.State.Head().Revision, len(r.Said))
	}
	for i, want := range []uint64{20, 40, tables} {
		c := r.Said[i]
		if c.Head.GetRevision() != want || !c.Fits() || c.Hashed == c.OnlyDigest {
			t.Errorf("%s at %d: %v, %v, hashed: %t", c.By, c.Head.GetRevision(), c.Err, c.Difference, c.Hashed)
		}
	}
	verdicts, err := Verify(t.Context(), p, p.Streams(), nil, nil)
	if err != nil || len(verdicts) != 3 || verdicts[0].History.Last != tables {
		t.Errorf("verified %+v, %v", verdicts, err)
	}
	if name, err := p.ClusterName(t.Context()); name != "c" || err != nil {
		t.Errorf("it is of cluster %q, %v", name, err)
	}
}

func TestDirectoryAsItWas(t *testing.T) {
	p := newMember(t, nil).open()
	for revision, point := range map[uint64]*metadatav1.HistoryPoint{0: at(0), 1: at(1), 25: at(25), 40: at(40), 41: atTime(41), tables: nil} {
		res, err := p.Tables(t.Context(), "", point)
		must(t, err)
		if res.GetRevision() != revision || len(res.GetTables()) != int(revision) {
			t.Errorf("at %v: revision %d, tables: %d", point, res.GetRevision(), len(res.GetTables()))
		}
	}
	res, err := p.Table(t.Context(), tableNamed(7), at(9))
	if err != nil || res.GetTable().GetTableId() != 7 || res.GetChangedBy().GetRevision() != 7 {
		t.Errorf("the table is %v, %v", res, err)
	}
	if _, err := p.Table(t.Context(), tableNamed(7), at(6)); !failure.Is(err, notFound) {
		t.Errorf("before it was created: %v", err)
	}
	if _, err := p.Tables(t.Context(), "", at(tables+1)); !failure.Is(err, future) {
		t.Errorf("in the future: %v", err)
	}
	d, err := p.Diff(t.Context(), schemaStream, at(10), at(12))
	if err != nil || len(d.GetObjects()) != 2 || d.GetFromRevision() != 10 || d.GetToRevision() != 12 {
		t.Errorf("the difference is %v, %v", d, err)
	}
}

func TestDirectoryReadsInPieces(t *testing.T) {
	p := newMember(t, nil).open()
	source, err := p.Source(t.Context(), schemaStream)
	must(t, err)
	next := uint64(1)
	for {
		changes, err := source.Read(t.Context(), next, 300)
		must(t, err)
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			if c.Revision() != next {
				t.Fatalf("change %d is in place of %d", c.Revision(), next)
			}
			next++
		}
	}
	if next != tables+1 {
		t.Errorf("it ends before %d", next)
	}
}

// A member that joined by a checkpoint, or was trimmed, has no more than it has.
func TestTrimmedDirectory(t *testing.T) {
	m := newMember(t, nil)
	must(t, m.store.TrimHistory(raftlog.GroupID(schemaStream), 31))
	p := m.open()
	source, err := p.Source(t.Context(), schemaStream)
	must(t, err)
	bounds, err := source.Bounds(t.Context())
	if err != nil || bounds.First != 31 || bounds.Last != tables {
		t.Fatalf("bounds %+v, %v", bounds, err)
	}
	if _, err := Verify(t.Context(), p, p.Streams(), nil, nil); err != nil {
		t.Errorf("what is left does not fit: %v", err)
	}
	_, err = source.Read(t.Context(), 30, 1)
	if !failure.Is(err, trimmed) || !strings.Contains(err.Error(), m.dir) || !strings.Contains(err.Error(), "the oldest revision there is 31") {
		t.Fatalf("before it: %v", err)
	}
	if said := failure.As(err).Metadata; said["oldest_revision"] != "31" || said["stream"] != schemaStream.String() {
		t.Errorf("before it: %v", said)
	}
	selection := &metadatav1.ChangeSelection{Stream: schemaStream, FirstRevision: 30, LastRevision: 30}
	for _, err := range p.Changes(t.Context(), selection, true) {
		if !failure.Is(err, trimmed) {
			t.Errorf("the change 30: %v", err)
		}
	}
	// Nothing that is left is about the table, but the checkpoint has it.
	res, err := p.Table(t.Context(), tableNamed(3), nil)
	if err != nil || res.GetTable().GetTableId() != 3 || res.GetChangedBy() != nil {
		t.Errorf("an old table: %v, %v", res, err)
	}
	if _, err := p.Table(t.Context(), tableNamed(3), at(35)); !failure.Is(err, trimmed) {
		t.Errorf("it where no checkpoint leads: %v", err)
	}
	r, err := Rehearse(t.Context(), p, schemaStream, nil)
	must(t, err)
	if r.From.Revision != 40 || r.State.Head().Revision != tables {
		t.Errorf("folded %d to %d", r.From.Revision, r.State.Head().Revision)
	}
	for _, c := range r.Said {
		if !c.Fits() {
			t.Errorf("%s at %d: %v, %v", c.By, c.Head.GetRevision(), c.Err, c.Difference)
		}
	}
}

// The checkpoint right before the first change is what was there until that.
func TestTheTimeRightBeforeADirectory(t *testing.T) {
	m := newMember(t, nil)
	must(t, m.store.TrimHistory(raftlog.GroupID(schemaStream), 21))
	p := m.open()
	res, err := p.Tables(t.Context(), "", atTime(20))
	if err != nil || res.GetRevision() != 20 || len(res.GetTables()) != 20 {
		t.Errorf("revision %d, tables: %d, %v", res.GetRevision(), len(res.GetTables()), err)
	}
	table, err := p.Table(t.Context(), tableNamed(7), atTime(20))
	if err != nil || table.GetTable().GetTableId() != 7 || table.GetRevision() != 20 {
		t.Errorf("a table: %v, %v", table, err)
	}
	d, err := p.Diff(t.Context(), schemaStream, atTime(20), atTime(22))
	if err != nil || d.GetFromRevision() != 20 || len(d.GetObjects()) != 2 {
		t.Errorf("the difference is %v, %v", d, err)
	}
	_, err = p.Tables(t.Context(), "", atTime(19))
	if said := failure.As(err); !failure.Is(err, trimmed) || said.Metadata["oldest_revision"] != "21" || said.Metadata["oldest_time"] != "2026-03-04T12:00:21Z" {
		t.Errorf("before it: %v", err)
	}
	long := &metadatav1.ChangeSelection{Stream: schemaStream, Since: atTime(3).GetTime(), LastRevision: 22}
	if got := revisions(t, p.Changes(t.Context(), long, true)); !slices.Equal(got, []uint64{22, 21}) {
		t.Errorf("its log since long ago: %v", got)
	}
}

func TestDamagedDirectory(t *testing.T) {
	p := newMember(t, func(r *raftlog.Record) {
		if r.First == 33 {
			r.Data = make([]byte, len(r.Data))
		}
	}).open()
	verdicts, err := Verify(t.Context(), p, p.Streams(), nil, nil)
	if damage, ok := errors.AsType[*history.DamagedError](err); !ok || damage.Revision != 33 || len(verdicts) != 0 {
		t.Errorf("verified %v with %v", verdicts, err)
	}
}

// A checkpoint that is damaged inside takes nothing away where an older one, or the beginning, leads there.
func TestADamagedCheckpointIsPassedOver(t *testing.T) {
	m := newMember(t, nil)
	path := filepath.Join(m.dir, "checkpoints", fmt.Sprintf("%d-%d.checkpoint", schemaStream, 41))
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)-raftlog.FileTrailerBytes-1] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	p := m.open()
	for _, revision := range []uint64{40, 50} {
		s, _, err := p.(*local).at(t.Context(), schemaStream, &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: revision}})
		if err != nil || s.Head().Revision != revision {
			t.Errorf("the model at %d: %v", revision, err)
		}
	}
	r, err := Rehearse(t.Context(), p, schemaStream, nil)
	must(t, err)
	if !slices.ContainsFunc(r.Said, func(c Checked) bool { return c.By == "checkpoint 41" && c.Err != nil }) {
		t.Errorf("nobody says that it is damaged: %+v", r.Said)
	}
}

func TestDirectoriesThatCannotBeRead(t *testing.T) {
	if _, err := OpenData(t.TempDir()); !failure.Is(err, notFound) {
		t.Errorf("an empty one: %v", err)
	}
	m := newMember(t, nil)
	if _, err := OpenData(m.dir); err == nil {
		t.Error("one that is in use is opened")
	} else if _, ok := errors.AsType[*raftlog.InUseError](err); !ok {
		t.Errorf("one that is in use: %v", err)
	}
	must(t, m.store.Condemn("it was wiped", 0))
	must(t, m.store.Close())
	if _, err := OpenData(m.dir); err == nil || !strings.Contains(err.Error(), "is in quarantine: it was wiped") {
		t.Errorf("one in quarantine: %v", err)
	}
}
