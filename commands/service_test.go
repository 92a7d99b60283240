package commands_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var allStreams = []metadatav1.Stream{
	metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE,
}

func onlySchema() *metadatav1.Filter {
	return &metadatav1.Filter{Streams: []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA}}
}

// signed is a signed head; whether the signature is one is not looked at.
func signed(s metadatav1.Stream, revision uint64) *metadatav1.SignHead {
	return &metadatav1.SignHead{Head: &metadatav1.SignedHead{
		Stream: s, Revision: revision, Digest: make([]byte, 32), Time: timestamppb.New(start), KeyId: make([]byte, 8), Signature: make([]byte, 64),
	}}
}

func trimmed(s metadatav1.Stream, oldest uint64, pass bool) *metadatav1.TrimHistory {
	return &metadatav1.TrimHistory{PassConsumers: pass, Floor: &metadatav1.HistoryFloor{
		Stream: s, OldestRevision: oldest, PreviousDigest: make([]byte, 32), OldestTime: timestamppb.New(start),
	}}
}

// checkService holds the model against the laws: consumers are of a size that can be
// listed and stand where they read, epochs and positions of a consumer grow, and so do
// floors and signed revisions.
func (w *world) checkService(t tb) {
	t.Helper()
	m := w.service.Model
	now := make(map[string]*metadatav1.Consumer)
	for record := range m.Consumers("") {
		c := record.Message()
		now[c.Name] = c
		if len(record.Bytes()) > commands.MaxConsumerBytes || c.UpdatedRevision < c.CreatedRevision || c.UpdatedRevision > w.service.Head.Revision {
			t.Errorf("consumer %s has %d bytes, revisions %d to %d", c.Name, len(record.Bytes()), c.CreatedRevision, c.UpdatedRevision)
		}
		if c.Position.ClusterId != w.service.Head.Cluster.String() || c.Position.RecoveryEpoch != w.service.Head.RecoveryEpoch {
			t.Errorf("consumer %s stands at %v", c.Name, c.Position)
		}
		for _, s := range allStreams {
			if !record.Reads(s) && record.Revision(s) != 0 {
				t.Errorf("consumer %s stands at %d of %v, which it does not read", c.Name, record.Revision(s), s)
			}
		}
		before := w.consumers[c.Name]
		if before.GetCreatedRevision() == c.CreatedRevision && (before.GetEpoch() > c.Epoch ||
			before.GetPosition().GetSchemaRevision() > c.Position.SchemaRevision ||
			before.GetPosition().GetTopologyRevision() > c.Position.TopologyRevision) {
			t.Errorf("consumer %s went back from %v to %v", c.Name, before, c)
		}
	}
	w.consumers = now
	for _, s := range allStreams {
		var last uint64
		for h := range m.SignedHeads(s) {
			if h.Revision() <= last {
				t.Errorf("revision %d of %v is signed after revision %d", h.Revision(), s, last)
			}
			last = h.Revision()
		}
		if floor := m.Floor(s).OldestRevision(); floor < w.floors[s] {
			t.Errorf("the history of %v began at %d and begins at %d", s, w.floors[s], floor)
		}
		w.floors[s] = m.Floor(s).OldestRevision()
	}
}

func consumerName(t *rapid.T) string { return pick(t, "consumer", "c", "c", "c1", "c2", "c/3") }

func newest(t *rapid.T) *metadatav1.Position {
	return pick(t, "newest", nil, &metadatav1.Position{SchemaRevision: 4, TopologyRevision: 30})
}

func drawnPosition(t *rapid.T) *metadatav1.Position {
	p := &metadatav1.Position{
		SchemaRevision: rapid.Uint64Range(0, 9).Draw(t, "schema"), TopologyRevision: rapid.Uint64Range(0, 40).Draw(t, "topology"),
	}
	if rapid.Bool().Draw(t, "origin") {
		p.ClusterId = events.ClusterID{pick[byte](t, "cluster", 1, 1, 2)}.String()
		p.RecoveryEpoch = pick[uint64](t, "epoch", 0, 0, 1)
	}
	return p
}

func drawnFilter(t *rapid.T) *metadatav1.Filter {
	return pick(t, "filter", nil, onlySchema(),
		&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_NODE}, Nodes: []string{"n"}},
		&metadatav1.Filter{Streams: []metadatav1.Stream{metadatav1.Stream_STREAM_SERVICE}})
}

