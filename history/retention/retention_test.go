package retention_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/retention"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
)

const (
	stream = metadatav1.Stream_STREAM_SCHEMA
	group  = raftlog.GroupID(stream)
)

// past is n records of two changes each, one second a change, and the digest before each.
func past(n uint64) (written []raftlog.Past, previous []events.Digest) {
	digest := events.FirstDigest(events.ClusterID{}, stream)
	for i := range n {
		b := events.Batch{Stream: stream, Term: 2, Previous: digest}
		previous = append(previous, digest)
		for _, revision := range []uint64{2*i + 1, 2*i + 2} {
			c := events.Seal(events.Header{Revision: revision, Time: time.Unix(int64(revision), 0)}, []events.Event{
				events.New(&metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
					Namespace: &metadatav1.Namespace{NamespaceId: revision, Name: "n"},
				}}}),
			})
			b.Changes, digest = append(b.Changes, c), digest.Next(c.Raw())
		}
		written = append(written, raftlog.Past{
			Record: raftlog.Record{First: 2*i + 1, Last: 2*i + 2, Entry: i + 2, Data: slices.Clone(digest[:])},
			Term:   2, Content: b.Encode(),
		})
	}
	return written, previous
}

// store holds 100 records, of revisions 1 to 200, but for those from lacks to upTo.
func store(t *testing.T, lacks, upTo uint64) *memstore.Store {
	t.Helper()
	s := memstore.New("disk")
	storagetest.Must(t, s.Bootstrap(storagetest.Identity(), []raftlog.GroupID{group}, storagetest.Voters))
	written, _ := past(100)
	w := &raftlog.Write{Group: group, Sync: true}
	for _, p := range written {
		w.Entries = append(w.Entries, &pb.Entry{Index: new(p.Entry), Term: new(p.Term), Data: p.Content})
		if p.First < lacks || p.First > upTo {
			w.History = append(w.History, p.Record)
		}
	}
	storagetest.Must(t, s.Write([]*raftlog.Write{w}))
	return s
}

func TestDecide(t *testing.T) {
	whole := store(t, 0, 0)
	record, err := whole.HistoryBytes(group, 199)
	storagetest.Must(t, err)
	now := time.Unix(200, 0)
	for _, test := range []struct {
		name   string
		policy retention.Policy
		kept   retention.Kept
		store  raftlog.Storage
		want   uint64 // the floor; 0: none
		pass   bool
		held   uint64
	}{
		{name: "keep all"},
		{name: "age", policy: retention.Policy{MaxAge: 100 * time.Second}, want: 99}, // 100 is just young enough
		{name: "age, half a record", policy: retention.Policy{MaxAge: 101 * time.Second}, want: 99},
		{name: "nothing is too old", policy: retention.Policy{MaxAge: 200 * time.Second}},
		{name: "not worth it", policy: retention.Policy{MaxAge: 180 * time.Second}},
		{name: "just worth it", policy: retention.Policy{MaxAge: 179 * time.Second}, want: 21},
		{name: "all is too old", policy: retention.Policy{MaxAge: time.Nanosecond}, want: 199},
		{name: "changes", policy: retention.Policy{MaxChanges: 50}, want: 151},
		{name: "changes, half a record", policy: retention.Policy{MaxChanges: 51}, want: 149},
		{name: "few changes", policy: retention.Policy{MaxChanges: 200}},
		{name: "one change", policy: retention.Policy{MaxChanges: 1}, want: 199},
		{name: "bytes", policy: retention.Policy{MaxBytes: 20 * record}, want: 161},
		{name: "no bytes", policy: retention.Policy{MaxBytes: 1}, want: 199},
		{name: "few bytes", policy: retention.Policy{MaxBytes: 1000 * record}},
		{name: "the strictest counts", policy: retention.Policy{MaxBytes: 20 * record, MaxChanges: 50, MaxAge: 20 * time.Second}, want: 179},
		{name: "trimmed before", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Oldest: 151}},
		{name: "trimmed before, below it", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Oldest: 101}, want: 151},

		{name: "a consumer", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Needed: 101}, want: 101, held: 151},
		{name: "a consumer inside of a record", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Needed: 102}, want: 101, held: 151},
		{name: "a consumer from the beginning on", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Needed: 1}, held: 151},
		{name: "a consumer that needs nothing of it", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Needed: 151}, want: 151},
		{name: "a consumer of the future", policy: retention.Policy{MaxChanges: 50}, kept: retention.Kept{Needed: 999}, want: 151},
		{
			name: "below the hard limit", policy: retention.Policy{MaxBytes: 20 * record, HardBytes: 100 * record},
			kept: retention.Kept{Needed: 1}, held: 161,
		},
		{
			name: "above the hard limit", policy: retention.Policy{MaxBytes: 20 * record, HardBytes: 40 * record},
			kept: retention.Kept{Needed: 1}, want: 121, pass: true,
		},
		{
			name: "a consumer behind the hard limit", policy: retention.Policy{MaxBytes: 20 * record, HardBytes: 40 * record},
			kept: retention.Kept{Needed: 131}, want: 131, held: 161,
		},

		{name: "the beginning is missing", policy: retention.Policy{MaxChanges: 50}, store: store(t, 1, 100), want: 151},
		{name: "what would go is missing", policy: retention.Policy{MaxChanges: 50}, store: store(t, 1, 160)},
		{name: "a hole before what stays", policy: retention.Policy{MaxAge: 50 * time.Second}, store: store(t, 100, 152)},
		{name: "a hole inside of what goes", policy: retention.Policy{MaxAge: 50 * time.Second}, store: store(t, 60, 100), want: 149},
		{name: "a hole inside of what stays", policy: retention.Policy{MaxChanges: 50}, store: store(t, 160, 190), want: 151},
		{name: "nothing is there", policy: retention.Policy{MaxChanges: 1}, store: store(t, 1, 200)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.store
			if s == nil {
				s = whole
			}
			v, err := test.policy.Decide(s, stream, now, test.kept)
			storagetest.Must(t, err)
			if got := v.Floor.GetOldestRevision(); got != test.want || v.Pass != test.pass || v.Held != test.held {
				t.Fatalf("floor %d, pass %t, held %d; want %d, %t, %d", got, v.Pass, v.Held, test.want, test.pass, test.held)
			}
			if test.want == 0 {
				return
			}
			_, previous := past(100)
			if digest := previous[(test.want-1)/2]; v.Floor.GetStream() != stream || !bytes.Equal(v.Floor.GetPreviousDigest(), digest[:]) ||
				v.Floor.GetOldestTime().GetSeconds() != int64(test.want) {
				t.Fatalf("floor %v, want digest %s", v.Floor, digest)
			}
		})
	}
}

