package consume

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Machine is one run of a consumer.
type Machine struct {
	options Options

	received *metadatav1.Position // everything up to here was sent, or left out by the filter; nil: unknown
	waiting  []Delivery           // sent, and not handed out
	bytes    int                  // of what waits
	batch    []Delivery           // handed out, and not carried out; nil: none
	done     *metadatav1.Position // everything up to here has been carried out

	acked    *metadatav1.Position // what is acknowledged; nil: nothing yet
	asked    *metadatav1.Position // what an acknowledgement under way says; nil: none is
	count    int                  // changes carried out since the last one was asked for
	since    time.Time            // when the first thing to acknowledge was carried out
	behind   bool                 // there is something to acknowledge
	answered time.Time            // when an acknowledgement succeeded last, or the first frame came; zero: neither
}

// New returns a Machine that goes on behind an acknowledged position; nil: where the
// subscription begins, which is acknowledged before the first batch is handed out, so
// that a process that ends then does not begin somewhere else.
func New(from *metadatav1.Position, o Options) (*Machine, error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	m := &Machine{options: o}
	if from != nil {
		if from.GetClusterId() == "" {
			return nil, errors.New("consume: the position names no cluster, so changes would have no id")
		}
		m.received, m.done, m.acked = proto.CloneOf(from), proto.CloneOf(from), proto.CloneOf(from)
	}
	return m, nil
}

// Received returns up to where frames have come: a broken subscription resumes behind it.
// nil if that is not known.
func (m *Machine) Received() *metadatav1.Position { return proto.CloneOf(m.received) }

// HasRoom reports whether a further frame may be handed in.
func (m *Machine) HasRoom() bool {
	return len(m.waiting) < m.options.BatchChanges && m.bytes < m.options.BatchBytes
}

// See takes a frame that came at a time. What it brings is handed out by Begin.
func (m *Machine) See(frame *metadatav1.SubscribeResponse, now time.Time) error {
	if m.answered.IsZero() {
		m.answered = now
	}
	switch f := frame.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Changes:
		return m.seeChanges(f.Changes)
	case *metadatav1.SubscribeResponse_Bookmark:
		return m.seeBookmark(f.Bookmark.GetPosition(), now)
	case *metadatav1.SubscribeResponse_Reset_:
		return fmt.Errorf("consume: the service wants to begin anew (%s), which would leave changes out", f.Reset_.GetReason())
	}
	return fmt.Errorf("consume: a frame of type %T is not what a consumer asked for", frame.GetFrame())
}

func (m *Machine) seeChanges(all *metadatav1.Changes) error {
	stream := all.GetStream()
	if m.received == nil {
		return fmt.Errorf("consume: changes of the %s stream came before a bookmark that says where they are", events.StreamName(stream))
	}
	if !slices.Contains(follow.Streams[:], stream) {
		return fmt.Errorf("consume: changes of stream %d, which positions do not cover: this build is older than the service", stream)
	}
	for _, change := range all.GetChanges() {
		revision := change.GetRevision()
		if revision <= follow.RevisionOf(m.received, stream) {
			continue // it came before
		}
		follow.SetRevision(m.received, stream, revision)
		d := Delivery{
			ClusterID: m.received.GetClusterId(), RecoveryEpoch: m.received.GetRecoveryEpoch(),
			Stream: stream, Change: change, size: proto.Size(change),
		}
		m.waiting, m.bytes = append(m.waiting, d), m.bytes+d.size
	}
	return nil
}

func (m *Machine) seeBookmark(p *metadatav1.Position, now time.Time) error {
	if m.received == nil {
		m.received, m.done = proto.CloneOf(p), proto.CloneOf(p)
		m.note(now)
		return nil
	}
	if p.GetClusterId() != m.received.GetClusterId() || p.GetRecoveryEpoch() != m.received.GetRecoveryEpoch() {
		return fmt.Errorf("consume: the position is of cluster %s, recovery epoch %d; a bookmark of cluster %s, epoch %d came",
			m.received.GetClusterId(), m.received.GetRecoveryEpoch(), p.GetClusterId(), p.GetRecoveryEpoch())
	}
	for _, s := range follow.Streams {
		follow.SetRevision(m.received, s, max(follow.RevisionOf(m.received, s), follow.RevisionOf(p, s)))
	}
	m.settle(now)
	return nil
}

// Begin hands out the next batch; nil: there is none, or one has not been carried out.
func (m *Machine) Begin() []Delivery {
	if m.batch != nil || len(m.waiting) == 0 || m.acked == nil {
		return nil
	}
	n, size := 0, 0
	for n < min(len(m.waiting), m.options.BatchChanges) && (n == 0 || size+m.waiting[n].size <= m.options.BatchBytes) {
		size += m.waiting[n].size
		n++
	}
	m.batch = slices.Clone(m.waiting[:n])
	m.waiting, m.bytes = slices.Delete(m.waiting, 0, n), m.bytes-size // which lets go of them
	return m.batch
}

// Handled says that the batch has been carried out.
func (m *Machine) Handled(now time.Time) {
	for _, d := range m.batch {
		follow.SetRevision(m.done, d.Stream, d.Change.GetRevision())
	}
	m.count += len(m.batch)
	if len(m.batch) > 0 {
		m.note(now)
	}
	m.batch = nil
	m.settle(now)
}

// settle notes that nothing is left to carry out of what was sent.
func (m *Machine) settle(now time.Time) {
	if m.batch != nil || len(m.waiting) > 0 || samePlace(m.done, m.received) {
		return
	}
	m.done = proto.CloneOf(m.received)
	m.note(now)
}

// note notes that there is something to acknowledge.
func (m *Machine) note(now time.Time) {
	if !m.behind {
		m.behind, m.since = true, now
	}
}

// Acknowledge returns a position to acknowledge now; nil: none. Its outcome has to be
// told before there is another one. It may be one that is acknowledged already: the answer
// tells whether the consumer is still this one's.
func (m *Machine) Acknowledge(now time.Time) *metadatav1.Position {
	at, due := m.DueAt()
	if !due || now.Before(at) && m.count < m.options.AckChanges {
		return nil
	}
	return m.ask()
}

// DueAt returns when there is something to acknowledge at the latest; false: not by the
// passing of time.
func (m *Machine) DueAt() (time.Time, bool) {
	switch {
	case m.asked != nil || !m.behind && (m.acked == nil || m.answered.IsZero()):
		return time.Time{}, false
	case !m.behind:
		return m.answered.Add(checkIntervals * m.options.AckInterval), true
	case m.acked == nil:
		return m.since, true
	}
	return m.since.Add(m.options.AckInterval), true
}

// Last returns the position to acknowledge before the consumer ends; nil: none. An
// acknowledgement under way has to be told before.
func (m *Machine) Last() *metadatav1.Position {
	if !m.behind {
		return nil
	}
	return m.ask()
}

func (m *Machine) ask() *metadatav1.Position {
	m.asked, m.count, m.behind = proto.CloneOf(m.done), 0, false
	return proto.CloneOf(m.asked)
}

// Acknowledged tells what became of an acknowledgement. One that failed is made again
// with what has been carried out by then, after AckInterval.
func (m *Machine) Acknowledged(ok bool, now time.Time) {
	if ok {
		m.acked, m.answered = m.asked, now
	} else {
		m.behind, m.since = true, now
	}
	m.asked = nil
}

// samePlace reports whether two positions of one cluster are the same.
func samePlace(a, b *metadatav1.Position) bool {
	for _, s := range follow.Streams {
		if follow.RevisionOf(a, s) != follow.RevisionOf(b, s) {
			return false
		}
	}
	return true
}
