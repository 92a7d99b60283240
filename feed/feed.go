package feed

import (
	"fmt"
	"sync"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Snapshotter gives snapshots of the models. Its method is called from any
// goroutine.
type Snapshotter interface {
	// Snapshot returns a snapshot of the stream's published model, with the
	// objects that match the filter (which may be nil: all).
	Snapshot(stream metadatav1.Stream, filter *events.Filter) (Snapshot, error)
}

// Snapshot is the state of one stream at one revision, in chunks. It belongs to
// one goroutine, and holds nothing that would have to be closed: a subscription
// drops it where it stands.
type Snapshot interface {
	// Next returns the next chunk, of at most MaxFrameBytes or one object. All
	// chunks carry the stream and the same revision, the last one, which may be
	// empty of objects, says so. Next is not called again after it.
	Next() (*metadatav1.SnapshotChunk, error)
}

// Options configure a Feed.
type Options struct {
	Cluster       events.ClusterID
	RecoveryEpoch uint64
	Logs          []*Log // one for each stream, in order of their numbers
	Snapshots     Snapshotter
}

// Feed is what one member has to tell subscribers. It is safe for concurrent
// use.
type Feed struct {
	options Options
	recent  []recent // by log
	turns   turns

	mu   sync.Mutex
	open map[*Subscription]struct{}
}

// New returns a Feed.
func New(o Options) *Feed {
	return &Feed{
		options: o, recent: make([]recent, len(o.Logs)), turns: newTurns(o.Logs), open: map[*Subscription]struct{}{},
	}
}

// Watching returns how many subscriptions follow the stream, and how many
// changes the slowest of them is behind its Log.
func (f *Feed) Watching(stream metadatav1.Stream) (subscriptions int, lag uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.open {
		for _, c := range s.cursors {
			if c.log.Stream() != stream {
				continue
			}
			subscriptions++
			if after, head := c.after.Load(), c.log.Head(); after < head {
				lag = max(lag, head-after)
			}
		}
	}
	return subscriptions, lag
}

// Subscriptions returns how many subscriptions are open.
func (f *Feed) Subscriptions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// admit counts a subscription in, or fails with LIMIT_REACHED.
func (f *Feed) admit(s *Subscription) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) >= MaxSubscriptions {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
			"this member already has %d subscriptions, the limit max_subscriptions; ask another member or close some", MaxSubscriptions).
			With("limit", "max_subscriptions").With("value", fmt.Sprint(MaxSubscriptions))
	}
	f.open[s] = struct{}{}
	return nil
}

func (f *Feed) dismiss(s *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, s)
}
