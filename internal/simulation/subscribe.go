package simulation

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	realmember "github.com/heliosdb/metadata/member"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// subscriber is one subscription: a connection of a client to a member, on which
// frames arrive in order, each once, or not at all because the connection broke.
type subscriber struct {
	w      *world
	m      *member
	life   uint64 // of the member
	client end
	sub    *feed.Subscription
	frame  func(*metadatav1.SubscribeResponse)
	end    func(error)

	over     bool // the client has heard how it ended, or asked for that
	broken   bool // nothing comes through any more
	ended    bool // the member has said how it ended
	inFlight int
	lastAt   time.Duration // when the latest frame arrives
	timer    uint64        // counts the timers set; only the latest one counts
}

// window is how many frames fit into the connection; the member makes no more while
// the client does not read.
const window = 4

// subscribe opens a subscription of a client to a member. frame gets the frames in
// order; they are the client's. end is called exactly once, with why it is over: the
// member's *failure.Error, or one of NO_LEADER when the connection could not be opened
// or broke, unless cancel is called before. Both come later, never inside subscribe.
func (w *world) subscribe(client int, to uint64, req *metadatav1.SubscribeRequest, frame func(*metadatav1.SubscribeResponse), end_ func(error)) (cancel func()) {
	s := &subscriber{w: w, client: clientEnd(client), frame: frame, end: end_}
	req = proto.CloneOf(req)
	w.rpc(s.client, to, true, 2*time.Second, func(m *member, answer func(any, error)) {
		answer(m.open(s, req), nil)
	}, func(reply any, err error) {
		if why, ok := reply.(error); ok && err == nil {
			err = why
		}
		if err != nil {
			s.broken = true
			s.finish(callFailed(err, to, ""))
		}
	})
	return func() {
		if !s.over {
			s.over = true
			s.breakOff()
		}
	}
}

// open begins a subscription on the member.
func (m *member) open(s *subscriber, req *metadatav1.SubscribeRequest) error {
	if m.run == nil {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "member %d has not started yet", m.id)
	}
	if s.over || s.broken {
		return nil // the client has given up
	}
	sub, err := m.run.feed.Subscribe(req, m.feedTime())
	if err != nil {
		return err
	}
	s.m, s.life, s.sub = m, m.life, sub
	m.w.counts.add("subscriptions", 1)
	m.run.served = append(m.run.served, s)
	s.pump()
	return nil
}

// feedTime is the time that subscriptions live in: it never runs backwards.
func (m *member) feedTime() time.Time { return wallStart.Add(m.monotonic()) }

// feedMoved wakes the subscriptions.
func (m *member) feedMoved() {
	for _, s := range m.run.served {
		s.soon()
	}
}

// soon has the subscription look at the feed in a moment.
func (s *subscriber) soon() { s.wakeIn(within(s.w.rng, 0, time.Millisecond)) }

func (s *subscriber) wakeIn(d time.Duration) {
	s.timer++
	timer := s.timer
	s.m.later(d, func() {
		if s.timer == timer {
			s.pump()
		}
	})
}

// pump sends what there is, as far as the connection takes it.
func (s *subscriber) pump() {
	for !s.broken && !s.ended && s.m.life == s.life && s.inFlight < window {
		now := s.m.feedTime()
		frame, wait, err := s.sub.Next(now)
		switch {
		case err != nil:
			s.ended = true
			s.transmit(func() { s.finish(err) })
			s.release()
			return
		case frame.Message() != nil:
			raw, err := frame.Encoded()
			if err != nil {
				s.w.violate("feed", "member %d: a frame cannot be encoded: %v", s.m.id, err)
				return
			}
			s.transmit(func() { s.deliver(raw) })
		default:
			s.wakeIn(max(wait.Until.Sub(now), 100*time.Microsecond))
			return
		}
	}
}

// transmit sends something behind what was sent before. On a cut link it is lost, and
// with it the connection.
func (s *subscriber) transmit(arrive func()) {
	w, from := s.w, end(s.m.id)
	s.inFlight++
	delay := w.net.delay()
	if loss := w.net.conditions().loss; loss > 0 && w.chance(loss) {
		delay += within(w.rng, 50*time.Millisecond, 500*time.Millisecond) // sent again
	}
	s.lastAt = max(s.lastAt, w.now+delay)
	w.after(s.lastAt-w.now, func() {
		if s.broken {
			return
		}
		if w.net.isCut(from, s.client) || w.net.isCut(s.client, from) {
			s.breakOff()
			return
		}
		s.inFlight--
		arrive()
		if s.m.life == s.life && !s.broken {
			s.m.hear(s.pump)
		}
	})
}

func (s *subscriber) deliver(raw []byte) {
	if s.over {
		return
	}
	frame := &metadatav1.SubscribeResponse{}
	if err := proto.Unmarshal(raw, frame); err != nil {
		s.w.violate("feed", "member %d: a frame cannot be decoded: %v", s.m.id, err)
		return
	}
	s.w.counts.add("frames", 1)
	if frame.GetReset_() != nil {
		s.w.counts.add("resets", 1)
	}
	s.frame(frame)
}

// breakOff ends the connection; the client notices after a while.
func (s *subscriber) breakOff() {
	if s.broken {
		return
	}
	s.broken = true
	s.release()
	s.w.after(within(s.w.rng, time.Millisecond, time.Second), func() {
		f := failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "the connection broke")
		f.RetryAfter = retryAfter
		s.finish(f)
	})
}

func (s *subscriber) finish(err error) {
	if !s.over {
		s.over = true
		s.end(err)
	}
}

// release lets the member forget the subscription.
func (s *subscriber) release() {
	if s.sub == nil {
		return
	}
	s.sub.Close()
	if s.m.life != s.life || s.m.run == nil {
		return
	}
	// A copy: whoever goes through them right now may be what ended this one.
	s.m.run.served = slices.DeleteFunc(slices.Clone(s.m.run.served), func(other *subscriber) bool { return other == s })
}

// snapshots gives the feed the published models in chunks.
type snapshots struct{ r *running }

// Snapshot implements feed.Snapshotter.
func (s snapshots) Snapshot(id metadatav1.Stream, filter *events.Filter) (feed.Snapshot, error) {
	if id == metadatav1.Stream_STREAM_TOPOLOGY {
		return realmember.TopologySnapshot(s.r.topology.replica.View(), filter), nil
	}
	return realmember.SchemaSnapshot(s.r.schema.replica.View(), filter), nil
}
