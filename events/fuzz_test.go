package events

import (
	"bytes"
	"errors"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// FuzzDecodeChange takes any bytes for a logged change. What decodes says the same
// on every way that a reader may take to it.
func FuzzDecodeChange(f *testing.F) {
	for _, s := range streams {
		f.Add(sampleChange(s).Raw())
	}
	for i, m := range samples() {
		f.Add(Seal(Header{Revision: uint64(i + 1), Time: noon}, []Event{New(m)}).Raw())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := DecodeChange(raw)
		if err != nil {
			wantTyped(t, err)
			return
		}
		checkChange(t, c)
	})
}

// FuzzEvent hands any event to the steps between feature levels, as a member meets
// those that an older one logged.
func FuzzEvent(f *testing.F) {
	for _, m := range samples() {
		f.Add(uint32(FeatureLevel), New(m).Raw())
	}
	f.Fuzz(func(t *testing.T, level uint32, raw []byte) {
		var m metadatav1.Event
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		before := proto.CloneOf(&m)
		after := Upcast(level, &m)
		if !proto.Equal(before, &m) {
			t.Fatal("the old event was changed")
		}
		if (StreamOf(after) == metadatav1.Stream_STREAM_UNSPECIFIED) != (StreamOf(before) == metadatav1.Stream_STREAM_UNSPECIFIED) {
			t.Fatalf("an event of %v became one of %v", StreamOf(before), StreamOf(after))
		}
		Subjects(after)
	})
}

func wantTyped(t *testing.T, err error) {
	t.Helper()
	_, corrupt := errors.AsType[*CorruptError](err)
	_, unsupported := errors.AsType[*UnsupportedError](err)
	if !corrupt && !unsupported {
		t.Fatalf("untyped error %v", err)
	}
}

// checkChange uses a decoded change as readers do.
func checkChange(t *testing.T, c *Change) {
	t.Helper()
	for _, e := range c.Events() {
		Subjects(e.Message())
		if e.Objects() == 0 || KindOf(e.Message()) != e.Kind() {
			t.Fatalf("%x: an event of kind %v with %d objects", c.Raw(), e.Kind(), e.Objects())
		}
	}
	// As protobuf reads it.
	var whole metadatav1.Change
	if err := proto.Unmarshal(c.Raw(), &whole); err != nil {
		t.Fatalf("%x is none to protobuf: %v", c.Raw(), err)
	}
	if whole.GetRevision() != c.Revision() || !whole.GetTime().AsTime().Equal(c.Time()) || whole.GetActor() != c.Actor() ||
		whole.GetRequestId() != c.RequestID() || !bytes.Equal(whole.GetCommandHash(), c.CommandHash()) || whole.GetFeatureLevel() != c.FeatureLevel() {
		t.Fatalf("%x has the header %+v, to protobuf it is %v", c.Raw(), c.header, &whole)
	}
	// As a subscriber gets it.
	wire, err := proto.Marshal(c.Message())
	if err != nil {
		t.Fatalf("%x cannot be sent: %v", c.Raw(), err)
	}
	var received metadatav1.Change
	if err := proto.Unmarshal(wire, &received); err != nil {
		t.Fatalf("%x cannot be received: %v", c.Raw(), err)
	}
	again, err := FromMessage(&received)
	if err != nil {
		t.Fatalf("%x is refused by a subscriber: %v", c.Raw(), err)
	}
	if again.Revision() != c.Revision() || again.Stream() != c.Stream() || len(again.Events()) != len(c.Events()) {
		t.Fatalf("%x arrives as change %d of %v with %d events", c.Raw(), again.Revision(), again.Stream(), len(again.Events()))
	}
}
