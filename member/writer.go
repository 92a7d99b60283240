package member

import (
	"context"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// writer stores the Writes of all groups. All that wait while one synced batch
// is under way go into the next one, so that groups share syncs. What waits is
// bounded by raft's limits on uncommitted and unacknowledged bytes.
type writer struct {
	store   raftlog.Storage
	pending *queue[*raftlog.Write]
	wrote   map[raftlog.GroupID]func([]*raftlog.Write) // tells a stream what is stored
	fail    func(error)
	observe func(writes int, took time.Duration)
}

func newWriter(store raftlog.Storage, fail func(error)) *writer {
	return &writer{
		store:   store,
		pending: newQueue[*raftlog.Write](),
		wrote:   make(map[raftlog.GroupID]func([]*raftlog.Write)),
		fail:    fail,
		observe: func(int, time.Duration) {},
	}
}

// run stores until ctx ends and then once more what is left. A write that fails
// ends the member: it is not known what of it is on disk, so nothing may be
// acknowledged after it.
func (w *writer) run(ctx context.Context) {
	var batch []*raftlog.Write
	for {
		stopping := false
		select {
		case <-w.pending.ready:
		case <-ctx.Done():
			stopping = true
		}
		batch = w.pending.take(batch)
		if len(batch) > 0 {
			start := time.Now()
			if err := w.store.Write(batch); err != nil {
				w.fail(err)
				return
			}
			w.observe(len(batch), time.Since(start))
			w.report(batch)
		}
		if stopping {
			return
		}
	}
}

// report tells each group which of its Writes are stored, in order.
func (w *writer) report(batch []*raftlog.Write) {
	for group, wrote := range w.wrote {
		var own []*raftlog.Write
		for _, item := range batch {
			if item.Group == group {
				own = append(own, item)
			}
		}
		if len(own) > 0 {
			wrote(own)
		}
	}
}
