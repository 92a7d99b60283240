package commands_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// TestRandomCommandsKeepTheLaws carries out random commands and checks all
// models after each; that a model which comes with a decision is the folded one; that
// a retry of any of them gets the answer that the first attempt got; and that no id
// comes back.
func TestRandomCommandsKeepTheLaws(t *testing.T) {
	for _, stream := range allStreams {
		t.Run(stream.String(), rapid.MakeCheck(func(t *rapid.T) { carryOutRandom(t, stream) }))
	}
}

func carryOutRandom(t *rapid.T, stream metadatav1.Stream) {
	w := inhabited(t)
	given := make(map[string]bool)
	for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
		w.now = w.now.Add(time.Duration(rapid.Int64Range(-5, 5).Draw(t, "clock")) * time.Second)
		cmd := streamCommandGen(stream, true).Draw(t, "command")
		env := commands.Env{Now: w.now, Actor: "rapid", RequestID: fmt.Sprintf("r%d", i), Newest: newest(t)}
		d, err := w.try(t, env, cmd)
		if err != nil || d.Change == nil {
			continue
		}
		before := *w
		w.fold(d.Change)
		w.check(t)
		checkTaken(t, before.schema, w.schema, d)
		checkTaken(t, before.topology, w.topology, d)
		if _, batch := cmd.(*metadatav1.ApplyBatchRequest); batch && d.Model == nil {
			t.Fatal("the model after a batch was thrown away")
		}
		checkIDsAreNew(t, d.Change, given)
		checkRetry(t, w, env, cmd, d)
	}
}

// checkTaken takes the model over that a decision came with, if it is of that stream.
func checkTaken[D projections.Domain[D]](t *rapid.T, before, folded *projections.State[D], d commands.Decision) {
	model, ok := d.Model.(projections.ModelDraft[D])
	if !ok {
		return
	}
	draft := before.Draft()
	draft.Take(d.Change, model)
	if taken := draft.Freeze(); taken.Hash() != folded.Hash() {
		t.Fatalf("change %d: the model that the decision came with is not the one that folding makes", d.Change.Revision())
	}
}

// checkRetry sends a command again that took effect a moment ago.
func checkRetry(t *rapid.T, w *world, env commands.Env, cmd proto.Message, first commands.Decision) {
	env.Now = env.Now.Add(time.Hour) // a retry comes later, and perhaps from elsewhere
	env.Actor = "somebody else"
	env.Newest = &metadatav1.Position{SchemaRevision: 1_000_000}
	again, err := w.try(t, env, cmd)
	if err != nil || again.Change != nil || !again.Deduplicated {
		t.Fatalf("the retry of %T was not recognised: %v, %v", cmd, again, err)
	}
	resultOf(again.Reply).Deduplicated = false
	if !proto.Equal(first.Reply, again.Reply) {
		t.Fatalf("%T was answered\n%v\nand its retry\n%v", cmd, first.Reply, again.Reply)
	}
}

// checkIDsAreNew fails if a created object has an id that any had before.
func checkIDsAreNew(t *rapid.T, c *events.Change, given map[string]bool) {
	for _, e := range c.Events() {
		var ids []string
		switch k := e.Message().Kind.(type) {
		case *metadatav1.Event_NamespaceCreated:
			ids = append(ids, fmt.Sprintf("namespace %d", k.NamespaceCreated.Namespace.NamespaceId))
		case *metadatav1.Event_TableCreated:
			ids = append(ids, fmt.Sprintf("table %d", k.TableCreated.Table.TableId))
		case *metadatav1.Event_NodeRegistered:
			ids = append(ids, fmt.Sprintf("node epoch %d", k.NodeRegistered.Node.Epoch))
		case *metadatav1.Event_ShardCreated:
			ids = append(ids, fmt.Sprintf("shard %d", k.ShardCreated.Shard.ShardId))
		case *metadatav1.Event_ShardsMerged:
			ids = append(ids, fmt.Sprintf("shard %d", k.ShardsMerged.Shard.ShardId))
		case *metadatav1.Event_ShardSplit:
			for _, s := range k.ShardSplit.Children {
				ids = append(ids, fmt.Sprintf("shard %d", s.ShardId))
			}
		}
		for _, id := range ids {
			if given[id] {
				t.Fatalf("%s was given twice", id)
			}
			given[id] = true
		}
	}
}

