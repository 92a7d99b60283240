package simulation

import (
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// leaseBook knows until when each node may think itself alive, and when it was
// declared offline.
type leaseBook struct {
	w         *world
	submitted map[string]time.Duration // transitions by request id: when they were decided at the earliest
	granted   map[nodeEpoch][]lifetime
	offline   map[nodeEpoch][]offline
}

// nodeEpoch is one registration of a node.
type nodeEpoch struct {
	node  string
	epoch uint64
}

// lifetime is what one granted beat gives a node: it counts from when it sent the beat,
// and knows of it from when the answer came.
type lifetime struct{ sent, received, until time.Duration }

// offline is a time for which a node was declared offline: from when a leader decided
// that, until a member had applied its return.
type offline struct{ from, until time.Duration }

// trusted is the part of a lease that a node counts on, by its own clock, from when it
// sent the beat.
const trusted = 0.8

func newLeaseBook(w *world) leaseBook {
	return leaseBook{w: w, submitted: map[string]time.Duration{}, granted: map[nodeEpoch][]lifetime{}, offline: map[nodeEpoch][]offline{}}
}

// answered takes the answer to any client's call.
func (j *judge) answered(request proto.Message, sent time.Duration, reply proto.Message, err error) {
	beat, isBeat := request.(*metadatav1.HeartbeatRequest)
	answer, granted := reply.(*metadatav1.HeartbeatResponse)
	if err != nil || !isBeat || !granted {
		return
	}
	lease := time.Duration(trusted * float64(answer.GetLeaseDuration().AsDuration()))
	key := nodeEpoch{beat.GetNodeId(), beat.GetEpoch()}
	l := lifetime{sent, j.w.now, sent + lease}
	j.leases.granted[key] = append(j.leases.granted[key], l)
	for _, o := range j.leases.offline[key] {
		j.leases.compare(key, l, o)
	}
}

// expiring takes a transition that a leader is about to decide.
func (b *leaseBook) expiring(requestID string) { b.submitted[requestID] = b.w.now }

// changed takes a change of the topology when it is first applied.
func (b *leaseBook) changed(c *events.Change) {
	for _, e := range c.Events() {
		m := e.Message()
		n := events.NodeOf(m)
		key := nodeEpoch{n.GetNodeId(), n.GetEpoch()}
		switch {
		case m.GetNodeWentOffline() != nil:
			at, ok := b.submitted[c.RequestID()]
			if !ok {
				b.w.violate("lease", "node %q went offline by a change that no lease table asked for", key.node)
				return
			}
			o := offline{at, never}
			b.offline[key] = append(b.offline[key], o)
			b.w.counts.add("nodes expired", 1)
			for _, l := range b.granted[key] {
				b.compare(key, l, o)
			}
		case m.GetNodeCameOnline() != nil:
			if all := b.offline[key]; len(all) > 0 {
				all[len(all)-1].until = b.w.now
			}
			b.w.counts.add("nodes revived", 1)
		}
	}
}

const never = time.Duration(math.MaxInt64)

// compare finds a node that thinks itself alive although it was declared offline.
func (b *leaseBook) compare(key nodeEpoch, l lifetime, o offline) {
	if l.sent < o.from && o.from < l.until && l.received < o.until {
		b.w.violate("lease", "node %q, epoch %d, was declared offline at %v, but was granted a lease for a beat sent at %v, which it trusts from %v until %v",
			key.node, key.epoch, o.from, l.sent, l.received, l.until)
	}
}
