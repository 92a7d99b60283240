package consistency

import (
	"bytes"
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkOnce checks that each write took effect as often as its client was told:
// each acknowledged change is in the log once, under its request id, with the
// result that was answered; a definite rejection left nothing; every change was
// asked for by somebody. That no request id is in the log twice is checked with the
// log itself.
func checkOnce(c *trial) (found []Violation) {
	claimed := make(map[metadatav1.Stream]map[uint64]bool)
	for _, s := range streams {
		claimed[s] = make(map[uint64]bool)
	}
	anonymous := false // a write without a request id may have made a change that nobody heard of
	for _, w := range c.writes {
		claimed[w.stream][w.revision()] = true
		anonymous = anonymous || (w.id == "" && !w.ops[0].Known)
		for _, o := range w.ops {
			found = append(found, c.acknowledged(w, o)...)
		}
		found = append(found, leftNothing(w)...)
	}
	for _, s := range streams {
		for _, change := range c.lines[s].changes {
			if id := change.RequestID(); id != "" && !anonymous && !claimed[s][change.Revision()] && !isOwn(change) {
				found = append(found, broken(NotExactlyOnce, nil,
					"change %d of %s has request id %q, which nobody sent: %v", change.Revision(), nameOf(s), id, change.Message()))
			}
		}
	}
	return found
}

// isOwn reports whether a change is of the kinds that the service makes by itself, when
// leases end and come back or a history is signed or trimmed, and no client can ask for.
func isOwn(change *events.Change) bool {
	for _, e := range change.Message().GetEvents() {
		switch e.GetKind().(type) {
		case *metadatav1.Event_NodeWentOffline, *metadatav1.Event_NodeCameOnline, *metadatav1.Event_HeadSigned, *metadatav1.Event_HistoryTrimmed:
		default:
			return false
		}
	}
	return true
}

// acknowledged checks one answer to a write against the log.
func (c *trial) acknowledged(w *write, o *Op) []Violation {
	revision, changed := o.changed()
	result := resultOf(o.Response)
	switch {
	case !o.answered():
		return nil
	case result == nil:
		return []Violation{broken(NotExactlyOnce, []*Op{o}, "the answer to a write has no result")}
	case !changed && result.GetDeduplicated():
		return []Violation{broken(NotExactlyOnce, []*Op{o}, "an answer says that an earlier attempt took effect and changed nothing")}
	case !changed:
		return nil
	case w.id == "" && revision == 0:
		return nil // nobody can tell which change it was
	case w.change == nil:
		return []Violation{broken(NotExactlyOnce, []*Op{o}, "acknowledged at revision %d of %s, but request %q is not in the log, which ends at revision %d",
			revision, nameOf(w.stream), w.id, c.lines[w.stream].head())}
	case revision != 0 && w.revision() != revision:
		return []Violation{broken(NotExactlyOnce, []*Op{o}, "acknowledged at revision %d of %s, but request %q is in the log at revision %d",
			revision, nameOf(w.stream), w.id, w.revision())}
	}
	want := answerTo(o.Request, w.change)
	got := withoutMoment(o.Response)
	if want != nil && !proto.Equal(want, got) {
		return []Violation{broken(NotExactlyOnce, []*Op{o}, "the log says that the answer at revision %d is %v", revision, want)}
	}
	if hash := w.change.CommandHash(); len(hash) > 0 && !bytes.Equal(hash, hashOf(o.Request)) {
		return []Violation{broken(NotExactlyOnce, []*Op{o}, "request %q was acknowledged, but change %d of %s was made by another command",
			w.id, revision, nameOf(w.stream))}
	}
	return nil
}

// hashOf is a command's hash as the log has it: SHA-256 of its name, a zero and its
// deterministic encoding without its options.
func hashOf(request proto.Message) []byte {
	h := sha256.New()
	h.Write([]byte(request.ProtoReflect().Descriptor().FullName()))
	h.Write([]byte{0})
	h.Write(contentOf(request))
	return h.Sum(nil)
}

// leftNothing checks that a write all of whose operations were definitely refused
// is not in the log. An attempt whose outcome its client did not know may take
// effect even after a later one was refused.
func leftNothing(w *write) []Violation {
	if w.change == nil {
		return nil
	}
	for _, o := range w.ops {
		_, changed := o.changed()
		if !o.Known || changed || o.Attempts > 1 {
			return nil
		}
	}
	return []Violation{broken(NotExactlyOnce, w.ops, "no attempt was told that it took effect, and the outcome of none is open, but request %q made change %d of %s: %v",
		w.id, w.revision(), nameOf(w.stream), w.change.Message())}
}

// contentOf is a command without its options.
func contentOf(request proto.Message) []byte {
	m := proto.Clone(request)
	if field := m.ProtoReflect().Descriptor().Fields().ByName("write"); field != nil {
		m.ProtoReflect().Clear(field)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil
	}
	return raw
}
