package check_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/check"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	schemamodel "github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/replica"
	pb "go.etcd.io/raft/v3/raftpb"
)

const (
	schema = raftlog.GroupID(metadatav1.Stream_STREAM_SCHEMA)
	all    = 60 // revisions of the schema stream
)

var identity = func() raftlog.Identity {
	peers := []raftlog.Peer{{ID: 1, Addr: "one:5000"}}
	return raftlog.Identity{Format: raftlog.IdentityFormat, ClusterID: raftlog.ClusterID("c", peers), ClusterName: "c", Member: 1, Peers: peers}
}()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// member stores what a member would that has taken changes: one to an entry, history
// behind each, checkpoints at revisions 20 and 40.
type member struct {
	t     *testing.T
	store *pebblestore.Store
	state *projections.Schema
	keep  uint64 // entries behind a checkpoint; 0: 10
	// Faults of the code, not of the disk.
	skip    uint64                                     // this revision's history record is not stored
	distort func(record *raftlog.Record)               // what a history record says
	decide  func(revision uint64, batch *events.Batch) // what an entry holds
}

func (m *member) live(dir string) {
	var err error
	m.store, err = pebblestore.Open(dir, pebblestore.Options{ReserveBytes: 1})
	must(m.t, err)
	must(m.t, m.store.Bootstrap(identity, []raftlog.GroupID{schema, schema + 1, schema + 2}, []uint64{1}))
	m.state = projections.NewSchema(events.ClusterID(identity.ClusterID), 0)
	for revision := uint64(1); revision <= all; revision++ {
		m.change(revision)
		if revision%20 == 0 && revision < all {
			m.checkpoint(revision + 1)
		}
	}
	must(m.t, m.store.Close())
}

func (m *member) change(revision uint64) {
	c := events.Seal(events.Header{Revision: revision, Time: time.Unix(int64(revision), 0)}, []events.Event{events.New(&metadatav1.Event{
		Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: &metadatav1.TableSchema{
			TableId: revision, Namespace: "public", NamespaceId: 1, Name: fmt.Sprintf("table_%d", revision), Version: 1, CreatedRevision: revision,
			Comment: strings.Repeat("c", 200),
		}}},
	})})
	head := m.state.Head
	batch := events.Batch{Stream: head.Stream, Cluster: head.Cluster, Term: 2, Previous: head.Digest, Changes: []*events.Change{c}}
	m.state = m.state.Fold(c)
	digest := m.state.Head.Digest
	record := raftlog.Record{First: revision, Last: revision, Entry: revision + 1, Data: digest[:]}
	if m.distort != nil {
		m.distort(&record)
	}
	if m.decide != nil {
		m.decide(revision, &batch)
	}
	w := &raftlog.Write{
		Group: schema, Sync: true, HardState: &raftlog.HardState{Term: 2, Vote: 1, Commit: revision + 1},
		Entries: []*pb.Entry{{Index: new(revision + 1), Term: new(uint64(2)), Data: batch.Encode()}},
	}
	if revision != m.skip {
		w.History = []raftlog.Record{record}
	}
	must(m.t, m.store.Write([]*raftlog.Write{w}))
}

func (m *member) checkpoint(index uint64) {
	var meta []byte
	enough := errors.New("enough")
	if err := m.state.Export(func(r []byte) error { meta = bytes.Clone(r); return enough }); !errors.Is(err, enough) {
		m.t.Fatal(err)
	}
	d, err := replica.WriteCheckpoint(m.t.Context(), m.store, &replica.CheckpointJob[*schemamodel.Model]{State: m.state, Descriptor: raftlog.Descriptor{
		Format: raftlog.DescriptorFormat, Group: schema, Index: index, Term: 2, Seq: m.state.Head.Revision,
		ConfState: &pb.ConfState{Voters: []uint64{1}}, Meta: meta,
	}})
	must(m.t, err)
	must(m.t, m.store.Write([]*raftlog.Write{{Group: schema, Checkpoint: &d, CutTo: index - min(index-1, cmp.Or(m.keep, 10)), Sync: true}}))
}

