package consistency

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Subscription is one subscription as its client saw it. A resumption is another
// one, with the position to resume from in its request.
type Subscription struct {
	h *History

	Number  int // in order of beginning, from 0
	Client  int
	Request *metadatav1.SubscribeRequest
	Began   time.Duration
	Frames  []Frame
	// Complete says that the subscription was still open when the cluster had been
	// at rest for long: everything that matches has to have arrived.
	Complete bool
	Reason   metadatav1.ErrorReason // why it ended
	Ended    time.Duration          // never: it was open to the end
}

// Frame is a frame as it arrived.
type Frame struct {
	At      time.Duration
	Message *metadatav1.SubscribeResponse
}

// Subscription records that a client opens a subscription.
func (h *History) Subscription(client int, request *metadatav1.SubscribeRequest, at time.Duration) *Subscription {
	request = proto.CloneOf(request)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Subscription{h: h, Number: len(h.subscriptions), Client: client, Request: request, Began: at, Ended: never}
	h.subscriptions = append(h.subscriptions, s)
	return s
}

// Frame records a frame as it came from the service, before the client leaves
// anything out.
func (s *Subscription) Frame(frame *metadatav1.SubscribeResponse, at time.Duration) {
	frame = decoded(frame)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.Frames = append(s.Frames, Frame{at, frame})
}

// Broke records the end of the subscription.
func (s *Subscription) Broke(err error, at time.Duration) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.Ended = at
	if err != nil {
		s.Reason = s.h.ReasonOf(err)
	}
}

// Rest records that the subscription is open while everything has been at rest for
// longer than any bookmark takes: nothing may be missing any more.
func (s *Subscription) Rest(time.Duration) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.Complete = true
}

// String describes the subscription on one line.
func (s *Subscription) String() string {
	return fmt.Sprintf("subscription %d of client %d since %v, %d frames: %s", s.Number, s.Client, s.Began, len(s.Frames), show(s.Request))
}

// CachedRead is one read of a client's cache.
type CachedRead struct {
	Client   int
	Query    proto.Message // the request that a member would be asked
	Answer   proto.Message // the response without its position; nil: no such object
	Position *metadatav1.Position
	At       time.Duration

	own    int           // the client whose writes are shown, if vouched
	vouch  bool          // for them
	before time.Duration // all that was committed before is shown; 0: nobody vouched for any
}

// ShowsOwn records that the cache vouched for showing all that a client had written by
// then. It is for whoever recorded the read.
func (r *CachedRead) ShowsOwn(client int) { r.own, r.vouch = client, true }

// ShowsAll records that the cache vouched for showing all that was committed before a time.
func (r *CachedRead) ShowsAll(before time.Duration) { r.before = before }

// Cached records what a client's cache showed: in answer to a query, in the words
// of the contract (GetTableRequest and GetTableResponse and so on), and at which
// position. A nil answer says that there is no such object; a nil query only that
// the cache was there.
func (h *History) Cached(client int, query, answer proto.Message, position *metadatav1.Position, at time.Duration) *CachedRead {
	if query != nil {
		query = proto.Clone(query)
	}
	if answer != nil {
		answer = decoded(answer)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &CachedRead{Client: client, Query: query, Answer: answer, Position: proto.CloneOf(position), At: at}
	h.cached = append(h.cached, r)
	return r
}

// Session is one run of a node's process.
type Session struct {
	h *History

	Client int
	Node   string
	Lives  []Life
}

// Life is a time during which a node thought itself alive: from included, until
// excluded.
type Life struct {
	Epoch       uint64
	From, Until time.Duration
}

// Session records that a node's process begins.
func (h *History) Session(client int, node string) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Session{h: h, Client: client, Node: node}
	h.sessions = append(h.sessions, s)
	return s
}

// Alive records that the node, registered under an epoch, thinks itself alive from
// now on and, unless it hears more, until then: a lease granted for a beat ends
// 0.8 of its length after the beat was sent.
func (s *Session) Alive(epoch uint64, now, until time.Duration) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if n := len(s.Lives); n > 0 && s.Lives[n-1].Epoch == epoch && s.Lives[n-1].Until >= now {
		s.Lives[n-1].Until = max(s.Lives[n-1].Until, until)
		return
	}
	s.Lives = append(s.Lives, Life{epoch, now, until})
}

// Fenced records that the node stopped serving before its lease ended, or ended.
func (s *Session) Fenced(at time.Duration) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if n := len(s.Lives); n > 0 {
		s.Lives[n-1].Until = min(s.Lives[n-1].Until, at)
	}
}