// TestBatchEqualsItsCommands carries out commands one by one, and those that
// were not rejected as one batch in another world: both end up the same.
func TestBatchEqualsItsCommands(t *testing.T) {
	for _, stream := range []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY} {
		t.Run(stream.String(), rapid.MakeCheck(func(t *rapid.T) {
			single, batched := inhabited(t), inhabited(t)
			batch := new(metadatav1.ApplyBatchRequest)
			for range rapid.IntRange(1, 20).Draw(t, "commands") {
				cmd := streamCommandGen(stream, false).Draw(t, "command")
				d, err := single.try(t, commands.Env{Now: start}, cmd)
				if err == nil {
					single.fold(d.Change)
					batch.Commands = append(batch.Commands, wrap(cmd))
				}
			}
			if len(batch.Commands) == 0 {
				return
			}
			d, err := batched.try(t, commands.Env{Now: start}, batch)
			if err != nil {
				t.Fatalf("each command works, the batch does not: %v", err)
			}
			batched.fold(d.Change)
			batched.check(t)
			if got, want := batched.effect(), single.effect(); !slices.Equal(got, want) {
				t.Fatalf("the batch made\n%v\nand its commands\n%v", got, want)
			}
			if results := d.Reply.(*metadatav1.ApplyBatchResponse).Results; len(results) != len(batch.Commands) {
				t.Fatalf("%d results for %d commands", len(results), len(batch.Commands))
			}
		}))
	}
}

// effect lists all objects without their revisions, which tell batches apart.
func (w *world) effect() []string {
	var all []string
	add := func(m proto.Message) {
		fields := m.ProtoReflect().Descriptor().Fields()
		for _, name := range []string{"created_revision", "updated_revision", "registered_revision"} {
			if f := fields.ByTextName(name); f != nil {
				m.ProtoReflect().Clear(f)
			}
		}
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			panic(err)
		}
		all = append(all, fmt.Sprintf("%T %x", m, encoded))
	}
	for n := range w.schema.Model.Namespaces("") {
		add(n.Message())
	}
	for table := range w.schema.Model.TablesByID(0) {
		add(table.Message())
	}
	for n := range w.topology.Model.Nodes("") {
		add(n.Message())
	}
	for s := range w.topology.Model.Shards(nil) {
		add(s.Message())
	}
	return all
}

// TestDryRunTellsWhatTheWriteDoes compares the events of a dry run with those of
// the write behind it.
func TestDryRunTellsWhatTheWriteDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := inhabited(t)
		for range rapid.IntRange(1, 15).Draw(t, "commands") {
			cmd := commandGen(false).Draw(t, "command")
			dry := proto.Clone(cmd)
			setDryRun(dry)
			told, errTold := w.try(t, commands.Env{Now: w.now}, dry)
			done, err := w.try(t, commands.Env{Now: w.now}, cmd)
			if (err == nil) != (errTold == nil) || err != nil && err.Error() != errTold.Error() {
				t.Fatalf("the dry run says %v, the write %v", errTold, err)
			}
			if told.Change != nil {
				t.Fatal("a dry run wants to propose something")
			}
			if err != nil {
				continue
			}
			var want []*metadatav1.Event
			if done.Change != nil {
				want = done.Change.Message().Events
			}
			got := resultOf(told.Reply)
			if !slices.EqualFunc(got.Events, want, func(a, b *metadatav1.Event) bool { return proto.Equal(a, b) }) {
				t.Fatalf("the dry run says\n%v\nthe write does\n%v", got.Events, want)
			}
			if got.Changed != resultOf(done.Reply).Changed {
				t.Fatal("dry run and write differ in whether anything changes")
			}
			w.fold(done.Change)
		}
	})
}

// TestEqualModelsDecideAlike decides on a model that was folded and on one that
// went through a checkpoint: the same bytes come out.
func TestEqualModelsDecideAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := inhabited(t)
		for range rapid.IntRange(1, 15).Draw(t, "commands") {
			env := commands.Env{Now: w.now, Actor: "a", RequestID: rapid.StringMatching("[ab]{3}").Draw(t, "request"), Newest: newest(t)}
			cmd := commandGen(true).Draw(t, "command")
			d, err := w.try(t, env, cmd)
			other := w.throughCheckpoint(t)
			again, errAgain := other.try(t, env, proto.Clone(cmd))
			if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
				t.Fatalf("decided %v, and after a checkpoint %v", err, errAgain)
			}
			if err != nil {
				continue
			}
			if !proto.Equal(d.Reply, again.Reply) || d.Change != nil && !bytes.Equal(d.Change.Raw(), again.Change.Raw()) {
				t.Fatalf("%T is decided differently after a checkpoint", cmd)
			}
			w.fold(d.Change)
		}
	})
}

