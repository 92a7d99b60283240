package backfill_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/backfill"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

const (
	stream = metadatav1.Stream_STREAM_SCHEMA
	group  = raftlog.GroupID(stream)
	term   = 2
)

var cluster = events.ClusterID{1, 2, 3}

var options = backfill.Options{
	Group: group, Peers: []uint64{2, 3}, Origin: history.Origin{Stream: stream, Cluster: cluster},
}

// written is a past: n records of two changes each, in the entries from 2 on.
func written(n uint64) []raftlog.Past {
	digest := events.FirstDigest(cluster, stream)
	var past []raftlog.Past
	for i := range n {
		b := events.Batch{Stream: stream, Cluster: cluster, Term: term, Previous: digest}
		for _, revision := range []uint64{2*i + 1, 2*i + 2} {
			c := events.Seal(events.Header{Revision: revision, Time: time.Unix(int64(revision), 0)}, []events.Event{
				events.New(&metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
					Namespace: &metadatav1.Namespace{NamespaceId: revision, Name: "n"},
				}}}),
			})
			b.Changes, digest = append(b.Changes, c), digest.Next(c.Raw())
		}
		past = append(past, raftlog.Past{
			Record: raftlog.Record{First: 2*i + 1, Last: 2*i + 2, Entry: i + 2, Data: slices.Clone(digest[:])},
			Term:   term, Content: b.Encode(),
		})
	}
	return past
}

func digestAfter(past []raftlog.Past, records int) events.Digest {
	if records == 0 {
		return events.FirstDigest(cluster, stream)
	}
	return events.Digest(past[records-1].Data)
}

// fresh is a storage at genesis.
func fresh(t *testing.T) *memstore.Store {
	t.Helper()
	store := memstore.New("disk")
	storagetest.Must(t, store.Bootstrap(storagetest.Identity(), []raftlog.GroupID{group}, storagetest.Voters))
	return store
}

// joined is a storage that was given a checkpoint behind so many records.
func joined(t *testing.T, past []raftlog.Past, records int) *memstore.Store {
	t.Helper()
	store := fresh(t)
	give(t, store, past, records)
	return store
}

func give(t *testing.T, store *memstore.Store, past []raftlog.Past, records int) {
	t.Helper()
	state := projections.NewSchema(cluster, 0)
	state.Head.Revision, state.Head.Digest = uint64(2*records), digestAfter(past, records)
	d := raftlog.GenesisDescriptor(group, storagetest.Voters)
	d.Index, d.Term, d.Seq = uint64(records)+1, term, state.Head.Revision
	_ = state.Export(func(record []byte) error { // ends early
		d.Meta = slices.Clone(record)
		return errors.New("the head is enough")
	})
	w, err := store.CreateCheckpoint(group, d)
	storagetest.Must(t, err)
	storagetest.Must(t, w.WriteChunk([]byte("model")))
	d, err = w.Commit()
	storagetest.Must(t, err)
	storagetest.Must(t, store.Write([]*raftlog.Write{{Group: group, Install: &d, Sync: true, HardState: &raftlog.HardState{Term: term, Commit: d.Index}}}))
}

// logged stores records as a replica does.
func logged(t *testing.T, store *memstore.Store, past ...raftlog.Past) {
	t.Helper()
	w := &raftlog.Write{Group: group, Sync: true}
	for _, p := range past {
		w.Entries = append(w.Entries, &pb.Entry{Index: new(p.Entry), Term: new(p.Term), Data: p.Content})
		w.History = append(w.History, p.Record)
	}
	storagetest.Must(t, store.Write([]*raftlog.Write{w}))
}

// peers answer what a Fill asks for; nil: they do not.
type peers map[uint64]func(below uint64) []raftlog.Past

// from is a member that has some records, and gives at most two at a time.
func from(past []raftlog.Past) func(uint64) []raftlog.Past {
	return func(below uint64) []raftlog.Past {
		for i := range past {
			if past[i].Last+1 == below {
				return past[max(0, i-1) : i+1]
			}
		}
		return nil
	}
}

