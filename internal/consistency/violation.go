package consistency

import (
	"fmt"
	"io"
	"strings"
)

// Kind is the promise that was broken.
type Kind string

// The promises.
const (
	BrokenTruth       Kind = "truth"           // the log itself is no history
	NotLinearizable   Kind = "linearizability" // no order of the operations explains the answers
	Undecided         Kind = "undecided"       // the search for an order took longer than Truth.Patience
	OutOfOrder        Kind = "real-time order" // a later operation got an earlier revision
	NotExactlyOnce    Kind = "exactly once"    // a change is missing, there twice, or nobody asked for it
	WrongRead         Kind = "read"            // an answer differs from the log at its position
	WrongRejection    Kind = "rejection"       // an answer without a position was true at no time
	AheadOfCommit     Kind = "ahead of commit" // somebody saw what was not committed yet
	WrongSubscription Kind = "subscription"    // one of the guarantees of subscriptions
	WrongConsumer     Kind = "consumer"        // a consumer lost something, or its position is ahead of what it carried out
	WrongCache        Kind = "cache"           // a cache went back, or differs from the log
	WrongLease        Kind = "lease"           // a node thought itself alive when the service did not
)

// Violation is one broken promise.
type Violation struct {
	Kind Kind
	Text string // for people: what was seen and what was expected
	Ops  []*Op  // that show it, as far as they are operations
	// Diagram, unless nil, writes an HTML page that shows the operations in time.
	Diagram func(io.Writer) error
}

// maxShownOps is how many operations a report lists.
const maxShownOps = 12

// String returns the report.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.Kind, v.Text)
	for i, o := range v.Ops {
		if i == maxShownOps {
			fmt.Fprintf(&b, "\n  and %d more", len(v.Ops)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %v", o)
	}
	return b.String()
}

// Check runs all checks. No violations means that everything that clients saw can
// be true. Recording has to be over.
func Check(h *History, truth Truth) []Violation {
	c, found := newTrial(h, truth)
	if len(found) > 0 {
		return found // nothing can be judged by a log that is no history
	}
	for _, check := range []func(*trial) []Violation{
		checkOnce,
		checkOrder,
		checkReads,
		checkRejections,
		checkSubscriptions,
		checkConsumers,
		checkCaches,
		checkLeases,
		checkLinearizable,
	} {
		found = append(found, check(c)...)
	}
	return found
}