// throughCheckpoint returns the world as a member restores it.
func (w *world) throughCheckpoint(t *rapid.T) *world {
	other := newWorld()
	other.schema = reimport(t, w.schema, other.schema)
	other.topology = reimport(t, w.topology, other.topology)
	other.service = reimport(t, w.service, other.service)
	return other
}

func reimport[D projections.Domain[D]](t *rapid.T, s, blank *projections.State[D]) *projections.State[D] {
	var records [][]byte
	err := s.Export(func(record []byte) error {
		records = append(records, bytes.Clone(record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	again, err := blank.Import(func(yield func([]byte, error) bool) {
		for _, record := range records {
			if !yield(record, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestKnownRevisionOfTheFuture has a client that claims to have seen more than there
// is. Believed, it would never be told that its id was forgotten.
func TestKnownRevisionOfTheFuture(t *testing.T) {
	w := newWorld()
	w.fold(events.Seal(events.Header{Revision: 1, Time: start}, []events.Event{events.New(namespaceCreated(7))}))
	create := &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "first"}}
	for _, known := range []uint64{w.schema.Head.Revision + 1, math.MaxUint64} {
		_, err := w.try(t, commands.Env{Now: start, RequestID: "first", KnownRevision: known}, create)
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION) || !strings.Contains(err.Error(), fmt.Sprint(known)) {
			t.Errorf("known revision %d at revision %d: %v", known, w.schema.Head.Revision, err)
		}
	}
	now := commands.Env{Now: start, RequestID: "first", KnownRevision: w.schema.Head.Revision}
	d, err := w.try(t, now, create)
	if err != nil {
		t.Fatalf("the revision of now: %v", err)
	}
	w.fold(d.Change)
	// What took effect is known by its id, whatever else the retry says.
	now.KnownRevision = w.schema.Head.Revision + 1
	if d, err := w.try(t, now, create); err != nil || !d.Deduplicated {
		t.Errorf("a retry of what took effect: %v, %v", d, err)
	}
}

// TestForgottenRequestIsNotCarriedOutAgain fills the window of request ids until
// the first one falls out.
func TestForgottenRequestIsNotCarriedOutAgain(t *testing.T) {
	w := newWorld()
	create := &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "first"}}
	first := commands.Env{Now: start, RequestID: "first"}
	d, err := w.try(t, first, create)
	if err != nil {
		t.Fatal(err)
	}
	w.fold(d.Change)
	var flood []*events.Change
	for i := range projections.MaxRequests {
		flood = append(flood, events.Seal(events.Header{
			Revision: uint64(2 + i), Time: start, RequestID: fmt.Sprintf("flood-%d", i),
		}, []events.Event{events.New(namespaceCreated(uint64(9 + i)))}))
	}
	w.schema = w.schema.FoldAll(flood)

	// The window begins right behind what this client knew: nothing that it sent can have been forgotten.
	first.KnownRevision = w.schema.Requests.Forgotten()
	if _, err := w.try(t, first, create); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS) {
		t.Errorf("known revision %d still reaches into the window, got %v", first.KnownRevision, err)
	}
	w.schema = w.schema.Fold(events.Seal(events.Header{Revision: w.schema.Head.Revision + 1, Time: start, RequestID: "one more"},
		[]events.Event{events.New(namespaceCreated(1_000_000))}))
	if _, err := w.try(t, first, create); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE) {
		t.Errorf("the request was forgotten, got %v", err)
	}
}

func namespaceCreated(id uint64) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
		Namespace: &metadatav1.Namespace{NamespaceId: id, Name: fmt.Sprintf("n%d", id), Version: 1},
	}}}
}

// TestReplyIsTheAnswer holds the exported Reply against what decisions answer.
func TestReplyIsTheAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := inhabited(t)
		for range rapid.IntRange(1, 15).Draw(t, "commands") {
			cmd := commandGen(true).Draw(t, "command")
			d, err := w.try(t, commands.Env{Now: w.now}, cmd)
			if err != nil || d.Change == nil {
				continue
			}
			w.fold(d.Change)
			logged, err := events.DecodeChange(bytes.Clone(d.Change.Raw()))
			if err != nil {
				t.Fatal(err)
			}
			got, want := commands.Reply(logged, cmd), proto.Clone(d.Reply)
			resultOf(want).Position = nil
			switch r := want.(type) {
			case *metadatav1.UpdateShardMapResponse:
				r.Holes = nil
			case *metadatav1.DrainNodeResponse:
				r.ShardIds = nil
			}
			if !proto.Equal(got, want) {
				t.Fatalf("Reply says\n%v\nthe decision\n%v", got, want)
			}
		}
	})
}
