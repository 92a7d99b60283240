package retention_test

import (
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

// described describes a checkpoint of a revision of [past].
func described(revision uint64) raftlog.Descriptor {
	d := storagetest.Descriptor(group, revision/2+1, 2)
	d.Seq = revision
	return d
}

// checkpoint makes a current one.
func checkpoint(t *testing.T, s *memstore.Store, revision uint64) {
	t.Helper()
	w, err := s.CreateCheckpoint(group, described(revision))
	d := storagetest.WriteCheckpoint(t, w, err, []byte("model"))
	storagetest.Must(t, s.Write([]*raftlog.Write{{Group: group, Checkpoint: &d, Sync: true}}))
}

// archive makes an archived one.
func archive(t *testing.T, s *memstore.Store, revision uint64) {
	t.Helper()
	w, err := s.CreateArchived(group, described(revision))
	storagetest.WriteCheckpoint(t, w, err, []byte("model"))
}

func wantBase(t *testing.T, s raftlog.Storage, floor uint64, want retention.Base, below uint64) {
	t.Helper()
	got, err := retention.BaseOf(s, group, floor)
	storagetest.Must(t, err)
	at, err := retention.Below(s, group, floor)
	storagetest.Must(t, err)
	if got != want || at != below {
		t.Errorf("floor %d: base %d, deletable below %d; want %d and %d", floor, got, at, want, below)
	}
}

// What leads to the model before a floor stays until that is archived.
func TestBaseOf(t *testing.T) {
	s := store(t, 0, 0)
	wantBase(t, s, 0, retention.BaseKept, 0)
	wantBase(t, s, 1, retention.BaseKept, 1)
	wantBase(t, s, 101, retention.BaseLater, 1)
	checkpoint(t, s, 60)
	wantBase(t, s, 61, retention.BaseKept, 61)
	wantBase(t, s, 101, retention.BaseLater, 61)
	checkpoint(t, s, 120)
	wantBase(t, s, 101, retention.BaseFold, 61)
	wantBase(t, s, 31, retention.BaseFold, 1)
	archive(t, s, 100)
	wantBase(t, s, 101, retention.BaseKept, 101)
	wantBase(t, s, 103, retention.BaseFold, 101)
}

// A member that was given a checkpoint has to be given the model too.
func TestBaseOfWhatALateMemberHas(t *testing.T) {
	s := store(t, 0, 110)
	checkpoint(t, s, 120)
	wantBase(t, s, 101, retention.BaseFetch, 1)
	wantBase(t, s, 121, retention.BaseKept, 121)
	archive(t, s, 100)
	wantBase(t, s, 101, retention.BaseKept, 101)
	wantBase(t, s, 103, retention.BaseFetch, 101)
}

// So has one on which a change is damaged that leads there, once that is known.
func TestBaseOfADamagedHistory(t *testing.T) {
	s := store(t, 0, 0)
	for _, revision := range []uint64{40, 120} {
		checkpoint(t, s, revision)
	}
	s.DamageRecord(group, 71)
	for _, revision := range []uint64{71, 91} { // reads find it, up to the next one
		_, _ = s.ReadHistory(group, revision, 1)
	}
	wantBase(t, s, 101, retention.BaseFetch, 41)
	wantBase(t, s, 71, retention.BaseFold, 41)
	archive(t, s, 72)
	wantBase(t, s, 101, retention.BaseFold, 73)
}

// Trimming deletes records, and archived checkpoints also later: a current one that is too old
// is archived when it is replaced.
func TestTrim(t *testing.T) {
	s := store(t, 0, 0)
	for _, revision := range []uint64{40, 60, 80, 120} {
		checkpoint(t, s, revision)
	}
	archive(t, s, 100)
	trim := func(below, first uint64, seqs ...uint64) {
		t.Helper()
		storagetest.Must(t, retention.Trim(s, group, below))
		begins, _, err := s.HistoryBounds(group)
		storagetest.Must(t, err)
		archived, err := s.Archived(group)
		storagetest.Must(t, err)
		var got []uint64
		for _, d := range archived {
			got = append(got, d.Seq)
		}
		if begins != first || len(got) != len(seqs) || len(got) > 0 && got[0] != seqs[0] {
			t.Errorf("trimmed below %d: from %d on, archived %d; want %d and %d", below, begins, got, first, seqs)
		}
	}
	trim(1, 1, 40, 60, 100)
	trim(61, 61, 60, 100)
	trim(101, 101, 100)
	checkpoint(t, s, 160) // archives 80
	trim(101, 101, 100)
}

// A consumer that was passed needs nothing any more.
func TestKeptOf(t *testing.T) {
	created := func(name string, at uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{
			Consumer: &metadatav1.Consumer{Name: name, Position: &metadatav1.Position{SchemaRevision: at}},
		}}}
	}
	seal := func(revision uint64, evs ...*metadatav1.Event) *events.Change {
		var all []events.Event
		for _, e := range evs {
			all = append(all, events.New(e))
		}
		return events.Seal(events.Header{Revision: revision, Time: time.Unix(1, 0)}, all)
	}
	m := service.New().Fold(seal(1, created("passed", 5), created("next", 20), created("later", 30)))
	if kept := retention.KeptOf(m, stream); kept != (retention.Kept{Needed: 6}) {
		t.Errorf("before the trim: %+v", kept)
	}
	m = m.Fold(seal(2, &metadatav1.Event{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: &metadatav1.HistoryTrimmed{
		Floor: &metadatav1.HistoryFloor{Stream: stream, OldestRevision: 21, PreviousDigest: make([]byte, 32)},
	}}}))
	if kept := retention.KeptOf(m, stream); kept != (retention.Kept{Oldest: 21, Needed: 21}) {
		t.Errorf("behind it: %+v", kept)
	}
}
