package consistency

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Keys of the service stream's objects.
const (
	consumerPrefix = "consumer/"
	floorPrefix    = "floor/"
)

func consumerKey(name string) string           { return consumerPrefix + name }
func floorKey(stream metadatav1.Stream) string { return floorPrefix + nameOf(stream) }

// floorKeys returns the keys of what says where a new consumer may begin.
func floorKeys() (keys []string) {
	for _, s := range positioned {
		keys = append(keys, floorKey(s))
	}
	return keys
}

func (s state) consumer(name string) *metadatav1.Consumer {
	c, _ := s.get(consumerKey(name)).(*metadatav1.Consumer)
	return c
}

func (s state) floor(stream metadatav1.Stream) *metadatav1.HistoryFloor {
	f, _ := s.get(floorKey(stream)).(*metadatav1.HistoryFloor)
	return f
}

// serviceObjects appends the objects of the service stream that the rules know.
func (t *timeline) serviceObjects(to []object, revision uint64) []object {
	m := t.services[revision]
	for c := range m.Consumers("") {
		to = append(to, t.decoded(c, func() object {
			message := c.Message()
			return object{consumerKey(c.Name()), message.GetUpdatedRevision(), message}
		}))
	}
	for _, s := range positioned {
		if f := m.Floor(s); f.OldestRevision() > 0 {
			to = append(to, object{floorKey(s), f.OldestRevision(), f.Message()})
		}
	}
	return to
}

// consumerOf returns the consumer that an answer shows; nil if it shows none.
func consumerOf(response proto.Message) *metadatav1.Consumer {
	if r, ok := response.(interface{ GetConsumer() *metadatav1.Consumer }); ok {
		return r.GetConsumer()
	}
	return nil
}

// shows reports whether the answer to an acknowledgement that changed nothing has the
// consumer as it is. Of other answers it says nothing.
func (s state) shows(o *Op) bool {
	answer, ok := o.Response.(*metadatav1.AcknowledgeConsumerResponse)
	return !ok || same(s.consumer(answer.GetConsumer().GetName()), answer.GetConsumer())
}

func (s state) createConsumer(c *metadatav1.CreateConsumerRequest) (state, verdict) {
	in := c.GetConsumer()
	if s.consumer(in.GetName()) != nil {
		return refuse(s, alreadyExists)
	}
	filter := events.NewFilter(in.GetFilter())
	for _, stream := range positioned {
		oldest := s.floor(stream).GetOldestRevision()
		if in.GetPosition() != nil && filter.MatchStream(stream) && revisionOf(in.GetPosition(), stream)+1 < oldest {
			return refuse(s, historyTrimmed)
		}
	}
	return carriedOut(s.put(object{key: consumerKey(in.GetName()), message: in}))
}

func (s state) openConsumer(c *metadatav1.OpenConsumerRequest) (state, verdict) {
	if s.consumer(c.GetName()) == nil {
		return refuse(s, notFound)
	}
	return carriedOut(s)
}

func (s state) acknowledgeConsumer(c *metadatav1.AcknowledgeConsumerRequest) (state, verdict) {
	before := s.consumer(c.GetName())
	switch {
	case before == nil:
		return refuse(s, notFound)
	case before.GetEpoch() != c.GetEpoch():
		return refuse(s, consumerFenced)
	}
	for _, stream := range positioned {
		if kept(before, c.GetPosition(), stream) != revisionOf(before.GetPosition(), stream) {
			return carriedOut(s)
		}
	}
	return s, verdict{}
}

// kept returns the revision of a stream that a consumer has acknowledged when it
// acknowledges a position.
func kept(before *metadatav1.Consumer, p *metadatav1.Position, s metadatav1.Stream) uint64 {
	if !events.NewFilter(before.GetFilter()).MatchStream(s) {
		return 0
	}
	return max(revisionOf(before.GetPosition(), s), revisionOf(p, s))
}

func (s state) deleteConsumer(c *metadatav1.DeleteConsumerRequest) (state, verdict) {
	if s.consumer(c.GetName()) == nil {
		return refuse(s, notFound)
	}
	return carriedOut(s.remove(consumerKey(c.GetName())))
}

// applyConsumer returns the state after an event of a consumer, or what does not fit.
func (s state) applyConsumer(e *metadatav1.Event, c *metadatav1.Consumer, revision uint64) (state, string) {
	key, before := consumerKey(c.GetName()), s.consumer(c.GetName())
	fits := before != nil && before.GetCreatedRevision() == c.GetCreatedRevision()
	next := s.put(object{key, revision, c})
	switch e.GetKind().(type) {
	case *metadatav1.Event_ConsumerCreated:
		fits = before == nil && c.GetEpoch() == 0 && c.GetCreatedRevision() == revision
	case *metadatav1.Event_ConsumerOpened:
		fits = fits && c.GetEpoch() > before.GetEpoch() && proto.Equal(c.GetPosition(), before.GetPosition())
	case *metadatav1.Event_ConsumerAcknowledged:
		fits = fits && c.GetEpoch() == before.GetEpoch() && ahead(before, c)
	case *metadatav1.Event_ConsumerDeleted:
		fits, next = fits && proto.Equal(c, before), s.remove(key)
	}
	if !fits {
		return s, fmt.Sprintf("%s is now %v, but was %v (%v)", key, c, before, e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().Get(0)).Name())
	}
	return next, ""
}

// ahead reports whether a consumer has moved forward, and in no stream back.
func ahead(before, now *metadatav1.Consumer) bool {
	moved := false
	for _, s := range positioned {
		was, is := revisionOf(before.GetPosition(), s), revisionOf(now.GetPosition(), s)
		if is < was {
			return false
		}
		moved = moved || is > was
	}
	return moved
}

func (s state) applyFloor(f *metadatav1.HistoryFloor, revision uint64) (state, string) {
	if before := s.floor(f.GetStream()); f.GetOldestRevision() <= before.GetOldestRevision() {
		return s, fmt.Sprintf("the history of %s is to begin at revision %d, but begins at %d", nameOf(f.GetStream()), f.GetOldestRevision(), before.GetOldestRevision())
	}
	return s.put(object{floorKey(f.GetStream()), revision, f}), ""
}