// drive carries out what a Fill wants for some ticks, and returns what it refused and whom
// it asked.
func drive(t *testing.T, f *backfill.Fill, store raftlog.Storage, p peers, ticks int, floor uint64) (refused []error, asked []uint64) {
	t.Helper()
	for range ticks {
		f.Tick(floor)
		for out, more := f.Ready(); more; out, more = f.Ready() {
			switch {
			case out.Look != nil:
				f.Looked(backfill.Look(store, group, *out.Look))
			case out.Ask != nil:
				asked = append(asked, out.Ask.To)
				answer := p[out.Ask.To]
				if answer == nil {
					f.Failed(out.Ask.To)
				} else if err := f.Answered(out.Ask.To, answer(out.Ask.Below)); err != nil {
					refused = append(refused, err)
				}
			case out.Store != nil:
				f.Stored(store.FillHistory(group, out.Store))
			}
		}
	}
	return refused, asked
}

func expectPast(t *testing.T, store raftlog.Storage, from uint64, want []raftlog.Past) {
	t.Helper()
	got, err := store.ReadHistory(group, from, 1<<20)
	storagetest.Must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("history from %d on (-want +got):\n%s", from, diff)
	}
	if first, _, err := store.HistoryBounds(group); first != from || err != nil {
		t.Fatalf("history begins at %d, %v, want %d", first, err, from)
	}
}

// What came before a checkpoint is filled in down to the beginning, whether or not anything
// was logged behind it, and nothing is asked for afterwards.
func TestFillsInAllThatIsMissing(t *testing.T) {
	past := written(9)
	for _, behind := range []int{0, 2} {
		store := joined(t, past, 7)
		logged(t, store, past[7:7+behind]...)
		f := backfill.New(options)
		refused, _ := drive(t, f, store, peers{2: from(past)}, 20, 0)
		if len(refused) > 0 {
			t.Fatalf("refused %v", refused)
		}
		expectPast(t, store, 1, past[:7+behind])
		if _, asked := drive(t, f, store, peers{2: from(past)}, 1000, 0); asked != nil {
			t.Fatalf("members %v are asked although all is there", asked)
		}
	}
}

// Holes between what a member has are filled in as well, the newest one first.
func TestFillsInHoles(t *testing.T) {
	past := written(20)
	store := fresh(t)
	logged(t, store, past[:3]...)
	give(t, store, past, 8)
	logged(t, store, past[8:11]...)
	give(t, store, past, 18)
	f := backfill.New(options)
	drive(t, f, store, peers{2: from(past)}, 1, 0)
	if _, missing, err := store.HistoryGap(group, 37); missing != 32 || err != nil {
		t.Fatalf("after the first part %d is missing (%v)", missing, err)
	}
	drive(t, f, store, peers{2: from(past)}, 30, 0)
	expectPast(t, store, 1, past[:18])
}

// A checkpoint that is installed while it fills is noticed, and its hole filled in.
func TestAnInstallInBetween(t *testing.T) {
	past := written(20)
	store := joined(t, past, 8)
	f := backfill.New(options)
	drive(t, f, store, peers{2: from(past)}, 2, 0)
	give(t, store, past, 15)
	drive(t, f, store, peers{2: from(past)}, 30, 0)
	expectPast(t, store, 1, past[:15])
	give(t, store, past, 20)
	drive(t, f, store, peers{2: from(past)}, 30, 0)
	expectPast(t, store, 1, past)
}

// So is one that is installed in a long pause, after which a part does not fit any more: the next look does
// not wait for as long again.
func TestAnInstallInALongPause(t *testing.T) {
	past := written(20)
	store := joined(t, past, 8)
	f := backfill.New(options)
	drive(t, f, store, nil, 3*backfill.MaxPauseTicks, 0) // nobody helps
	give(t, store, past, 15)
	drive(t, f, store, peers{2: from(past)}, backfill.MaxPauseTicks+30, 0)
	expectPast(t, store, 1, past[:15])
}