func serviceCommand(t *rapid.T, internal bool) proto.Message {
	kinds := []int{0, 0, 1, 2, 2, 2, 3}
	if internal {
		kinds = append(kinds, 4, 5, 5)
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case 0:
		c := &metadatav1.Consumer{Name: consumerName(t), Filter: drawnFilter(t), Description: pick(t, "text", "", "d"), Epoch: 7, Owner: "liar"}
		if rapid.Bool().Draw(t, "positioned") {
			c.Position = drawnPosition(t)
		}
		return &metadatav1.CreateConsumerRequest{Consumer: c}
	case 1:
		return &metadatav1.OpenConsumerRequest{Name: consumerName(t), Owner: pick(t, "owner", "", "o")}
	case 2:
		return &metadatav1.AcknowledgeConsumerRequest{Name: consumerName(t), Epoch: pick[uint64](t, "epoch", 3, 3, 3, 0, 5, 6, 7, 8), Position: drawnPosition(t)}
	case 4:
		return signed(pick(t, "stream", allStreams...), rapid.Uint64Range(0, 20).Draw(t, "revision"))
	case 5:
		return trimmed(pick(t, "stream", allStreams...), rapid.Uint64Range(0, 20).Draw(t, "oldest"), rapid.Bool().Draw(t, "pass"))
	}
	return &metadatav1.DeleteConsumerRequest{Name: consumerName(t)}
}

// parseServiceCommand reads the short form of a command of the service stream.
func parseServiceCommand(t *testing.T, d *datadriven.TestData) proto.Message {
	get := func(key string) string { return arg(d, key) }
	num := func(key string) uint64 { return number(t, d, get(key)) }
	var position *metadatav1.Position
	if d.HasArg("schema") || d.HasArg("topology") {
		position = &metadatav1.Position{
			ClusterId: get("cluster"), RecoveryEpoch: num("recovery"), SchemaRevision: num("schema"), TopologyRevision: num("topology"),
		}
	}
	stream := metadatav1.Stream(metadatav1.Stream_value["STREAM_"+get("stream")])
	switch d.Cmd {
	case "create-consumer":
		c := &metadatav1.Consumer{Name: get("name"), Description: get("description"), Position: position}
		for _, s := range strings.FieldsFunc(get("streams"), func(r rune) bool { return r == ',' }) {
			if c.Filter == nil {
				c.Filter = new(metadatav1.Filter)
			}
			c.Filter.Streams = append(c.Filter.Streams, metadatav1.Stream(metadatav1.Stream_value["STREAM_"+s]))
		}
		return &metadatav1.CreateConsumerRequest{Consumer: c, FromOldest: d.HasArg("from-oldest")}
	case "open":
		return &metadatav1.OpenConsumerRequest{Name: get("name"), Owner: get("owner")}
	case "acknowledge":
		return &metadatav1.AcknowledgeConsumerRequest{Name: get("name"), Epoch: num("epoch"), Position: position}
	case "sign":
		return signed(stream, num("revision"))
	case "trim":
		return trimmed(stream, num("oldest"), d.HasArg("pass"))
	}
	return &metadatav1.DeleteConsumerRequest{Name: get("name")}
}

func describeOfService(e *metadatav1.Event) string {
	switch k := e.Kind.(type) {
	case *metadatav1.Event_HeadSigned:
		return fmt.Sprintf("%v %d", k.HeadSigned.Head.Stream, k.HeadSigned.Head.Revision)
	case *metadatav1.Event_HistoryTrimmed:
		return fmt.Sprintf("%v from %d, passing %v", k.HistoryTrimmed.Floor.Stream, k.HistoryTrimmed.Floor.OldestRevision, k.HistoryTrimmed.PassedConsumers)
	}
	return describeConsumer(events.ConsumerOf(e))
}

func describeConsumer(c *metadatav1.Consumer) string {
	text := fmt.Sprintf("consumer %s epoch %d at schema %d topology %d since %s", c.GetName(), c.GetEpoch(),
		c.GetPosition().GetSchemaRevision(), c.GetPosition().GetTopologyRevision(), c.GetAcknowledgedTime().AsTime().Sub(start))
	if c.GetOwner() != "" {
		text += " owner " + c.GetOwner()
	}
	return text
}

func describeService(m *service.Model) string {
	var b strings.Builder
	for c := range m.Consumers("") {
		fmt.Fprintln(&b, describeConsumer(c.Message()))
	}
	for _, s := range allStreams {
		for h := range m.SignedHeads(s) {
			fmt.Fprintf(&b, "signed %v %d\n", s, h.Revision())
		}
		if floor := m.Floor(s).OldestRevision(); floor > 0 {
			fmt.Fprintf(&b, "history of %v from %d\n", s, floor)
		}
	}
	return b.String()
}