// hashDir is what must not change: names, sizes, bytes, times of writing.
func hashDir(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.Name() != "LOCK" { // taking a lock opens the file to write
			fmt.Fprintln(h, path, info.Mode(), info.Size(), info.ModTime())
		}
		if e.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		h.Write(b)
		return err
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// run checks a directory and that the check has left it alone.
func run(t *testing.T, dir string) *check.Report {
	t.Helper()
	before := hashDir(t, dir)
	r, err := check.Run(dir)
	must(t, err)
	if hashDir(t, dir) != before {
		t.Fatal("the check has changed the directory")
	}
	return r
}

func TestSound(t *testing.T) {
	dir := t.TempDir()
	m := &member{t: t}
	m.live(dir)
	r := run(t, dir)
	if r.Verdict != check.Sound || r.Member != 1 || r.ClusterName != "c" {
		t.Fatalf("report: %+v", r)
	}
	found, streams := map[string]string{}, map[string]bool{}
	for _, p := range r.Parts {
		if p.Warning != "" {
			t.Errorf("%s: %s", p.Name, p.Warning)
		}
		if p.Stream == "schema" || p.Stream == "" {
			found[p.Name] = p.Holds
		}
		streams[p.Stream] = true
	}
	if !streams["schema"] || !streams["topology"] || !streams["service"] {
		t.Errorf("the streams %v were looked at", streams)
	}
	digest := fmt.Sprintf("digest %.16s", m.state.Head.Digest)
	for part, want := range map[string]string{
		"floor": "promises for 3 groups", "log": "entries 32 to 61, term 2, committed 61", "history": "revisions 1 to 60, " + digest,
		"checkpoint 21": "revision 20, ", "checkpoint 41": "revision 40, ", "model": "revision 60, " + digest,
		"files": "2 checkpoints, 0 archived, 0 left over", "tables": "", "records": "", "reserve": "nothing: ", "manifest": "MANIFEST-", "options": "OPTIONS-", "write-ahead log": "2 files, ",
	} {
		if have, ok := found[part]; !ok || !strings.HasPrefix(have, want) {
			t.Errorf("%s holds %q, want %q", part, have, want)
		}
	}
}

// TestArchived: a checkpoint that only reads of the past begin from is looked at, and
// damage to it keeps no member from starting.
func TestArchived(t *testing.T) {
	dir := t.TempDir()
	m := &member{t: t}
	m.live(dir)
	var err error
	m.store, err = pebblestore.Open(dir, pebblestore.Options{ReserveBytes: 1})
	must(t, err)
	m.checkpoint(all + 1)
	must(t, m.store.Close())
	r := run(t, dir)
	if p := part(r, "archived checkpoint 21"); r.Verdict != check.Sound || !strings.HasPrefix(p.Holds, "revision 20, ") || p.Warning != "" {
		t.Fatalf("report: %+v", r)
	}
	file := filepath.Join(dir, "checkpoints", "1-21.checkpoint")
	b, err := os.ReadFile(file)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(file, b, 0o644))
	r = run(t, dir)
	if p := part(r, "archived checkpoint 21"); r.Verdict != check.Sound || !strings.Contains(p.Warning, "do without it") {
		t.Fatalf("report: %+v", r)
	}
}

// TestUncleanStop checks a directory as it is while its process is still there, but for
// the lock: the log is not in tables yet, and stays so.
func TestUncleanStop(t *testing.T) {
	dir, left := t.TempDir(), t.TempDir()
	m := &member{t: t}
	m.live(dir)
	var err error
	m.store, err = pebblestore.Open(dir, pebblestore.Options{ReserveBytes: 1})
	must(t, err)
	m.change(all + 1)
	must(t, os.CopyFS(left, os.DirFS(dir)))
	must(t, m.store.Close())
	r := run(t, left)
	if r.Verdict != check.Sound || !strings.Contains(part(r, "write-ahead log").Warning, "has no end mark: the process did not stop cleanly") {
		t.Fatalf("report: %+v", r)
	}
}

