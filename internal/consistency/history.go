package consistency

import (
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// never is the time of what has not happened by the end of the run.
const never = time.Duration(1<<63 - 1)

// History is what clients saw. Make one with New.
type History struct {
	// ReasonOf reads the reason out of a client's error. By default the error's chain
	// holds a failure. Set it before recording.
	ReasonOf func(error) metadatav1.ErrorReason

	mu            sync.Mutex
	ops           []*Op
	subscriptions []*Subscription
	cached        []*CachedRead
	sessions      []*Session
	holdings      []*Holding
}

// New returns an empty history.
func New() *History {
	return &History{ReasonOf: func(err error) metadatav1.ErrorReason {
		if f := failure.As(err); f != nil {
			return f.Reason
		}
		return metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}}
}

// Op is one operation of a client: a read, a beat, or a write over all attempts
// that it made for one answer. Sending the same request id again after an answer
// is another Op.
type Op struct {
	h *History

	Number   int    // in order of beginning, from 0
	Client   int    // who asked
	Member   uint64 // that was asked last; 0: not known
	Request  proto.Message
	Response proto.Message // nil: none, or an error
	Reason   metadatav1.ErrorReason
	Error    string // text of the error
	Began    time.Duration
	Ended    time.Duration // never, if no answer came
	Attempts int           // at least one
	Known    bool          // an answer came that says what happened
}

// Begin records that a client sends a request for the first time.
func (h *History) Begin(client int, member uint64, request proto.Message, at time.Duration) *Op {
	request = proto.Clone(request)
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &Op{h: h, Number: len(h.ops), Client: client, Member: member, Request: request, Began: at, Ended: never, Attempts: 1}
	h.ops = append(h.ops, o)
	return o
}

// Retry records that the client sends the request again because it does not know
// the outcome of the attempt before, which may still take effect.
func (o *Op) Retry(member uint64) {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.Attempts++
	o.Member = member
}

// End records the final answer. An error that says that the outcome is not known,
// or that has no reason at all, counts as Unknown.
func (o *Op) End(response proto.Message, err error, at time.Duration) {
	if err != nil {
		o.fail(o.h.ReasonOf(err), err.Error(), at)
		return
	}
	response = decoded(response)
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.Response, o.Ended, o.Known = response, at, true
}

// Refused records the final answer of an operation whose error is only a reason,
// such as a beat of a stream of beats.
func (o *Op) Refused(reason metadatav1.ErrorReason, at time.Duration) {
	o.fail(reason, failure.Name(reason), at)
}

func (o *Op) fail(reason metadatav1.ErrorReason, text string, at time.Duration) {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.Reason, o.Error = reason, text
	if !indefinite(reason) {
		o.Ended, o.Known = at, true
	}
}

// Unknown records that the client gave up: a write may take effect any time later,
// or never. An operation that is never ended counts as unknown, too.
func (o *Op) Unknown(time.Duration) {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.Ended, o.Known = never, false
}

// indefinite reports whether an error leaves open what happened.
func indefinite(reason metadatav1.ErrorReason) bool {
	switch reason {
	case metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED,
		metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE,
		metadatav1.ErrorReason_ERROR_REASON_DEADLINE,
		metadatav1.ErrorReason_ERROR_REASON_CANCELED,
		metadatav1.ErrorReason_ERROR_REASON_DAMAGED,
		metadatav1.ErrorReason_ERROR_REASON_INTERNAL:
		return true
	}
	return false
}

// unserved reports whether an error says that nobody looked at the request: it
// claims nothing about the state.
func unserved(reason metadatav1.ErrorReason) bool {
	switch reason {
	case metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
		metadatav1.ErrorReason_ERROR_REASON_STOPPING,
		metadatav1.ErrorReason_ERROR_REASON_DISK_FULL,
		metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
		metadatav1.ErrorReason_ERROR_REASON_QUARANTINED,
		metadatav1.ErrorReason_ERROR_REASON_LEASE_CHANGING,
		metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE,
		metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED:
		return true
	}
	return false
}

// rejected reports whether the service looked at the request and said no.
func (o *Op) rejected() bool { return o.Known && o.Response == nil && !unserved(o.Reason) }

// answered reports whether the service said yes.
func (o *Op) answered() bool { return o.Known && o.Response != nil }

// String describes the operation on one line.
func (o *Op) String() string {
	until, answer := "...", "no answer"
	if o.Ended != never {
		until = o.Ended.String()
	}
	switch {
	case o.answered():
		answer = show(o.Response)
	case o.Error != "":
		answer = failure.Name(o.Reason) + ": " + o.Error
	}
	return fmt.Sprintf("#%d client %d, member %d, [%v, %s], %d attempts: %s -> %s",
		o.Number, o.Client, o.Member, o.Began, until, o.Attempts, show(o.Request), answer)
}

// maxShown is how many bytes of a message a report shows.
const maxShown = 400

// show prints a message for a report.
func show(m proto.Message) string {
	text := fmt.Sprintf("%s{%v}", m.ProtoReflect().Descriptor().Name(), m)
	if len(text) > maxShown {
		text = text[:maxShown] + "..."
	}
	return text
}

// decoded returns a copy of a message whose objects are decoded: a member may put
// them into an answer as they were logged.
func decoded[M proto.Message](m M) M {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("consistency: an answer cannot be encoded: %v", err))
	}
	fresh := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(raw, fresh); err != nil {
		panic(fmt.Sprintf("consistency: an answer does not decode: %v", err))
	}
	copied, _ := fresh.(M)
	return copied
}