// Nothing below the floor is asked for or kept, and a floor that rises ends the filling.
func TestStopsAtTheFloor(t *testing.T) {
	past := written(9)
	store := joined(t, past, 8)
	f := backfill.New(options)
	drive(t, f, store, peers{2: from(past)}, 20, 7)
	expectPast(t, store, 7, past[3:8])
	if _, asked := drive(t, f, store, peers{2: from(past)}, 100, 7); asked != nil {
		t.Fatalf("members %v are asked for what lies below the floor", asked)
	}
	store = joined(t, past, 8)
	f = backfill.New(options)
	drive(t, f, store, peers{2: from(past)}, 1, 0)
	if _, asked := drive(t, f, store, peers{2: from(past)}, 100, 15); asked != nil {
		t.Fatalf("when the floor has risen members %v are asked", asked)
	}
	expectPast(t, store, 13, past[6:8])
}

// What reads have found damaged is filled in as well, once nothing is missing, the oldest first.
func TestMendsWhatIsDamaged(t *testing.T) {
	past := written(20)
	store := joined(t, past, 16)
	logged(t, store, past[16:]...)
	f := backfill.New(options)
	drive(t, f, store, peers{2: from(past)}, 60, 0)
	expectPast(t, store, 1, past)
	store.DamageRecord(group, 5) // 5 and 6
	store.DamageEntry(group, past[8].Entry)
	store.DamageEntry(group, past[9].Entry)
	store.DamageRecord(group, 37) // of an entry that is still in the log
	if _, asked := drive(t, f, store, peers{2: from(past)}, 100, 0); asked != nil {
		t.Fatalf("members %v are asked for what nobody has read", asked)
	}
	for _, revision := range []uint64{37, 18, 5} {
		if _, err := store.ReadHistory(group, revision, 1); err == nil {
			t.Fatalf("revision %d can be read", revision)
		}
	}
	_, asked := drive(t, f, store, peers{2: from(past)}, 60, 0)
	if !cmp.Equal(asked, []uint64{2, 2, 2}) {
		t.Errorf("members %v are asked for three runs", asked)
	}
	expectPast(t, store, 1, past)
	if known, err := store.HistoryDamage(group); len(known) > 0 || err != nil {
		t.Errorf("%v is still damaged (%v)", known, err)
	}
	store.DamageRecord(group, 5)
	if _, err := store.ReadHistory(group, 5, 1); err == nil {
		t.Fatal("revision 5 can be read")
	}
	if _, asked := drive(t, f, store, peers{2: from(past)}, 60, 9); asked != nil {
		t.Errorf("members %v are asked for what lies below the floor", asked)
	}
}

// What is damaged right behind a hole, or right before it, does not keep it from being filled in.
func TestMendsWhatIsBesideAHole(t *testing.T) {
	past := written(20)
	for _, revision := range []uint64{5, 17} {
		store := fresh(t)
		logged(t, store, past[:3]...)
		give(t, store, past, 8)
		logged(t, store, past[8:]...)
		store.DamageRecord(group, revision)
		drive(t, backfill.New(options), store, peers{2: from(past)}, 300, 0)
		expectPast(t, store, 1, past)
	}
}

// What cannot be mended does not keep the rest from being.
func TestMendsWhatItCan(t *testing.T) {
	past := written(20)
	store := joined(t, past, 16)
	logged(t, store, past[16:]...)
	f := backfill.New(options)
	drive(t, f, store, peers{2: from(past)}, 60, 0)
	store.DamageEntry(group, past[18].Entry) // in the log: the next start finds it
	store.DamageRecord(group, 21)
	for _, revision := range []uint64{37, 21} {
		if _, err := store.ReadHistory(group, revision, 1); err == nil {
			t.Fatalf("revision %d can be read", revision)
		}
	}
	drive(t, f, store, peers{2: from(past)}, 200, 0)
	if known, err := store.HistoryDamage(group); !cmp.Equal(known, []raftlog.Span{{First: 37, Last: 38}}) || err != nil {
		t.Errorf("%v is still damaged (%v)", known, err)
	}
	expectPast(t, store, 1, past[:18])
}

// altered returns a part whose newest record is changed.
func altered(past []raftlog.Past, change func(*raftlog.Past)) func(uint64) []raftlog.Past {
	return func(below uint64) []raftlog.Past {
		part := slices.Clone(from(past)(below))
		last := &part[len(part)-1]
		last.Content, last.Data = bytes.Clone(last.Content), bytes.Clone(last.Data)
		change(last)
		return part
	}
}

