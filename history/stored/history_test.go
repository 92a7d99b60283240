package stored

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
	pb "go.etcd.io/raft/v3/raftpb"
)

// entryOf is a log entry with the changes of some revisions, and the record that names it.
func entryOf(index, first, last uint64) (*pb.Entry, raftlog.Record) {
	b := events.Batch{Stream: metadatav1.Stream_STREAM_SCHEMA, Term: 2}
	for revision := first; revision <= last; revision++ {
		b.Changes = append(b.Changes, events.Seal(events.Header{Revision: revision, Time: time.Unix(9, 0)}, []events.Event{
			events.New(&metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
				Namespace: &metadatav1.Namespace{NamespaceId: revision, Name: "n"},
			}}}),
		}))
	}
	return &pb.Entry{Index: new(index), Term: new(b.Term), Data: b.Encode()},
		raftlog.Record{First: first, Last: last, Entry: index, Data: make([]byte, len(events.Digest{}))}
}

// TestHistoryReadsInsideEntries reads changes from the middle of what was logged together, up to
// a limit in the middle of it.
func TestHistoryReadsInsideEntries(t *testing.T) {
	group := raftlog.GroupID(metadatav1.Stream_STREAM_SCHEMA)
	store := memstore.New("disk")
	storagetest.Must(t, store.Bootstrap(storagetest.Identity(), []raftlog.GroupID{group}, storagetest.Voters))
	w := &raftlog.Write{Group: group, Sync: true, HardState: &raftlog.HardState{Term: 2, Commit: 4}}
	for i, last := range []uint64{3, 4, 9} {
		e, r := entryOf(uint64(i)+2, []uint64{1, 4, 5}[i], last)
		w.Entries, w.History = append(w.Entries, e), append(w.History, r)
	}
	storagetest.Must(t, store.Write([]*raftlog.Write{w}))
	h := NewHistory(store, metadatav1.Stream_STREAM_SCHEMA, func() uint64 { return 0 })
	all, err := h.Read(1, feed.MaxFrameBytes)
	storagetest.Must(t, err)
	size := len(all[0].Raw())
	for _, test := range []struct {
		from     uint64
		maxBytes int
		want     []uint64
	}{
		{1, feed.MaxFrameBytes, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{2, 1, []uint64{2}},
		{2, 4*size + 1, []uint64{2, 3}}, // the next entry would be more than that with what is left out of the first
		{6, 2*size + 1, []uint64{6, 7}},
		{9, feed.MaxFrameBytes, []uint64{9}},
		{10, feed.MaxFrameBytes, nil},
	} {
		changes, err := h.Read(test.from, test.maxBytes)
		storagetest.Must(t, err)
		var got []uint64
		for _, c := range changes {
			got = append(got, c.Revision())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("from %d, %d bytes (-want +got):\n%s", test.from, test.maxBytes, diff)
		}
	}
	e, r := entryOf(5, 10, 10)
	e.Term = new(uint64(3)) // skipped by the fence: no history may name it
	storagetest.Must(t, store.Write([]*raftlog.Write{{Group: group, Entries: []*pb.Entry{e}, History: []raftlog.Record{r}}}))
	if _, err := h.Read(10, 1); err == nil || !strings.Contains(err.Error(), "never took effect") {
		t.Errorf("an entry that never took effect: %v", err)
	}
	trimmed := NewHistory(store, metadatav1.Stream_STREAM_SCHEMA, func() uint64 { return 5 })
	if oldest := trimmed.Oldest(); oldest != 5 {
		t.Errorf("below floor 5 the oldest revision is %d", oldest)
	}
	if _, err := trimmed.Read(4, 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || failure.As(err).Metadata["oldest_revision"] != "5" {
		t.Errorf("what is still there below the floor: %v", err)
	}
	if changes, err := trimmed.Read(5, 1); err != nil || changes[0].Revision() != 5 {
		t.Errorf("at the floor: %v", err)
	}
	other := NewHistory(store, metadatav1.Stream_STREAM_TOPOLOGY, func() uint64 { return 0 })
	if _, err := other.Read(1, 1); err == nil {
		t.Error("a stream without a group has a history")
	}
}
