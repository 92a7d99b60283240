package past

import (
	"context"
	"crypto/ed25519"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func revisions(t *testing.T, all iter.Seq2[*metadatav1.Change, error]) (found []uint64) {
	t.Helper()
	for c, err := range all {
		must(t, err)
		found = append(found, c.GetRevision())
	}
	return found
}

func TestSelections(t *testing.T) {
	p := openFile(t)
	since, until := atTime(57).GetTime(), atTime(59).GetTime()
	named := &metadatav1.Filter{Tables: []string{tableNamed(9).GetName(), tableNamed(30).GetName()}}
	for name, c := range map[string]struct {
		selection *metadatav1.ChangeSelection
		want      []uint64 // newest first
	}{
		"revisions": {&metadatav1.ChangeSelection{FirstRevision: 3, LastRevision: 5}, []uint64{5, 4, 3}},
		"times":     {&metadatav1.ChangeSelection{Since: since, Until: until}, []uint64{58, 57}},
		"a filter":  {&metadatav1.ChangeSelection{Filter: named}, []uint64{30, 9}},
		"no actor":  {&metadatav1.ChangeSelection{Actor: "bob"}, nil},
		"an actor":  {&metadatav1.ChangeSelection{Actor: "ann", FirstRevision: 59}, []uint64{60, 59}},
		"nothing":   {&metadatav1.ChangeSelection{Since: until, Until: since}, nil},
		"long ago":  {&metadatav1.ChangeSelection{Until: atTime(-5).GetTime()}, nil},
	} {
		c.selection.Stream = schemaStream
		if got := revisions(t, p.Changes(t.Context(), c.selection, true)); !slices.Equal(got, c.want) {
			t.Errorf("%s, newest first: %v, want %v", name, got, c.want)
		}
		slices.Reverse(c.want)
		if got := revisions(t, p.Changes(t.Context(), c.selection, false)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := revisions(t, p.Changes(t.Context(), &metadatav1.ChangeSelection{Stream: schemaStream}, true)); len(got) != tables || got[0] != tables {
		t.Errorf("all: %v", got)
	}
}

// The base of a file is what was there until its first change.
func TestTheTimeRightBeforeAFile(t *testing.T) {
	whole := schemaHistory()
	base := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(historytest.Tables(20, 1))
	var checkpoint []byte
	for chunk := range base.Chunks(1 << 20) {
		checkpoint = append(checkpoint, chunk...)
	}
	f, err := OpenFile(exported(t, nil, whole.Trim(21).Base(checkpoint)))
	must(t, err)
	defer func() { must(t, f.Close()) }()
	res, err := f.Tables(t.Context(), "", atTime(20))
	if err != nil || res.GetRevision() != 20 || len(res.GetTables()) != 20 {
		t.Errorf("revision %d, tables: %d, %v", res.GetRevision(), len(res.GetTables()), err)
	}
	_, err = f.Tables(t.Context(), "", atTime(19))
	if said := failure.As(err); !failure.Is(err, trimmed) || said.Metadata["oldest_revision"] != "21" || said.Metadata["oldest_time"] != "2026-03-04T12:00:21Z" {
		t.Errorf("before it: %v", err)
	}
}

// More changes than are read backwards at a time come in order, too.
func TestNewestFirstOverManyReads(t *testing.T) {
	const n = 3*backwards + 7
	f, err := OpenFile(exported(t, nil, historytest.New(schemaStream, historytest.Tables(n, 1))))
	must(t, err)
	defer func() { must(t, f.Close()) }()
	next := uint64(n)
	for c, err := range f.Changes(t.Context(), &metadatav1.ChangeSelection{Stream: schemaStream}, true) {
		must(t, err)
		if c.GetRevision() != next {
			t.Fatalf("change %d comes in place of %d", c.GetRevision(), next)
		}
		next--
	}
	if next != 0 {
		t.Errorf("it ends behind %d", next)
	}
}

// What takes a while in a long file is told of: reading for an index, and folding.
func TestLongReadsAreToldOf(t *testing.T) {
	ask := map[string]func(Past) error{
		"a log": func(p Past) error {
			for _, err := range p.ObjectLog(t.Context(), &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: tableNamed(7)}}, 0, 0) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"tables": func(p Past) error { _, err := p.Tables(t.Context(), "", nil); return err },
		"a diff": func(p Past) error { _, err := p.Diff(t.Context(), schemaStream, at(3), at(50)); return err },
		"blame":  func(p Past) error { _, err := BlameTable(t.Context(), p, tableNamed(12), nil); return err },
	}
	for name, do := range ask {
		p := openFile(t)
		var done, last uint64
		p.Watch(func(stream metadatav1.Stream, d, l uint64) {
			if stream != schemaStream || d < done || d > l {
				t.Errorf("%s: told %d of %d of stream %v, behind %d", name, d, l, stream, done)
			}
			done, last = d, l
		})
		if err := do(p); err != nil || done == 0 || last != tables {
			t.Errorf("%s: told %d of %d, %v", name, done, last, err)
		}
	}
}

func TestFilesDoNotHaveEverything(t *testing.T) {
	p := openFile(t)
	_, sourceErr := p.Source(t.Context(), serviceStream)
	_, stateErr := p.Beginning(t.Context(), serviceStream)
	_, saidErr := p.Said(t.Context(), serviceStream)
	for _, err := range []error{sourceErr, stateErr, saidErr} {
		if !failure.Is(err, notFound) || !strings.Contains(err.Error(), "does not hold the service stream") {
			t.Errorf("a stream that is not there: %v", err)
		}
	}
	for _, err := range p.Follow(t.Context(), nil) {
		if err == nil || !strings.Contains(err.Error(), "only a running service can be followed") {
			t.Errorf("following a file: %v", err)
		}
	}
	if _, err := p.Diff(t.Context(), schemaStream, at(5), at(3)); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD) {
		t.Errorf("a difference backwards: %v", err)
	}
}

func TestBlameTable(t *testing.T) {
	p := openFile(t)
	b, err := BlameTable(t.Context(), p, tableNamed(12), at(20))
	must(t, err)
	if b.Table.GetTableId() != 12 || b.Revision != 20 || len(b.Parts) == 0 {
		t.Fatalf("blame of table %d at %d: %v", b.Table.GetTableId(), b.Revision, b.Parts)
	}
	for _, part := range b.Parts {
		if part.Revision != 12 || part.Actor != "ann" {
			t.Errorf("%s is blamed on %s at %d", part.Path, part.Actor, part.Revision)
		}
	}
}

// Whatever byte of a file is not what was written, verifying it says so.
func TestDamagedFiles(t *testing.T) {
	whole, err := os.ReadFile(exported(t, nil, schemaHistory(), historytest.New(topologyStream, historytest.Nodes(2))))
	must(t, err)
	name := filepath.Join(t.TempDir(), "damaged.export")
	verify := func(content []byte) error {
		must(t, os.WriteFile(name, content, 0o600))
		f, err := OpenFile(name)
		if err != nil {
			return err
		}
		defer func() { must(t, f.Close()) }()
		_, err = Verify(t.Context(), f, f.Streams(), nil, nil)
		return err
	}
	must(t, verify(whole))
	for i := 0; i < len(whole); i += 37 {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x10
		if err := verify(damaged); err == nil {
			t.Errorf("byte %d is not what was written, and nobody notices", i)
		}
		if err := verify(whole[:i]); err == nil {
			t.Errorf("the file ends at byte %d, and nobody notices", i)
		} else if _, ok := errors.AsType[*export.DamagedError](err); !ok {
			t.Errorf("the file ends at byte %d: %v", i, err)
		}
	}
}

func TestSignedHeads(t *testing.T) {
	m, own, foreign := schemaHistory(), key(t, "own"), key(t, "foreign")
	genuine := signed(t, own, m, 33, m.Digest(33))
	public := []ed25519.PublicKey{audit.Public(own)}
	verdicts, err := Verify(t.Context(), openFile(t, genuine), []metadatav1.Stream{schemaStream}, public, nil)
	if err != nil || verdicts[0].Fit != 1 || verdicts[0].Proven != 33 || !verdicts[0].Signed {
		t.Errorf("a genuine head: %+v, %v", verdicts, err)
	}
	verdicts, err = Verify(t.Context(), openFile(t, genuine), []metadatav1.Stream{schemaStream}, []ed25519.PublicKey{audit.Public(foreign)}, nil)
	if _, ok := errors.AsType[*audit.HeadError](err); !ok || len(verdicts) != 0 {
		t.Errorf("with a foreign key: %+v, %v", verdicts, err)
	}
	// A file with another history than was signed: the sums of the file fit.
	other := signed(t, own, m, 33, events.Digest{1})
	f := openFile(t, other)
	if _, err := verify(t.Context(), f, schemaStream, public, nil); err == nil {
		t.Error("a history that is not the one that was signed passes")
	}
	said, err := f.Said(t.Context(), schemaStream)
	if err != nil || len(said) != 2 || said[0].Head.GetRevision() != 33 {
		t.Errorf("the file says %+v, %v", said, err)
	}
	r, err := Rehearse(t.Context(), f, schemaStream, nil)
	if err != nil || r.Said[0].Fits() || r.Said[0].Difference.What != "digest" || !r.Said[1].Fits() {
		t.Errorf("rehearsed %+v, %v", r, err)
	}
}

func TestRehearsalSaysWhatDiffers(t *testing.T) {
	f := openFile(t)
	beginning, err := f.Beginning(t.Context(), schemaStream)
	must(t, err)
	source, err := f.Source(t.Context(), schemaStream)
	must(t, err)
	state, err := beginning.Replay(t.Context(), source, 10, nil)
	must(t, err)
	right, wrong, newer := headOf(state, 1), headOf(state, 2), headOf(state, 3)
	wrong.ModelHash = make([]byte, 32)
	newer.CheckpointFormat, newer.ModelHash = projections.CheckpointFormat+1, make([]byte, 32)
	silent := errors.New("no answer")
	f.streams[0].said = func(context.Context) ([]Said, error) {
		return bySaid([]Said{{By: "right", Head: right}, {By: "wrong", Head: wrong}, {By: "newer", Head: newer}, {By: "silent", Err: silent}}), nil
	}
	r, err := Rehearse(t.Context(), f, schemaStream, nil)
	must(t, err)
	if r.State.Head().Revision != tables {
		t.Errorf("it folds to %d", r.State.Head().Revision)
	}
	want := []struct {
		by           string
		fits, hashed bool
	}{{"silent", false, false}, {"right", true, true}, {"wrong", false, true}, {"newer", true, false}}
	for i, w := range want {
		if c := r.Said[i]; c.By != w.by || c.Fits() != w.fits || c.Hashed != w.hashed {
			t.Errorf("%s fits: %t, hashed: %t, %v, %v", c.By, c.Fits(), c.Hashed, c.Difference, c.Err)
		}
	}
	if d := r.Said[2].Difference; d.What != "model hash" || !strings.Contains(d.String(), d.Said) {
		t.Errorf("the difference is %v", d)
	}
}

func TestRehearsalOfWhatCannotBeFolded(t *testing.T) {
	twice := historytest.Tables(3, 1)
	again := historytest.Seal(4, twice[0].Events()[0].Message())
	f, err := OpenFile(exported(t, nil, historytest.New(schemaStream, append(twice, again))))
	must(t, err)
	defer func() { must(t, f.Close()) }()
	_, err = Rehearse(t.Context(), f, schemaStream, nil)
	if fold, ok := errors.AsType[*projections.FoldError](err); !ok {
		t.Errorf("folded with %v, %v", fold, err)
	}
}

func TestImport(t *testing.T) {
	f := openFile(t)
	dir := filepath.Join(t.TempDir(), "imported")
	files, err := Import(t.Context(), f, dir, nil)
	if err != nil || len(files) != 3 {
		t.Fatalf("imported %v, %v", files, err)
	}
	p, err := OpenData(dir)
	must(t, err)
	res, err := p.Tables(t.Context(), "public", at(5))
	if err != nil || len(res.GetTables()) != 5 {
		t.Errorf("read from there: %v, %v", res, err)
	}
	must(t, p.Close())
	if _, err := Import(t.Context(), f, dir, nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a directory with something in it: %v", err)
	}

	// Of a damaged file nothing is unpacked.
	content, err := os.ReadFile(f.Name())
	must(t, err)
	content[len(content)/2] ^= 1
	name := filepath.Join(t.TempDir(), "damaged.export")
	must(t, os.WriteFile(name, content, 0o600))
	damaged, err := OpenFile(name)
	must(t, err)
	defer func() { must(t, damaged.Close()) }()
	empty := t.TempDir()
	if _, err := Import(t.Context(), damaged, empty, nil); err == nil {
		t.Error("a damaged file is imported")
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestMerge(t *testing.T) {
	sequence := func(err error, values ...int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for _, v := range values {
				if !yield(v, nil) {
					return
				}
			}
			if err != nil {
				yield(0, err)
			}
		}
	}
	broken := errors.New("broken")
	merged := func(enough int, all ...iter.Seq2[int, error]) (got []int, last error) {
		for v, err := range Merge(func(a, b int) bool { return a/10 > b/10 }, all) {
			if last = err; err != nil {
				break
			}
			if got = append(got, v); len(got) == enough {
				break
			}
		}
		return got, last
	}
	got, err := merged(0, sequence(nil, 91, 51, 11), sequence(nil), sequence(nil, 92, 72, 52, 2))
	if want := []int{91, 92, 72, 51, 52, 11, 2}; err != nil || !slices.Equal(got, want) {
		t.Errorf("merged %v, %v, want %v", got, err, want)
	}
	if got, err := merged(2, sequence(broken, 91, 51), sequence(nil, 72)); err != nil || !slices.Equal(got, []int{91, 72}) {
		t.Errorf("of which two are enough: %v, %v", got, err)
	}
	if got, err := merged(0, sequence(broken, 91), sequence(nil, 72)); !errors.Is(err, broken) || !slices.Equal(got, []int{91}) {
		t.Errorf("with an error: %v, %v", got, err)
	}
	if _, err := merged(0, sequence(broken)); !errors.Is(err, broken) {
		t.Errorf("with nothing but an error: %v", err)
	}
}