// What does not lead to what the member knows is refused, and another one is asked.
func TestRefusesWhatDoesNotFit(t *testing.T) {
	past := written(9)
	foreign := func(change func(*events.Batch)) func(*raftlog.Past) {
		return func(p *raftlog.Past) {
			b, err := events.DecodeBatch(p.Content)
			storagetest.Must(t, err)
			change(b)
			p.Content = b.Encode()
		}
	}
	for says, answer := range map[string]func(uint64) []raftlog.Past{
		"its changes lead to digest": altered(past, func(p *raftlog.Past) {
			p.Content = bytes.Replace(p.Content, []byte("\x01n"), []byte("\x01m"), 1)
		}),
		"it says 00":                   altered(past, func(p *raftlog.Past) { clear(p.Data) }),
		"of cluster 09":                altered(past, foreign(func(b *events.Batch) { b.Cluster = events.ClusterID{9} })),
		"recovery epoch 7":             altered(past, foreign(func(b *events.Batch) { b.RecoveryEpoch = 7 })),
		"revision 16 has":              altered(past, foreign(func(b *events.Batch) { b.Previous[0] ^= 1 })),
		"it never took effect":         altered(past, func(p *raftlog.Past) { p.Term++ }),
		"log entry 9: ":                altered(past, func(p *raftlog.Past) { p.Content = p.Content[2:] }),
		"record of revisions 15 to 17": altered(past, func(p *raftlog.Past) { p.Last++ }),
		"what is missing is 1 to 16":   func(uint64) []raftlog.Past { return past[5:7] },
		"what follows in entry 9": func(below uint64) []raftlog.Past {
			part := slices.Clone(from(past)(below))
			part[0].Entry = 9
			return part
		},
		"MaxPartBytes": func(below uint64) []raftlog.Past {
			return append(slices.Repeat([]raftlog.Past{{Content: make([]byte, backfill.MaxPartBytes)}}, 2), from(past)(below)...)
		},
	} {
		store := joined(t, past, 8)
		f := backfill.New(options)
		refused, asked := drive(t, f, store, peers{2: answer}, 1, 0)
		if len(refused) != 1 || !strings.Contains(refused[0].Error(), says) || !cmp.Equal(asked, []uint64{2, 3}) {
			t.Errorf("%s: refused %v, asked %v", says, refused, asked)
		}
		if first, _, err := store.HistoryBounds(group); first != 0 || err != nil {
			t.Errorf("%s: history from %d on was filled in, %v", says, first, err)
		}
		drive(t, f, store, peers{2: answer, 3: from(past)}, 30, 0)
		expectPast(t, store, 1, past[:8])
	}
}

// Members that cannot help are asked more and more seldom; one that can is asked on.
func TestAsksTheNextMemberAndRests(t *testing.T) {
	past := written(9)
	store := joined(t, past, 8)
	f := backfill.New(options)
	_, asked := drive(t, f, store, nil, 1, 0)
	if !cmp.Equal(asked, []uint64{2, 3}) {
		t.Fatalf("asked %v", asked)
	}
	for pause := backfill.MinPauseTicks; pause <= backfill.MaxPauseTicks; pause *= 2 {
		if _, asked := drive(t, f, store, nil, pause-1, 0); asked != nil {
			t.Fatalf("asked %v after a pause of less than %d ticks", asked, pause)
		}
		if _, asked := drive(t, f, store, nil, 1, 0); !cmp.Equal(asked, []uint64{2, 3}) {
			t.Fatalf("asked %v after a pause of %d ticks", asked, pause)
		}
	}
	if _, asked := drive(t, f, store, nil, 10*backfill.MaxPauseTicks, 0); len(asked) != 20 {
		t.Fatalf("asked %d times in 10 longest pauses", len(asked))
	}
	// One has the newer half, the other one the older.
	_, asked = drive(t, f, store, peers{2: from(past[4:]), 3: from(past[:4])}, backfill.MaxPauseTicks+20, 0)
	if !cmp.Equal(asked, []uint64{2, 2, 2, 3, 3}) {
		t.Fatalf("asked %v", asked)
	}
	expectPast(t, store, 1, past[:8])
}

