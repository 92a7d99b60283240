package session

import (
	"errors"
	"fmt"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Why a machine holds no lease.
var (
	// ErrLapsed: the service granted no lease in time.
	ErrLapsed = errors.New("session: no lease was granted in time")
	// ErrClosed: the machine was closed.
	ErrClosed = errors.New("session: closed")
)

// Phase is what a Machine is about.
type Phase uint8

// The phases.
const (
	Joining Phase = iota // it has not held a lease yet
	Joined               // it holds a lease
	Fenced               // it held a lease and tries to get one again
	Leaving              // it was closed and tells the service
	Ended                // it does nothing any more
)

var phaseNames = [...]string{"joining", "joined", "fenced", "leaving", "ended"}

// String returns the phase in a word.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// State is where a Machine stands.
type State struct {
	Phase Phase
	// Epoch is the fencing number of the node's registration; 0: it has none.
	Epoch uint64
	// Until is when the node has to stop serving unless another State says a later time.
	// Only if Joined; a reading of the caller's clock.
	Until time.Duration
	// Status is the node's as the service said it last.
	Status metadatav1.NodeStatus
	// Err is the last trouble: why there is no lease, or why the latest request failed; nil
	// if there is none. Once Ended: why; nil after a departure that succeeded.
	Err error
}

// Holds reports whether the node may serve at a time.
func (s State) Holds(now time.Duration) bool { return s.Phase == Joined && now < s.Until }
