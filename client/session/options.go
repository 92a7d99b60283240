package session

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Defaults and limits.
const (
	// DefaultInterval is the time between beats until the service has said one.
	DefaultInterval = time.Second
	// MinInterval is the shortest time between two beats.
	MinInterval = 10 * time.Millisecond
	// MaxLease is the longest lease that is believed; a longer one counts as this.
	MaxLease = time.Hour
	// DefaultPatience is how long a registration goes unanswered before it is sent again.
	DefaultPatience = 5 * time.Second
	// DefaultLeaveTimeout is how long leaving is tried.
	DefaultLeaveTimeout = 5 * time.Second
	// MaxPause bounds how long the service can ask to wait, and the time between two attempts
	// of a node that was a member to register again when it is refused.
	MaxPause = 30 * time.Second

	// A lease counts for leaseUsed of leaseParts of its length.
	leaseUsed, leaseParts = 4, 5
	// beatsPerLease is how many beats are sent in a lease at least.
	beatsPerLease = 4
	// pauseParts: after a failure the next beat follows within this part of an interval.
	pauseParts = 4
	// maxDoublings: each refusal doubles the time to the next attempt, up to MaxPause.
	maxDoublings = 12
	// maxInFlight bounds the requests whose answers are awaited; older ones do not
	// count any more.
	maxInFlight = 16
)

// Departure is what Close does about the node's registration.
type Departure uint8

// The departures. In all of them the node goes offline when its lease has run out,
// unless it is unregistered.
const (
	// Leave unregisters the node; if shards are placed on it, it is drained instead.
	Leave Departure = iota
	// Drain keeps new shards away from the node until it registers again.
	Drain
	// Stay tells the service nothing.
	Stay
)

// Options configure a Machine. Node and Judge are required.
type Options struct {
	// Node is what to register. Its Incarnation names this run of the process; two runs
	// must not share one.
	Node *metadatav1.NodeInfo
	// Judge tells what errors mean.
	Judge follow.Judge
	// NewID returns a new request id at each call; nil: requests carry none, and a
	// registration whose answer is lost may be made twice.
	NewID func() string
	// Interval is the time between beats; 0: what the service says.
	Interval time.Duration
	// Patience is how long a registration goes unanswered before it is sent again. 0:
	// DefaultPatience.
	Patience time.Duration
	// Departure is what Close does.
	Departure Departure
	// LeaveTimeout is how long Close tries that; 0: DefaultLeaveTimeout.
	LeaveTimeout time.Duration
}

// check returns o with a copy of the node and with the defaults filled in.
func (o Options) check() (Options, error) {
	switch {
	case o.Node.GetNodeId() == "":
		return o, errors.New("session: the node has no id; name one that is stable over restarts")
	case o.Node.GetIncarnation() == "":
		return o, fmt.Errorf("session: node %q has no incarnation; give each run of its process another one", o.Node.GetNodeId())
	case o.Judge == nil:
		return o, errors.New("session: no Judge")
	case o.Interval != 0 && o.Interval < MinInterval:
		return o, fmt.Errorf("session: a beat every %v; use at least %v, or 0 for what the service says", o.Interval, MinInterval)
	case o.Patience < 0 || o.LeaveTimeout < 0:
		return o, fmt.Errorf("session: a patience of %v and a leave timeout of %v; neither may be negative", o.Patience, o.LeaveTimeout)
	case o.Departure > Stay:
		return o, fmt.Errorf("session: there is no departure %d", o.Departure)
	}
	o.Node = proto.CloneOf(o.Node)
	if o.NewID == nil {
		o.NewID = func() string { return "" }
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.LeaveTimeout == 0 {
		o.LeaveTimeout = DefaultLeaveTimeout
	}
	return o, nil
}