// Late and doubled answers change nothing.
func TestIgnoresWhatItDidNotAskFor(t *testing.T) {
	past := written(9)
	store := joined(t, past, 8)
	f := backfill.New(options)
	f.Failed(2)
	f.Stored(nil)
	storagetest.Must(t, f.Answered(2, past[6:8]))
	out, _ := f.Ready()
	f.Looked(backfill.Look(store, group, *out.Look))
	f.Looked(backfill.Gap{}, nil)
	f.Failed(3)
	storagetest.Must(t, f.Answered(3, past[6:8]))
	out, _ = f.Ready()
	if out.Ask == nil || out.Ask.To != 2 || out.Ask.Below != 17 || out.Store != nil || out.Begun == nil {
		t.Fatalf("after stray answers it wants %+v", out)
	}
	storagetest.Must(t, f.Answered(2, past[6:8]))
	storagetest.Must(t, f.Answered(2, past[4:6]))
	out, _ = f.Ready()
	if !cmp.Equal(out.Store, past[6:8]) {
		t.Fatalf("it stores %v", out.Store)
	}
}

// A full disk is waited out.
func TestAFullDisk(t *testing.T) {
	past := written(9)
	store := joined(t, past, 8)
	store.SetFree(0)
	f := backfill.New(options)
	if _, asked := drive(t, f, store, peers{2: from(past)}, 2*backfill.MaxPauseTicks, 0); len(asked) > 10 {
		t.Fatalf("asked %d times", len(asked))
	}
	store.SetFree(1 << 30)
	drive(t, f, store, peers{2: from(past)}, 2*backfill.MaxPauseTicks, 0)
	expectPast(t, store, 1, past[:8])
}

func TestAloneNothingIsAskedFor(t *testing.T) {
	f := backfill.New(backfill.Options{Group: group})
	for range 2 * backfill.LookTicks {
		f.Tick(0)
		if out, more := f.Ready(); more {
			t.Fatalf("it wants %+v", out)
		}
	}
}

// What is served crosses to another member as it is.
func TestServe(t *testing.T) {
	past := written(9)
	store := fresh(t)
	logged(t, store, past...)
	size := len(past[0].Content)
	part, err := backfill.Serve(store, group, 17, 3*size)
	storagetest.Must(t, err)
	raw, err := proto.Marshal(backfill.Encode(part))
	storagetest.Must(t, err)
	var message metadatav1.HistoryPart
	storagetest.Must(t, proto.Unmarshal(raw, &message))
	if got := backfill.Decode(&message); len(got) < 2 || !cmp.Equal(got, past[8-len(got):8]) {
		t.Fatalf("%d records cross", len(got))
	}
	if part, err := backfill.Serve(store, group, 50, 1); part != nil || err != nil {
		t.Fatalf("what is not there: %v, %v", part, err)
	}
	if part, err := backfill.Serve(store, group, 16, 1); err == nil {
		t.Fatalf("in front of half a record: %v", part)
	}
	if part, err := backfill.Serve(joined(t, past, 8), group, 17, 1); part != nil || err != nil {
		t.Fatalf("in front of a checkpoint: %v, %v", part, err)
	}
}

// FuzzAnswered takes any bytes for what another member gives.
func FuzzAnswered(f *testing.F) {
	past := written(4)
	raw, err := proto.Marshal(backfill.Encode(past))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var message metadatav1.HistoryPart
		if proto.Unmarshal(raw, &message) != nil {
			return
		}
		fill := backfill.New(options)
		fill.Ready()
		fill.Looked(backfill.Gap{First: 1, Last: 8, Digest: digestAfter(past, 4)}, nil)
		fill.Ready()
		if fill.Answered(2, backfill.Decode(&message)) != nil {
			return
		}
		out, _ := fill.Ready()
		for i, p := range slices.Backward(out.Store) {
			want := past[4-len(out.Store)+i]
			if p.First != want.First || p.Last != want.Last || !bytes.Equal(p.Data, want.Data) {
				t.Fatalf("%+v was taken for %+v", p, want)
			}
		}
	})
}