// Nothing is too old as long as nobody knows what time it is.
func TestNothingIsTooOldAtNoTime(t *testing.T) {
	v, err := (retention.Policy{MaxAge: time.Nanosecond}).Decide(store(t, 0, 0), stream, time.Time{}, retention.Kept{})
	if err != nil || v.Floor != nil {
		t.Errorf("%+v, %v", v, err)
	}
}

// The time is what a majority of all members agree on: no few wrong clocks, and no silence, make
// it later.
func TestAgreed(t *testing.T) {
	for _, test := range []struct {
		clocks  []int64
		members int
		want    int64 // 0: none
	}{
		{nil, 1, 0},
		{[]int64{7}, 1, 7},
		{[]int64{7}, 2, 0},
		{[]int64{900, 7}, 2, 7},
		{[]int64{7}, 3, 0},
		{[]int64{900, 7}, 3, 7},
		{[]int64{7, 900, 8}, 3, 8},
		{[]int64{7, 1, 8}, 3, 7},
		{[]int64{7, 900, 901, 8}, 5, 8},
		{[]int64{900, 901, 7, 8, 9}, 5, 9},
		{[]int64{900, 901}, 5, 0},
	} {
		var clocks []time.Time
		for _, seconds := range test.clocks {
			clocks = append(clocks, time.Unix(seconds, 0))
		}
		got := retention.Agreed(clocks, test.members)
		if test.want == 0 && !got.IsZero() || test.want != 0 && !got.Equal(time.Unix(test.want, 0)) {
			t.Errorf("%v of %d members: %v, want %d", test.clocks, test.members, got, test.want)
		}
	}
}

// What is damaged is like what is lacking: nothing is decided that rests on it, and it stands in the way
// of no other decision.
func TestDamageInAHistory(t *testing.T) {
	for _, test := range []struct {
		damaged uint64
		policy  retention.Policy
		want    uint64
	}{
		{100, retention.Policy{MaxAge: 100 * time.Second}, 0},
		{100, retention.Policy{MaxChanges: 100}, 0},
		{100, retention.Policy{MaxAge: 97 * time.Second}, 103}, // what comes before is read, and too old
		{100, retention.Policy{MaxAge: 50 * time.Second}, 149},
		{51, retention.Policy{MaxAge: 50 * time.Second}, 149},
		{99, retention.Policy{MaxChanges: 50}, 151},
	} {
		s := store(t, 0, 0)
		s.DamageRecord(group, test.damaged)
		v, err := test.policy.Decide(s, stream, time.Unix(200, 0), retention.Kept{})
		if err != nil || v.Floor.GetOldestRevision() != test.want {
			t.Errorf("damaged at %d, %+v: begins at %d (%v), want %d", test.damaged, test.policy, v.Floor.GetOldestRevision(), err, test.want)
		}
	}
	s := store(t, 0, 0)
	if _, err := (retention.Policy{MaxChanges: 1}).Decide(s, metadatav1.Stream(77), time.Time{}, retention.Kept{}); err == nil {
		t.Error("a stream that is not there has a floor")
	}
}
