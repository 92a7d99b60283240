package follow

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/internal/frames"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// What is longer than these is cut: what needs more is not found by luck.
const (
	maxFuzzInput = 64 << 10
	maxFuzzOrder = 500
)

// encode writes frames one after the other, each behind its length; nil is a break.
func encode(all ...frames.Frame) (input []byte) {
	for _, f := range all {
		raw, err := proto.Marshal(f)
		if err != nil {
			panic(err)
		}
		input = protowire.AppendBytes(input, raw)
	}
	return input
}

// decode reads frames until the input ends or makes no sense. A frame of no bytes is
// nil: the connection breaks there.
func decode(t *testing.T, input []byte) (all []frames.Frame) {
	for len(input) > 0 {
		raw, n := protowire.ConsumeBytes(input)
		if n < 0 {
			return all
		}
		input = input[n:]
		if len(raw) == 0 {
			all = append(all, nil)
			continue
		}
		f := &metadatav1.SubscribeResponse{}
		err := proto.Unmarshal(raw, f)
		sameFrame(t, raw, f, err)
		if err != nil {
			return all
		}
		all = append(all, f)
	}
	return all
}

// sameFrame fails unless a frame in its encoding amounts to what protobuf makes of it.
func sameFrame(t *testing.T, raw []byte, want frames.Frame, wanted error) {
	parsed, err := ParseFrame(raw)
	var got frames.Frame
	if err == nil {
		got, err = parsed.Message()
	}
	if (err != nil) != (wanted != nil) || err == nil && !proto.Equal(got, want) {
		t.Fatalf("%x is parsed as %v (%v), want %v (%v)", raw, got, err, want, wanted)
	}
	if wanted != nil {
		return
	}
	stream, changes := parsed.Changes()
	if stream != want.GetChanges().GetStream() || len(changes) != len(want.GetChanges().GetChanges()) {
		t.Fatalf("%x has %d changes of %v, want %v", raw, len(changes), stream, want)
	}
	for i, c := range want.GetChanges().GetChanges() {
		if changes[i].Revision() != c.GetRevision() || changes[i].Partial() != c.GetPartial() {
			t.Fatalf("change %d (partial: %v) is taken for %d (%v)", c.GetRevision(), c.GetPartial(), changes[i].Revision(), changes[i].Partial())
		}
	}
}

// audience is what a subscriber may count on whatever a service sends: a Resumption,
// and a Mirror of what it hands on.
type audience struct {
	t          *testing.T
	resumption *Resumption
	mirror     *Mirror
	twin       *Mirror // which gets the same frames in their encoding; nil: it has refused one
	broken     bool    // the mirror has refused a frame
	last       map[metadatav1.Stream]uint64
	shown      *metadatav1.Position
	forgotten  map[metadatav1.Stream]bool // was reset since something was shown whole
}

func newAudience(t *testing.T) *audience {
	return &audience{
		t: t, resumption: NewResumption(snapshotRequest(), 3, JudgeFailure), mirror: NewMirror(), twin: NewMirror(),
		last: make(map[metadatav1.Stream]uint64), forgotten: make(map[metadatav1.Stream]bool),
	}
}

// interrupt ends the connection for a reason, and connects again.
func (a *audience) interrupt(err error) {
	if _, again := a.resumption.Broke(err); !again {
		return
	}
	if f := a.resumption.Announce(); f != nil {
		a.hear(f)
	}
	after := a.resumption.Next().GetAfter()
	for _, s := range Streams {
		if after != nil && RevisionOf(after, s) < a.last[s] {
			a.t.Fatalf("change %d of %v was handed on; it resumes behind %d", a.last[s], s, RevisionOf(after, s))
		}
	}
}

func (a *audience) see(f frames.Frame) {
	if f = a.resumption.See(f); f != nil {
		a.hear(f)
	}
}

