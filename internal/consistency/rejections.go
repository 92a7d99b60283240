package consistency

import (
	"bytes"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkRejections checks the answers without a position that need not be fresh: a
// read that found nothing has to be true at some revision between the one that it
// asked for and the newest one at its end. Those that have to be fresh are judged in
// their order, see checkOrder. And no position of this cluster is foreign.
func checkRejections(c *trial) (found []Violation) {
	for _, o := range c.ops {
		if !o.rejected() || isWrite(o.Request) {
			continue
		}
		asked := readOptionsOf(o.Request).GetAtLeast()
		line := c.lines[streamOf(o.Request)]
		switch {
		case o.Reason == foreignPosition:
			if !c.foreign(asked) {
				found = append(found, broken(WrongRejection, []*Op{o}, "the position %v is one of this cluster", asked))
			}
		case o.Reason == notFound && !linearizable(o):
			from := uint64(0)
			if readOptionsOf(o.Request).GetConsistency() == metadatav1.Consistency_CONSISTENCY_AT_LEAST {
				from = revisionOf(asked, line.stream)
			}
			if newest := line.newest(o.Ended); !c.holdsWithin(o, line, from, newest) {
				found = append(found, broken(WrongRejection, []*Op{o}, "%s was true at none of the revisions %d to %d of %s",
					failure.Name(o.Reason), from, newest, nameOf(line.stream)))
			}
		}
	}
	return found
}

func (c *trial) holdsWithin(o *Op, line *timeline, from, to uint64) bool {
	for revision := from; revision <= to; revision++ {
		if c.holds(o, line, revision) {
			return true
		}
	}
	return false
}

// foreign reports whether a position was not issued by the cluster, as far as that
// is known.
func (c *trial) foreign(p *metadatav1.Position) bool {
	return c.truth.Cluster == [len(c.truth.Cluster)]byte{} || (p.GetClusterId() != "" && p.GetClusterId() != c.truth.Cluster.String())
}

// holds reports whether an answer that names no revision is true at one: a
// rejection, or a beat's.
func (c *trial) holds(o *Op, line *timeline, revision uint64) bool {
	if revision > line.head() {
		return false
	}
	s := line.at(revision)
	switch r := o.Request.(type) {
	case *metadatav1.GetTableRequest:
		return s.table(r.GetTable()) == nil
	case *metadatav1.ListTablesRequest:
		return s.namespace(r.GetNamespace()) == nil
	case *metadatav1.GetNodeRequest:
		return s.node(r.GetNodeId()) == nil
	case *metadatav1.GetShardRequest:
		if by, ok := r.GetShard().(*metadatav1.GetShardRequest_Key); ok {
			return s.shardAt(by.Key) == nil
		}
		return s.shard(r.GetShardId()) == nil
	case *metadatav1.HeartbeatRequest:
		return beatHolds(o, s.node(r.GetNodeId()))
	case *metadatav1.GetConsumerRequest:
		return same(s.consumer(r.GetName()), consumerOf(o.Response))
	}
	return c.writeHolds(o, s, revision)
}

// beatHolds reports whether a beat's answer is true of the node as it is.
func beatHolds(o *Op, n *metadatav1.NodeInfo) bool {
	r, _ := o.Request.(*metadatav1.HeartbeatRequest)
	granted, _ := o.Response.(*metadatav1.HeartbeatResponse)
	switch {
	case o.answered():
		return n.GetEpoch() == r.GetEpoch() && n.GetStatus() == granted.GetStatus() && n.GetStatus() != offlineStatus
	case o.Reason == notFound:
		return n == nil
	case o.Reason == staleEpoch:
		return n != nil && n.GetEpoch() != r.GetEpoch()
	}
	return true
}

// writeHolds reports whether a write may be refused, or change nothing, at a
// revision.
func (c *trial) writeHolds(o *Op, s state, revision uint64) bool {
	if o.Reason == invalidField && optionsOf(o.Request).GetKnownRevision() > revision {
		return true
	}
	if w := c.writer(o); w.change != nil && w.revision() <= revision && revision-w.revision() < projections.MaxRequests {
		// The service remembers what this request id did.
		return o.Reason == requestIDReused && !c.madeBy(o, w)
	}
	return s.judge(o.Request).allows(o) && s.shows(o)
}

// madeBy reports whether a write's change can have been made by an operation's
// command: no other operation with its request id asks for something else and can have.
func (c *trial) madeBy(o *Op, w *write) bool {
	for _, other := range w.ops {
		_, changed := other.changed()
		if (changed || !other.Known || other.Attempts > 1) && !bytes.Equal(hashOf(other.Request), hashOf(o.Request)) {
			return false
		}
	}
	return true
}
