package session

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var (
	errNotYet = errors.New("session: the node has not joined yet")
	errOdd    = errors.New("session: the answer does not belong to the request")
)

// Answered takes the answer to a request: a message, or the error instead of one. It
// returns what to send because of it. Answers that nobody waits for are ignored.
func (m *Machine) Answered(now time.Duration, seq uint64, answer proto.Message, err error) []Request {
	m.advance(now)
	i := slices.IndexFunc(m.flights, func(f flight) bool { return f.seq == seq })
	if i < 0 {
		return nil
	}
	f := m.flights[i]
	m.flights = slices.Delete(m.flights, i, i+1)
	switch {
	case f.epoch != 0 && f.epoch == m.epoch && m.phase != Leaving:
		m.beatAnswered(f, answer, err)
	case f.epoch == 0 && f.attempt == m.attempt && m.phase == Leaving:
		m.departureAnswered(err)
	case f.epoch == 0 && f.attempt == m.attempt && m.epoch == 0:
		m.registrationAnswered(answer, err)
	}
	return m.Tick(now)
}

func (m *Machine) registrationAnswered(answer proto.Message, err error) {
	r, _ := answer.(*metadatav1.RegisterNodeResponse)
	if err == nil && (r.GetNode().GetEpoch() == 0 || r.GetNode().GetNodeId() != m.options.Node.GetNodeId()) {
		err = errOdd
	}
	if err != nil {
		m.registrationFailed(err)
		return
	}
	m.epoch, m.status, m.floor = r.GetNode().GetEpoch(), r.GetNode().GetStatus(), math.MinInt64
	m.lease, m.pace = leaseOf(r.GetLeaseDuration()), lengthOf(r.GetHeartbeatInterval())
	m.refused = 0
	m.due = m.now // the registration itself counts for no lease: this may be a repeated answer
}

func (m *Machine) registrationFailed(err error) {
	m.err = fmt.Errorf("session: registering node %q: %w", m.options.Node.GetNodeId(), err)
	judged := follow.Judgement{Retry: true}
	if !errors.Is(err, errOdd) {
		judged = m.options.Judge(err)
	}
	wait := m.interval()
	switch {
	case judged.Retry || judged.Reason == metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE:
	case passes(judged.Reason):
		m.begin()
	case m.joined:
		// The service has taken this very node before. Whatever stands in between, a proxy or
		// a token, may be set right.
		if judged.Reason != metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			m.begin()
		}
		wait = min(wait<<min(m.refused, maxDoublings), MaxPause)
		m.refused++
	default:
		m.end(m.err)
		return
	}
	m.due = m.now + min(max(judged.Wait, wait), MaxPause)
}

// passes reports whether a registration refused for this reason may be accepted
// another time, under another request id.
func passes(r metadatav1.ErrorReason) bool {
	switch r {
	case metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
		metadatav1.ErrorReason_ERROR_REASON_INTERNAL,
		metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE,
		metadatav1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED:
		return true
	}
	return false
}

func (m *Machine) beatAnswered(f flight, answer proto.Message, err error) {
	r, _ := answer.(*metadatav1.HeartbeatResponse)
	if err == nil && (r.GetNodeId() != m.options.Node.GetNodeId() || leaseOf(r.GetLeaseDuration()) == 0) {
		err = errOdd
	}
	if err != nil {
		m.beatFailed(f, err)
		return
	}
	if f.sent <= m.floor {
		return // a refusal of a later beat was quicker
	}
	m.lease = leaseOf(r.GetLeaseDuration())
	if until := f.sent + m.lease*leaseUsed/leaseParts; until > m.now {
		if m.phase != Joined {
			m.phase, m.until, m.joined = Joined, until, true
		}
		m.until, m.granted = max(m.until, until), max(m.granted, f.sent)
		m.status, m.err = r.GetStatus(), nil
	}
	m.due = min(m.due, f.sent+m.interval())
}

func (m *Machine) beatFailed(f flight, err error) {
	reason, wait := metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED, time.Duration(0)
	if !errors.Is(err, errOdd) {
		judged := m.options.Judge(err)
		reason, wait = judged.Reason, judged.Wait
	}
	err = fmt.Errorf("session: a beat of node %q: %w", m.options.Node.GetNodeId(), err)
	switch reason {
	case metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND:
		m.fence(err)
		m.epoch, m.status = 0, metadatav1.NodeStatus_NODE_STATUS_UNSPECIFIED
		m.begin()
		return
	case metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING:
		// The service goes by another clock than we, or somebody took the node offline.
		if m.phase != Joined || f.sent > m.granted {
			m.fence(err)
			m.floor = max(m.floor, f.sent)
		}
	default:
		m.err = err
	}
	soon := min(max(wait, m.interval()/pauseParts), m.interval())
	m.due = min(m.due, m.now+soon)
}

func (m *Machine) departureAnswered(err error) {
	if err == nil {
		m.end(nil)
		return
	}
	judged := m.options.Judge(err)
	m.err = err
	switch judged.Reason {
	case metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH:
		m.end(nil) // the registration is gone
		return
	case metadatav1.ErrorReason_ERROR_REASON_NODE_IN_USE:
		if !m.drain {
			m.drain = true
			m.begin()
			return
		}
	default:
	}
	if !judged.Retry {
		m.end(fmt.Errorf("session: node %q did not leave: %w", m.options.Node.GetNodeId(), err))
		return
	}
	m.due = m.now + min(max(judged.Wait, m.interval()/pauseParts), MaxPause)
}

// lengthOf returns a duration that is not negative.
func lengthOf(d *durationpb.Duration) time.Duration { return max(0, d.AsDuration()) }

// leaseOf returns the length of a lease, as far as it is believed.
func leaseOf(d *durationpb.Duration) time.Duration { return min(lengthOf(d), MaxLease) }