// hear takes what a Resumption hands on.
func (a *audience) hear(f frames.Frame) {
	switch f := f.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Reset_:
		if s := f.Reset_.GetStream(); s != 0 {
			delete(a.last, s)
			a.forgotten[s] = true
		} else {
			clear(a.last)
			for _, s := range Streams {
				a.forgotten[s] = true
			}
		}
	case *metadatav1.SubscribeResponse_Snapshot:
		delete(a.last, f.Snapshot.GetStream())
	case *metadatav1.SubscribeResponse_Changes:
		if len(f.Changes.GetChanges()) == 0 {
			a.t.Fatal("no changes are handed on as changes")
		}
		for _, c := range f.Changes.GetChanges() {
			if s := f.Changes.GetStream(); slices.Contains(Streams[:], s) && c.GetRevision() <= a.last[s] {
				a.t.Fatalf("change %d of %v is handed on behind change %d", c.GetRevision(), s, a.last[s])
			}
			a.last[f.Changes.GetStream()] = c.GetRevision()
		}
	case *metadatav1.SubscribeResponse_Bookmark:
		for _, s := range Streams {
			if said := RevisionOf(f.Bookmark.GetPosition(), s); said < a.last[s] {
				a.t.Fatalf("a bookmark of %v says %d behind change %d", s, said, a.last[s])
			}
		}
	}
	a.show(f)
}

// show has the mirror take a frame.
func (a *audience) show(f frames.Frame) {
	if a.broken {
		return
	}
	schema, topology := a.mirror.Schema(), a.mirror.Topology()
	raw, unsendable := proto.Marshal(f)
	changed, err := a.mirror.Step(f)
	if unsendable == nil {
		a.showTwin(raw, err)
	} else {
		a.twin = nil
	}
	if err != nil {
		a.broken = true // and nobody looks at it any more
		return
	}
	now := a.mirror.Position()
	if !changed && (a.mirror.Schema() != schema || a.mirror.Topology() != topology || !proto.Equal(now, a.shown)) {
		a.t.Fatalf("something else is shown, at %v instead of %v, and it does not say so", now, a.shown)
	}
	if a.shown != nil {
		a.compare(now)
	}
	if a.mirror.Current() {
		clear(a.forgotten)
	}
	if now != nil && (a.mirror.Schema() == nil || a.mirror.Topology() == nil) {
		a.t.Fatalf("it shows nothing at %v", now)
	}
	a.shown = proto.CloneOf(now)
}

// compare holds what is shown now against what was shown before.
func (a *audience) compare(now *metadatav1.Position) {
	if now.GetClusterId() != a.shown.GetClusterId() {
		for _, s := range Streams {
			if !a.forgotten[s] {
				a.t.Fatalf("it goes from %v to %v, another cluster, and %v was not reset", a.shown, now, s)
			}
		}
		return
	}
	if now.GetRecoveryEpoch() < a.shown.GetRecoveryEpoch() {
		a.t.Fatalf("it goes from %v back to %v", a.shown, now)
	}
	for _, s := range Streams {
		if now.GetRecoveryEpoch() == a.shown.GetRecoveryEpoch() && RevisionOf(now, s) < RevisionOf(a.shown, s) {
			a.t.Fatalf("it goes from %v back to %v", a.shown, now)
		}
	}
}

// showTwin has the twin take a frame, which must come to the same. It is stricter about
// fields that this build does not know.
func (a *audience) showTwin(raw []byte, wanted error) {
	if a.twin == nil {
		return
	}
	f, err := ParseFrame(raw)
	if err == nil {
		_, err = a.twin.StepFrame(f)
	}
	if _, unknown := errors.AsType[*events.UnsupportedError](err); err != nil && wanted == nil && !unknown {
		a.t.Fatalf("a frame that is folded is refused in its encoding: %v", err)
	}
	if err == nil && wanted != nil {
		a.t.Fatalf("a frame that is refused (%v) is folded in its encoding", wanted)
	}
	if err == nil && !proto.Equal(a.twin.Position(), a.mirror.Position()) {
		a.t.Fatalf("the encoding leads to %v, the message to %v", a.twin.Position(), a.mirror.Position())
	}
	if err != nil {
		a.twin = nil
	}
}

