package consistency

import (
	"fmt"
	"time"

	"github.com/heliosdb/metadata/events"
)

// checkLeases checks that no node thought itself alive when the service had let its
// lease go: when it was taken offline, and when another incarnation replaced it. A
// change whose time nobody knows is not judged.
func checkLeases(c *trial) (found []Violation) {
	for _, change := range c.lines[topologyStream].changes {
		at, ok := c.decided(change)
		if !ok {
			continue
		}
		for _, e := range change.Events() {
			var node, what string
			var epoch uint64
			switch k := e.Message(); {
			case k.GetNodeWentOffline() != nil:
				n := k.GetNodeWentOffline().GetNode()
				node, epoch, what = n.GetNodeId(), n.GetEpoch(), "was taken offline"
			case k.GetNodeRegistered().GetPreviousEpoch() != 0:
				n := k.GetNodeRegistered().GetNode()
				if before := c.lines[topologyStream].nodeAt(n.GetNodeId(), change.Revision()-1); before.GetIncarnation() == n.GetIncarnation() {
					continue // itself, again
				}
				node, epoch = n.GetNodeId(), k.GetNodeRegistered().GetPreviousEpoch()
				what = fmt.Sprintf("was replaced by incarnation %q, epoch %d,", n.GetIncarnation(), n.GetEpoch())
			default:
				continue
			}
			found = append(found, c.outlived(node, epoch, what, change.Revision(), at)...)
		}
	}
	return found
}

// outlived returns a violation for each run of a node that thought itself alive at
// a time, under an epoch.
func (c *trial) outlived(node string, epoch uint64, what string, revision uint64, at time.Duration) (found []Violation) {
	for _, s := range c.sessions {
		for _, l := range s.Lives {
			if s.Node == node && l.Epoch == epoch && l.From <= at && at < l.Until {
				found = append(found, broken(WrongLease, nil, "node %q, epoch %d, %s at %v (revision %d), but client %d ran it and thought it alive from %v until %v",
					node, epoch, what, at, revision, s.Client, l.From, l.Until))
			}
		}
	}
	return found
}

// decided returns when the leader decided a change, if the run knows.
func (c *trial) decided(change *events.Change) (time.Duration, bool) {
	if c.truth.Decided != nil {
		return c.truth.Decided(change)
	}
	return c.lines[topologyStream].commitTime(change.Revision())
}
