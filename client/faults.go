package client

import (
	"math/bits"
	"time"

	"connectrpc.com/connect"
)

// isSettled reports whether no other member could give another answer than this error: each
// has said so last.
func (t *tries) isSettled(err error) bool {
	foreign, isForeign := isForeign(err)
	if isForeign && foreign.Written {
		return true
	}
	if !isForeign && !isAboutEndpoint(err) && !isLacking(err) {
		t.faults.clear(t.index)
		return false
	}
	t.fault = err
	return t.faults.note(t.index) == len(t.client.endpoints)
}

// final returns the error of a call whose time is over: what is wrong with an endpoint, which
// somebody has to mend, rather than that another one did not answer; and of the attempt before
// rather than of one that began just before the end.
func (t *tries) final(err error, began time.Time) error {
	if t.before != nil && connect.CodeOf(err) == connect.CodeDeadlineExceeded && !wasAnswered(err) && time.Since(began) < minAttempt {
		err = t.before
	}
	if t.fault != nil && !wasAnswered(err) && !(t.effect && t.uncertain) {
		return t.fault
	}
	return err
}

// faults are the endpoints that failed last for what they are, or lack: a bit for each.
type faults uint64

func (f *faults) note(index int) (all int) {
	*f |= 1 << index
	return bits.OnesCount64(uint64(*f))
}

func (f *faults) clear(index int) { *f &^= 1 << index }