func part(r *check.Report, name string) (found check.Part) {
	for _, p := range r.Parts {
		if p.Name == name {
			found = p
		}
	}
	return found
}

// TestWarnings spoils what a start passes over, and expects that it is said and that
// the directory is no less sound for it.
func TestWarnings(t *testing.T) {
	const older = "is damaged: .*; a start does not need it: it begins from checkpoint 41, and later checkpoints replace both$"
	whole := t.TempDir()
	m := &member{t: t}
	m.live(whole)
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	for _, test := range []struct {
		name, pattern, part, says string
		spoil                     func([]byte) []byte
	}{
		{"a torn write", "db/*.log", "write-ahead log", `^[0-9]+ bytes at the end of [0-9]+.log belong to no record: a write that was under way at a crash, or damage$`,
			func(b []byte) []byte { return append(b[:len(b)-11], 1, 2, 3, 4, 200, 0, 9, 4, 0, 0, 0, 9, 9) }},
		{"no end mark", "db/*.log", "write-ahead log", "no end mark", func(b []byte) []byte { return b[:len(b)-11] }},
		{"zeros", "db/*.log", "write-ahead log", "no end mark", func(b []byte) []byte { return append(b[:len(b)-11], make([]byte, 100)...) }},
		{"more in the manifest", "db/MANIFEST-*", "manifest", "^5 bytes at the end of MANIFEST-[0-9]+ belong to no record", func(b []byte) []byte { return append(b, 1, 2, 3, 4, 5) }},
		{"an option", "db/OPTIONS-*", "options", "^OPTIONS-[0-9]+ is not what this build writes", func(b []byte) []byte {
			return bytes.Replace(b, []byte("mem_table_size=8"), []byte("mem_table_size=3"), 1)
		}},
		{"no options", "db/OPTIONS-*", "options", "^there is no OPTIONS file: a start does not need one", func([]byte) []byte { return nil }},
		{"a slot of the floor", "FLOOR", "floor", "^one of its two slots is bad: a start takes the other", flip(20)},
		{"the other slot", "FLOOR", "floor", "^one of its two slots is bad: a start takes the other", flip(8<<10 + 20)},
		{"head of the older checkpoint", "checkpoints/*-21.*", "checkpoint 21", older, flip(30)},
		{"chunk of the older checkpoint", "checkpoints/*-21.*", "checkpoint 21", older, flip(-200)},
		{"end of the older checkpoint", "checkpoints/*-21.*", "checkpoint 21", older, flip(-1)},
		{"no older checkpoint", "checkpoints/*-21.*", "checkpoint 21", older, func([]byte) []byte { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			must(t, os.CopyFS(dir, os.DirFS(whole)))
			files, err := filepath.Glob(filepath.Join(dir, test.pattern))
			must(t, err)
			if len(files) == 0 {
				t.Fatalf("no %s", test.pattern)
			}
			file := files[len(files)-1]
			b, err := os.ReadFile(file)
			must(t, err)
			if b = test.spoil(b); b == nil {
				must(t, os.Remove(file))
			} else {
				must(t, os.WriteFile(file, b, 0o600))
			}
			r := run(t, dir)
			if r.Verdict != check.Sound || !regexp.MustCompile(test.says).MatchString(part(r, test.part).Warning) {
				t.Fatalf("%s, %+v", r.Verdict, r.Parts)
			}
			if !strings.Contains(r.Summary(), "(warnings: 1)") || r.NotCovered == "" {
				t.Fatalf("summary: %s; not covered: %s", r.Summary(), r.NotCovered)
			}
			if s := r.Summary(); strings.Contains(s, "rebuilt") || strings.Contains(s, "backup") {
				t.Fatalf("advice without need: %s", s)
			}
			starts(t, dir)
		})
	}
}