// Whatever bytes come as frames, nothing panics, no change is handed on twice or out
// of order, and what is shown never goes back.
func FuzzFrames(f *testing.F) {
	start := []frames.Frame{frames.Tables(3), frames.Nodes(1), frames.Bookmark(frames.At(1, 3, 1))}
	f.Add(encode(append(start, frames.Created(4, 6), frames.Registered(2), frames.Bookmark(frames.At(1, 6, 2)))...))
	f.Add(encode(append(start, nil, frames.Created(3, 5), frames.Reset(0, "FOREIGN_POSITION"),
		frames.Tables(2), frames.Nodes(1), frames.Bookmark(frames.At(2, 2, 1)))...))
	f.Add(encode(append(start, frames.Reset(metadatav1.Stream_STREAM_SCHEMA, ""), frames.Tables(2), frames.Created(3, 9))...))
	elsewhere := frames.At(2, 2, 1)
	elsewhere.ClusterId = "another"
	f.Add(encode(append(start, frames.Reset(0, "FOREIGN_POSITION"), frames.Tables(2), frames.Nodes(1), frames.Bookmark(elsewhere))...))
	f.Fuzz(func(t *testing.T, input []byte) {
		input = input[:min(len(input), maxFuzzInput)]
		a := newAudience(t)
		for _, frame := range decode(t, input) {
			if frame == nil {
				a.interrupt(io.ErrUnexpectedEOF)
			} else {
				a.see(frame)
			}
		}
	})
}

// A service that sends well-formed frames in any order: each five bytes of the input
// choose one. This reaches what random bytes do not.
func FuzzOrderOfFrames(f *testing.F) {
	f.Add([]byte("\x00\x03\x00\x00\x00\x01\x01\x00\x00\x00\x04\x01\x03\x01\x00\x02\x04\x06\x00\x00\x03\x02\x00\x00\x00"))
	f.Add([]byte("\x00\x03\x00\x00\x00\x01\x01\x00\x00\x00\x04\x02\x03\x01\x00\x05\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01\x01\x00\x00\x00\x04\x01\x02\x01\x00"))
	f.Fuzz(func(t *testing.T, input []byte) {
		inOrder(t, input[:min(len(input), maxFuzzOrder)])
	})
}

// The same, drawn at random: mostly what a good service would send.
func TestAnyOrderOfFrames(t *testing.T) {
	good := []byte("\x00\x03\x00\x00\x00\x01\x01\x00\x00\x00\x04\x01\x03\x01\x00\x02\x03\x06\x00\x00\x03\x01\x00\x00\x00")
	random := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		input := slices.Clone(good)
		for range 5 * random.IntN(12) {
			input = append(input, byte(random.Uint32()))
		}
		if random.IntN(3) == 0 {
			input[random.IntN(len(input))] = byte(random.Uint32())
		}
		inOrder(t, input)
	}
}

func inOrder(t *testing.T, input []byte) {
	a := newAudience(t)
	if len(input) > 0 && input[0] >= 128 {
		a.resumption.PreferSnapshots()
	}
	for ; len(input) >= 5; input = input[5:] {
		x, y, z := uint64(input[1]%8), uint64(input[2]%12), uint64(input[3]%12)
		switch input[0] % 9 {
		case 0:
			a.see(frames.Tables(x))
		case 1:
			a.see(frames.Nodes(x))
		case 2:
			a.see(frames.Created(x+1, min(y, x+5)))
		case 3:
			a.see(frames.Registered(x + 1))
		case 4:
			a.see(frames.Bookmark(frames.At(x, y, z)))
		case 5:
			a.see(frames.Reset(metadatav1.Stream(x%4), ""))
		case 6:
			a.interrupt(io.ErrUnexpectedEOF)
		case 7:
			a.interrupt(failed(metadatav1.ErrorReason(binary.BigEndian.Uint16(input[3:]) % 64)))
		case 8: // a snapshot that is not complete
			half := frames.Tables(x)
			half.GetSnapshot().Last = false
			a.see(half)
		}
	}
}

// A service that is not trusted costs bounded memory.
func TestSeenStreamsAreBounded(t *testing.T) {
	r := NewResumption(snapshotRequest(), 1, JudgeFailure)
	for s := metadatav1.Stream(1000); s > 2; s-- {
		f := frames.Created(1, 1)
		f.GetChanges().Stream = s
		r.See(f)
		r.See(frames.Chunk(&metadatav1.SnapshotChunk{Stream: -s, Last: true}))
	}
	if len(r.seen) > maxStreams+len(Streams) {
		t.Fatalf("%d streams are remembered", len(r.seen))
	}
	r.See(frames.Created(7, 9))
	if r.seen[metadatav1.Stream_STREAM_SCHEMA] != 9 {
		t.Fatal("strange streams make it forget a known one")
	}
	if _, again := r.Broke(errors.New("broken")); !again {
		t.Fatal("it does not resume")
	}
}