// TestConsumersAreBounded creates as many consumers as there may be, each as large as
// it may be, and uses them: none outgrows what can be listed.
func TestConsumersAreBounded(t *testing.T) {
	w := newWorld()
	create := func(name string, filter int) (commands.Decision, error) {
		return w.try(t, commands.Env{Now: start}, &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{
			Name: name, Description: strings.Repeat("d", commands.MaxDescriptionBytes),
			Filter: &metadatav1.Filter{Namespaces: []string{strings.Repeat("n", filter)}},
		}})
	}
	largest := 0
	for d, err := create("c0000", largest); err == nil; d, err = create("c0000", largest) {
		if largest++; d.Change == nil || largest > commands.MaxConsumerBytes {
			t.Fatalf("a filter of %d bytes is taken", largest)
		}
	}
	if _, err := create("c0000", largest); !failure.Is(err, limitReached) || !strings.Contains(err.Error(), "at most 2560 are allowed") {
		t.Fatalf("a filter of %d bytes: %v", largest, err)
	}
	if largest < 512 {
		t.Fatalf("only %d bytes are left for a filter", largest)
	}
	d, err := create("c0000", largest-1)
	if err != nil {
		t.Fatal(err)
	}
	w.fold(d.Change)
	for _, cmd := range []proto.Message{
		&metadatav1.OpenConsumerRequest{Name: "c0000", Owner: strings.Repeat("o", commands.MaxOwnerBytes)},
		&metadatav1.AcknowledgeConsumerRequest{Name: "c0000", Epoch: 2, Position: &metadatav1.Position{SchemaRevision: 1<<64 - 1, TopologyRevision: 1<<64 - 1}},
	} {
		if d, err = w.try(t, commands.Env{Now: start}, cmd); err != nil {
			t.Fatal(err)
		}
		w.fold(d.Change)
		w.checkService(t)
	}
	var evs []events.Event
	for i := range commands.MaxConsumers - 1 {
		evs = append(evs, events.New(&metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{
			Consumer: &metadatav1.Consumer{Name: fmt.Sprintf("d%d", i)},
		}}}))
	}
	w.service = w.service.Fold(events.Seal(events.Header{Revision: w.service.Head.Revision + 1, Time: start}, evs))
	if _, err := create("one more", 0); !failure.Is(err, invalidField) {
		t.Errorf("a name with a space: %v", err)
	}
	if _, err := create("one-more", 0); !failure.Is(err, limitReached) || failure.As(err).Metadata["limit"] != "MaxConsumers" {
		t.Errorf("consumer %d: %v", commands.MaxConsumers+1, err)
	}
}