// starts opens a directory as a member does, and reads the model that it begins with.
func starts(t *testing.T, dir string) {
	t.Helper()
	s, err := pebblestore.Open(dir, pebblestore.Options{ReserveBytes: 1})
	must(t, err)
	loaded, err := s.Load(schema)
	must(t, err)
	_, _, err = replica.Restore(s, loaded, projections.NewSchema(events.ClusterID(identity.ClusterID), 0))
	must(t, errors.Join(err, s.Close()))
}

// TestNewestCheckpoint damages the one that a start would begin from: it passes over to the older
// one if the log goes on from there, and refuses the directory if not.
func TestNewestCheckpoint(t *testing.T) {
	for keep, want := range map[uint64]check.Verdict{10: check.Damaged, 25: check.Sound} {
		dir := t.TempDir()
		(&member{t: t, keep: keep}).live(dir)
		files, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*-41.checkpoint"))
		must(t, err)
		b, err := os.ReadFile(files[0])
		must(t, err)
		b[len(b)-200] ^= 1
		must(t, os.WriteFile(files[0], b, 0o600))
		r := run(t, dir)
		p := part(r, "checkpoint 41")
		if r.Verdict != want || want == check.Sound && !strings.Contains(p.Warning, "it begins from checkpoint 21") {
			t.Fatalf("with %d entries kept: %s, %+v", keep, r.Summary(), p)
		}
		if want == check.Sound {
			starts(t, dir)
		}
	}
}

// TestAdvice says what to do about damage by who else has a copy.
func TestAdvice(t *testing.T) {
	const others, backup = "rebuilt from them", "backup of the whole directory"
	for members, want := range map[int][2]bool{0: {true, true}, 1: {false, true}, 3: {true, false}} {
		text := (&check.Report{Verdict: check.Damaged, Members: members}).Summary()
		if strings.Contains(text, others) != want[0] || strings.Contains(text, backup) != want[1] {
			t.Errorf("%d members: %s", members, text)
		}
	}
	dir := t.TempDir()
	(&member{t: t}).live(dir)
	must(t, os.Remove(filepath.Join(dir, "FLOOR")))
	if r := run(t, dir); r.Members != 1 || !strings.Contains(r.Summary(), "no other member has a copy") {
		t.Errorf("alone: %s", r.Summary())
	}
}

func TestOtherVerdicts(t *testing.T) {
	dir := t.TempDir()
	if r := run(t, dir); r.Verdict != check.Blank {
		t.Fatalf("an empty directory: %+v", r)
	}
	if r, err := check.Run(filepath.Join(dir, "nowhere")); err != nil || r.Verdict != check.Blank {
		t.Fatalf("no directory: %+v, %v", r, err)
	}
	(&member{t: t}).live(dir)
	s, err := pebblestore.Open(dir, pebblestore.Options{ReserveBytes: 1})
	must(t, err)
	var inUse *raftlog.InUseError
	if _, err := check.Run(dir); !errors.As(err, &inUse) {
		t.Fatalf("a directory in use: %v", err)
	}
	must(t, s.Condemn("somebody said so", raftlog.VotesKnown))
	must(t, s.Close())
	r := run(t, dir)
	if r.Verdict != check.Quarantine || r.Why != "somebody said so" || r.Member != 1 {
		t.Fatalf("a condemned directory: %+v", r)
	}
	if p := part(r, "mark"); p.Problem != "" || p.Holds != "it can be read; it says that the directory is condemned, because: somebody said so" {
		t.Fatalf("the mark: %+v", p)
	}
}

