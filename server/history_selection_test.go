package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// at appends a change to the schema of a fake that was decided at a time, by an actor, and
// creates tables in public.
func (w *world) at(second int64, actor string, tables ...string) {
	w.t.Helper()
	f := w.member
	f.mu.Lock()
	defer f.mu.Unlock()
	state := f.schema.Load()
	var all []events.Event
	for i, name := range tables {
		all = append(all, events.New(&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
			Table: &metadatav1.TableSchema{TableId: state.Head.Revision*10_000 + uint64(i) + 1, NamespaceId: 1, Namespace: "public", Name: name},
		}}}))
	}
	c := events.Seal(events.Header{Revision: state.Head.Revision + 1, Time: time.Unix(second, 0), Actor: actor}, all)
	f.schema.Store(state.Fold(c))
	f.logs[0].Append([]*events.Change{c})
}

// timed starts a server whose member has changes at the seconds 10, 20, 20 and 30.
func timed(t *testing.T) *world {
	t.Helper()
	w := start(t, Options{})
	w.at(10, "ann", "a")
	w.at(20, "bob", "b1", "b2")
	w.at(20, "ann", "c")
	w.at(30, "bob", "d")
	return w
}

// describeChanges is revisions, each with ~ if it is partial.
func describeChanges(changes []*metadatav1.Change) string {
	var all []string
	for _, c := range changes {
		text := fmt.Sprint(c.GetRevision())
		if c.GetPartial() {
			text += "~"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// Pages and streams of a selection have the same changes.
func TestSelections(t *testing.T) {
	w := timed(t)
	moment := func(second int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: second} }
	for want, c := range map[string]*metadatav1.ChangeSelection{
		"1 2 3 4": {},
		"2 3 4":   {Since: moment(20)},
		"4":       {Since: moment(21)},
		"1":       {Until: moment(20)},
		"1 2 3":   {Until: moment(21)},
		"2 3":     {Since: moment(11), Until: moment(30)},
		"":        {Since: moment(31)},
		"1 3":     {Actor: "ann"},
		"3":       {Actor: "ann", Since: moment(20)},
		"2~":      {Filter: &metadatav1.Filter{Tables: []string{"b2"}}},
		"2 4":     {Filter: &metadatav1.Filter{Tables: []string{"b1", "b2", "d"}}},
		"3 4":     {FirstRevision: 3},
		"2 3 ":    {FirstRevision: 2, LastRevision: 3},
	} {
		c.Stream = schemaStream
		for protocol, client := range historians(w) {
			answer := must(client.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{Selection: c}))(t)
			if got := describeChanges(answer.GetChanges()); got != strings.TrimSpace(want) {
				t.Errorf("%s: a page of %v is %q, want %q", protocol, c, got, want)
			}
			all, err := collect(client.StreamChanges(t.Context(), &metadatav1.StreamChangesRequest{Selection: c}))
			if err != nil {
				t.Fatal(err)
			}
			var streamed []*metadatav1.Change
			for _, m := range all {
				streamed = append(streamed, m.GetChanges()...)
			}
			if got := describeChanges(streamed); got != strings.TrimSpace(want) {
				t.Errorf("%s: a stream of %v is %q, want %q", protocol, c, got, want)
			}
		}
	}
}

// A time names the last change that was decided then or before.
func TestPointsInTime(t *testing.T) {
	w := timed(t)
	client := historians(w)["grpc"]
	for second, want := range map[int64]uint64{9: 0, 10: 1, 19: 1, 20: 3, 29: 3, 30: 4, 99: 4} {
		answer := must(client.ListTablesAsOf(t.Context(), &metadatav1.ListTablesAsOfRequest{At: atTime(time.Unix(second, 0))}))(t)
		if answer.GetRevision() != want {
			t.Errorf("at %d s the revision is %d, want %d", second, answer.GetRevision(), want)
		}
	}
}

// All pages are of one revision, whatever happens meanwhile.
func TestPagesOfThePastStayAtTheirRevision(t *testing.T) {
	w := timed(t)
	for protocol, client := range historians(w) {
		before := w.member.schema.Load()
		r := &metadatav1.ListTablesAsOfRequest{PageSize: 2}
		n := 0
		for {
			answer := must(client.ListTablesAsOf(t.Context(), r))(t)
			if n += len(answer.GetTables()); answer.GetRevision() != before.Head.Revision {
				t.Errorf("%s: a page is of revision %d", protocol, answer.GetRevision())
			}
			if r.PageToken = answer.GetNextPageToken(); r.PageToken == "" {
				break
			}
			w.at(40, "ann", fmt.Sprintf("%s_%d", protocol, n))
		}
		if n != before.Model.TableCount() {
			t.Errorf("%s: %d tables, want %d", protocol, n, before.Model.TableCount())
		}
	}
}

// A page ends when enough was looked at, however little of it matches, and the next one goes on
// there.
func TestPagesLookAtSoMuch(t *testing.T) {
	w := start(t, Options{})
	w.at(1, "ann", "first")
	for i := range maxLookedAt + 10 {
		w.at(2, "bob", fmt.Sprint("t", i))
	}
	w.at(3, "ann", "last")
	client := historians(w)["grpc"]
	for _, newestFirst := range []bool{false, true} {
		r := &metadatav1.ReadChangesRequest{
			Selection: &metadatav1.ChangeSelection{Stream: schemaStream, Actor: "ann"}, NewestFirst: newestFirst,
		}
		first := must(client.ReadChanges(t.Context(), r))(t)
		r.PageToken = first.GetNextPageToken()
		second := must(client.ReadChanges(t.Context(), r))(t)
		if len(first.GetChanges()) != 1 || len(second.GetChanges()) != 1 || second.GetNextPageToken() != "" ||
			first.GetChanges()[0].GetRevision() == second.GetChanges()[0].GetRevision() {
			t.Errorf("newest first %v: the pages have %d and %d changes", newestFirst, len(first.GetChanges()), len(second.GetChanges()))
		}
	}
}

// Where what is left says nothing of a table, the model does.
func TestATableFromBeforeWhatIsLeft(t *testing.T) {
	w := timed(t)
	ctx := context.Background()
	state, err := w.member.SchemaAt(ctx, 3) // it is among the recent ones from now on
	if err != nil {
		t.Fatal(err)
	}
	w.trim(3)
	for protocol, client := range historians(w) {
		answer := must(client.GetTableAsOf(t.Context(), &metadatav1.GetTableAsOfRequest{Table: tableNamed("a"), At: atRevision(3)}))(t)
		if answer.GetTable().GetName() != "a" || answer.GetRevision() != state.Head.Revision {
			t.Errorf("%s: a is %v", protocol, answer)
		}
	}
}

func TestMetricsOfConsumers(t *testing.T) {
	w := lived(t)
	client := historians(w)["grpc"].consumers
	must(client.CreateConsumer(t.Context(), &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{
		Name: "cdc", Position: &metadatav1.Position{SchemaRevision: 1}, Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
	}}))(t)
	head := &metadatav1.SignedHead{
		Stream: schemaStream, Revision: 2, Digest: make([]byte, 32), Time: timestamppb.Now(), KeyId: make([]byte, 8), Signature: make([]byte, 64),
	}
	must(w.member.Write(t.Context(), &metadatav1.SignHead{Head: head}, "test"))(t)
	_, text := w.get("/metrics")
	for _, want := range []string{
		`heliosmeta_consumer_lag_changes{consumer="cdc",stream="schema"} 3`, `heliosmeta_signed_revision{stream="schema"} 2`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(text, `consumer="cdc",stream="topology"`) {
		t.Error("there is a lag of a stream that the consumer does not read")
	}
	status := must(metadatav1connect.NewClusterServiceClient(w.http2(), w.url).Status(t.Context(), &metadatav1.StatusRequest{}))(t)
	if cs := status.GetConsumers(); len(cs) != 1 || cs[0].GetName() != "cdc" || cs[0].GetLag().GetSchemaChanges() != 3 || !cs[0].GetAcknowledgedTime().IsValid() {
		t.Errorf("the consumers of the status are %v", cs)
	}
}

// Changes that are large come one by one where the newest comes first, and none is left out.
func TestLargeChangesNewestFirst(t *testing.T) {
	w := start(t, Options{})
	for i := range 9 {
		var names []string
		for j := range 6000 {
			names = append(names, fmt.Sprintf("%c%0100d", 'a'+i, j))
		}
		w.at(int64(i), "ann", names...)
	}
	client := historians(w)["grpc"]
	r := &metadatav1.ReadChangesRequest{Selection: ofSchema(), NewestFirst: true}
	var got []*metadatav1.Change
	for pages := 0; ; pages++ {
		answer := must(client.ReadChanges(t.Context(), r))(t)
		got = append(got, answer.GetChanges()...)
		if r.PageToken = answer.GetNextPageToken(); r.PageToken == "" {
			if pages < 4 {
				t.Errorf("all came in %d pages", pages+1)
			}
			break
		}
	}
	if text := describeChanges(got); text != "9 8 7 6 5 4 3 2 1" {
		t.Errorf("got %s", text)
	}
}