// TestServiceCommandsAreChecked hands commands with one wrong field to the decision.
func TestServiceCommandsAreChecked(t *testing.T) {
	w := inhabited(t)
	head := func(change func(*metadatav1.SignedHead)) proto.Message {
		c := signed(metadatav1.Stream_STREAM_TOPOLOGY, 7)
		change(c.Head)
		return c
	}
	floor := func(change func(*metadatav1.HistoryFloor)) proto.Message {
		c := trimmed(metadatav1.Stream_STREAM_TOPOLOGY, 7, false)
		change(c.Floor)
		return c
	}
	consumer := func(c *metadatav1.Consumer) proto.Message { return &metadatav1.CreateConsumerRequest{Consumer: c} }
	filter := func(f *metadatav1.Filter) proto.Message { return consumer(&metadatav1.Consumer{Name: "x", Filter: f}) }
	kinds := func(k ...metadatav1.ObjectKind) []metadatav1.ObjectKind { return k }
	for _, c := range []struct {
		cmd proto.Message
		say string
	}{
		{consumer(nil), "consumer.name: the name is empty"},
		{consumer(&metadatav1.Consumer{Name: "a/b"}), `consumer.name: "a/b" contains more than`},
		{consumer(&metadatav1.Consumer{Name: strings.Repeat("a", 129)}), "consumer.name: the name has 129 bytes; at most 128"},
		{consumer(&metadatav1.Consumer{Name: "x", Description: strings.Repeat("d", 1025)}), "consumer.description: the text has 1025 bytes; at most 1024"},
		{filter(&metadatav1.Filter{Streams: []metadatav1.Stream{1, 3}}), "consumer.filter.streams[1]: STREAM_SERVICE cannot be consumed"},
		{filter(&metadatav1.Filter{Streams: []metadatav1.Stream{0}}), "consumer.filter.streams[0]: STREAM_UNSPECIFIED cannot"},
		{filter(&metadatav1.Filter{Kinds: kinds(1, 5)}), "consumer.filter.kinds[1]: OBJECT_KIND_CONSUMER cannot be consumed"},
		{filter(&metadatav1.Filter{Kinds: kinds(77)}), "consumer.filter.kinds[0]: 77 cannot be consumed"},
		{filter(&metadatav1.Filter{Streams: []metadatav1.Stream{1}, Kinds: kinds(4)}), "consumer.filter: its streams and kinds exclude each other"},
		{&metadatav1.OpenConsumerRequest{}, "name: the name is empty"},
		{&metadatav1.OpenConsumerRequest{Name: "c", Owner: strings.Repeat("o", 257)}, "owner: the text has 257 bytes; at most 256"},
		{&metadatav1.AcknowledgeConsumerRequest{Name: "c", Position: &metadatav1.Position{}}, "epoch: it is 0; send the epoch that OpenConsumer gave"},
		{&metadatav1.AcknowledgeConsumerRequest{Name: "c1", Position: &metadatav1.Position{}}, "epoch: it is 0"},
		{&metadatav1.AcknowledgeConsumerRequest{Name: "c", Epoch: 3}, "position: there is none"},
		{&metadatav1.DeleteConsumerRequest{}, "name: the name is empty"},
		{&metadatav1.SignHead{}, "head.stream: there is no stream 0"},
		{head(func(h *metadatav1.SignedHead) { h.Stream = 4 }), "head.stream: there is no stream 4"},
		{head(func(h *metadatav1.SignedHead) { h.Revision = 0 }), "head.revision: it is 0"},
		{head(func(h *metadatav1.SignedHead) { h.Digest = nil }), "head.digest: it has 0 bytes, not 32"},
		{head(func(h *metadatav1.SignedHead) { h.Time = nil }), "head.time: it is absent"},
		{head(func(h *metadatav1.SignedHead) { h.Time.Seconds = -1 }), "head.time: 1969-12-31 23:59:59"},
		{head(func(h *metadatav1.SignedHead) { h.Time.Seconds = 1 << 37 }), "lies outside of the years 1970 to 2261"},
		{head(func(h *metadatav1.SignedHead) { h.KeyId = make([]byte, 9) }), "head.key_id: it has 9 bytes, not 8"},
		{head(func(h *metadatav1.SignedHead) { h.Signature = make([]byte, 63) }), "head.signature: it has 63 bytes, not 64"},
		{&metadatav1.TrimHistory{}, "floor.stream: there is no stream 0"},
		{floor(func(f *metadatav1.HistoryFloor) { f.PreviousDigest = make([]byte, 33) }), "floor.previous_digest: it has 33 bytes, not 32"},
		{floor(func(f *metadatav1.HistoryFloor) { f.OldestTime.Nanos = -1 }), "floor.oldest_time: it is absent or lies outside"},
	} {
		if _, err := w.try(t, commands.Env{Now: start}, c.cmd); !failure.Is(err, invalidField) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("got  %v\nwant %s", err, c.say)
		}
	}
	for _, good := range []proto.Message{
		head(func(*metadatav1.SignedHead) {}), floor(func(*metadatav1.HistoryFloor) {}), filter(&metadatav1.Filter{Kinds: kinds(1, 2, 3, 4)}),
	} {
		if _, err := w.try(t, commands.Env{Now: start}, good); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
}

func TestUnknownFieldsOfServiceCommandsStayOutOfTheLog(t *testing.T) {
	w := newWorld()
	create := &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: "c", Filter: onlySchema(), Position: new(metadatav1.Position)}}
	sign, trim := signed(metadatav1.Stream_STREAM_SCHEMA, 3), trimmed(metadatav1.Stream_STREAM_SCHEMA, 3, true)
	for _, m := range []proto.Message{
		create.Consumer, create.Consumer.Filter, create.Consumer.Position, sign.Head, sign.Head.Time, trim.Floor, trim.Floor.OldestTime,
	} {
		m.ProtoReflect().SetUnknown(slices.Clone(smuggled))
	}
	for _, cmd := range []proto.Message{create, sign, trim} {
		d, err := w.try(t, commands.Env{Now: start}, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(d.Change.Raw(), smuggled) {
			t.Errorf("%T: fields that the contract does not know are logged", cmd)
		}
	}
}