// TestDamage flips a byte in files of each kind; every part but the damaged one stays sound
// where the files still open.
func TestDamage(t *testing.T) {
	whole := t.TempDir()
	(&member{t: t}).live(whole)
	s, err := pebblestore.Open(whole, pebblestore.Options{ReserveBytes: 1}) // the log becomes a table
	must(t, err)
	must(t, s.Close())
	for pattern, part := range map[string]string{
		"db/*.sst": "tables", "checkpoints/*-41.*": "checkpoint 41", "db/MANIFEST-*": "database",
	} {
		dir := filepath.Join(t.TempDir(), "data")
		must(t, os.CopyFS(dir, os.DirFS(whole)))
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		must(t, err)
		if len(files) == 0 {
			t.Fatalf("no %s", pattern)
		}
		if part == "tables" {
			files = files[:1] // one that a start does not need
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			must(t, err)
			b[map[bool]int{true: len(b) / 2, false: min(len(b)/3, 30)}[part == "tables"]] ^= 1
			must(t, os.WriteFile(file, b, 0o600))
		}
		r := run(t, dir)
		if r.Verdict != check.Damaged || r.Why == "" {
			t.Fatalf("%s: %+v", pattern, r)
		}
		bad := false
		for _, p := range r.Parts {
			bad = bad || p.Name == part && p.Problem != ""
		}
		if !bad {
			t.Errorf("%s: part %s is not found damaged: %+v", pattern, part, r.Parts)
		}
	}
}

// TestHistory checks that the chain notices what no checksum does.
func TestHistory(t *testing.T) {
	for _, test := range []struct {
		name, says string
		verdict    check.Verdict
		m          member
	}{
		{"another digest", "revisions 33 to 33: the chain leads to digest", check.Damaged, member{distort: func(r *raftlog.Record) {
			if r.First == 33 {
				r.Data = bytes.Repeat([]byte{1}, 32)
			}
		}}},
		{"no digest", "revisions 33 to 33: the digest after log entry 34 has 0 bytes", check.Damaged, member{distort: func(r *raftlog.Record) {
			if r.First == 33 {
				r.Data = nil
			}
		}}},
		{"another entry", "revisions 33 to 33: log entry 33 holds revisions 32 to 32", check.Damaged, member{distort: func(r *raftlog.Record) {
			if r.First == 33 {
				r.Entry--
			}
		}}},
		{"an entry decided elsewhere", "revisions 12 to 12: the chain leads to digest", check.Damaged, member{decide: func(r uint64, b *events.Batch) {
			if r == 12 {
				b.Previous[0]++
			}
		}}},
		{"a fenced entry", "revisions 12 to 12: log entry 13 of term 2 was decided in term 1", check.Damaged, member{decide: func(r uint64, b *events.Batch) {
			if r == 12 {
				b.Term--
			}
		}}},
		{"another stream", "revisions 12 to 12: it belongs to stream schema of cluster", check.Damaged, member{decide: func(r uint64, b *events.Batch) {
			if r == 12 {
				b.Cluster[0]++
			}
		}}},
		{"last digest", "revisions 60 to 60: the chain leads to digest", check.Damaged, member{distort: func(r *raftlog.Record) {
			if r.First == all {
				r.Data = bytes.Repeat([]byte{1}, 32)
			}
		}}},
		{"a gap", "revisions 1 to 60, lacks 33 to 33, digest", check.Sound, member{skip: 33}},
		{"joined late", "revisions 2 to 60, lacks 1 to 1, digest", check.Sound, member{skip: 1}},
	} {
		dir := t.TempDir()
		test.m.t = t
		test.m.live(dir)
		r := run(t, dir)
		text := ""
		for _, p := range r.Parts {
			if p.Name == "history" && p.Stream == "schema" {
				text = p.Holds + p.Problem
			}
		}
		if r.Verdict != test.verdict || !strings.Contains(text, test.says) {
			t.Errorf("%s: %s, history: %s", test.name, r.Verdict, text)
		}
	}
}
