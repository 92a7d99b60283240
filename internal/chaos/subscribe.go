package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	bookmarkMillis = 200
	frameWait      = 3 * time.Second // for a frame; several bookmarks
	reopenPause    = 50 * time.Millisecond
	// breakOff is after how many frames, in the mean, a subscriber goes elsewhere by itself.
	breakOff = 400
)

// subscriber follows the changes and resumes by itself, at another member each time.
type subscriber struct {
	run    *run
	number int
	random *rand.Rand
	filter *metadatav1.Filter

	// Where to resume. Until both snapshots are through, nowhere.
	position *metadatav1.Position
	pending  int

	mu     sync.Mutex
	open   *consistency.Subscription // nil between two
	opened time.Duration
}

// work subscribes until the context ends.
func (s *subscriber) work(ctx context.Context) {
	if s.random.IntN(2) == 0 {
		s.position = &metadatav1.Position{} // from the beginning of the history
	}
	for at := s.number; ctx.Err() == nil; at++ {
		if s.pending > 0 {
			s.position = nil // the snapshot broke off
		}
		s.session(ctx, s.run.pinned[at%len(s.run.pinned)])
		pause(ctx, reopenPause)
	}
}

func (s *subscriber) request() *metadatav1.SubscribeRequest {
	r := &metadatav1.SubscribeRequest{Filter: s.filter, BookmarkIntervalMillis: bookmarkMillis}
	if s.position == nil {
		r.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
		s.position, s.pending = &metadatav1.Position{}, 2
	} else {
		r.Start = &metadatav1.SubscribeRequest_After{After: proto.CloneOf(s.position)}
	}
	return r
}

// session follows one subscription until it breaks, or is broken off.
func (s *subscriber) session(ctx context.Context, at *client.Client) {
	request := s.request()
	recorded := s.run.history.Subscription(s.number, request, s.run.now())
	s.set(recorded)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(frameWait, cancel)
	defer silence.Stop()
	stream, err := at.Subscribe(inner, request)
	if err == nil {
		err = s.hear(stream, func() { silence.Reset(frameWait) }, recorded)
	}
	if ctx.Err() == nil {
		s.set(nil)
		recorded.Broke(err, s.run.now())
	}
}

// hear records frames until the stream breaks, or is broken off.
func (s *subscriber) hear(stream *client.Subscription, alive func(), recorded *consistency.Subscription) error {
	defer stream.Close()
	for {
		frame, err := stream.Receive()
		if err != nil {
			return err
		}
		alive()
		s.run.frames.Add(1)
		recorded.Frame(frame, s.run.now())
		s.see(frame)
		if s.random.IntN(breakOff) == 0 && !s.run.resting.Load() {
			stream.Close()
		}
	}
}

// see notes how far the subscription has come.
func (s *subscriber) see(frame *metadatav1.SubscribeResponse) {
	switch f := frame.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Snapshot:
		if f.Snapshot.GetLast() {
			advance(s.position, f.Snapshot.GetStream(), f.Snapshot.GetRevision())
			s.pending--
		}
	case *metadatav1.SubscribeResponse_Changes:
		for _, c := range f.Changes.GetChanges() {
			advance(s.position, f.Changes.GetStream(), c.GetRevision())
		}
	case *metadatav1.SubscribeResponse_Bookmark:
		s.position, s.pending = merge(s.position, f.Bookmark.GetPosition()), 0
	case *metadatav1.SubscribeResponse_Reset_:
		s.position, s.pending = &metadatav1.Position{}, 2
	}
}

func advance(p *metadatav1.Position, s metadatav1.Stream, revision uint64) {
	if s == metadatav1.Stream_STREAM_SCHEMA {
		p.SchemaRevision = max(p.GetSchemaRevision(), revision)
	} else {
		p.TopologyRevision = max(p.GetTopologyRevision(), revision)
	}
}

func (s *subscriber) set(open *consistency.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.opened = open, s.run.now()
}

// rest says that nothing can be missing any more, if the subscription has been open for
// long enough, and reports whether it has.
func (s *subscriber) rest(since time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || s.opened > since {
		return false
	}
	s.open.Rest(s.run.now())
	return true
}

// watch follows the changes with the client's own way of resuming, which has to look like
// one subscription that never breaks.
func (s *subscriber) watch(ctx context.Context) {
	request := s.request()
	recorded := s.run.history.Subscription(s.number, request, s.run.now())
	s.set(recorded)
	for frame, err := range s.run.shared.Watch(ctx, request) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.set(nil)
			recorded.Broke(err, s.run.now())
			s.run.violate("a Watch ended: %v", err)
			return
		}
		s.run.frames.Add(1)
		recorded.Frame(frame, s.run.now())
	}
}

// cached reads from a client's cache.
func (w *worker) cached(ctx context.Context) {
	cache, err := w.client.NewCache(client.CacheOptions{BookmarkInterval: bookmarkMillis * time.Millisecond})
	if err != nil {
		w.run.violate("no cache: %v", err)
		return
	}
	defer cache.Close()
	for pause(ctx, time.Duration(10+w.random.IntN(30))*time.Millisecond) {
		view := cache.View()
		if view == nil {
			continue
		}
		w.run.cached.Add(1)
		if w.random.IntN(3) == 0 {
			id := w.run.nodeID(w.random)
			var answer proto.Message
			if n, ok := view.Node(id); ok {
				answer = &metadatav1.GetNodeResponse{Node: n}
			}
			w.run.history.Cached(w.number, &metadatav1.GetNodeRequest{NodeId: id}, answer, view.Position(), w.run.now())
			continue
		}
		name := w.tableName()
		var answer proto.Message
		if t, ok := view.Table("", name); ok {
			answer = &metadatav1.GetTableResponse{Table: t}
		}
		query := &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: name}}
		w.run.history.Cached(w.number, query, answer, view.Position(), w.run.now())
	}
	if err := cache.Err(); err != nil {
		w.run.violate("a cache broke: %v", err)
	}
}
