package member

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// requests has the request message of each method that has one.
var requests = map[uint8]func() proto.Message{
	methodCommand: func() proto.Message { return new(metadatav1.ForwardedCommand) },
	methodBeats:   func() proto.Message { return new(metadatav1.ForwardedBeats) },
	methodChunk:   func() proto.Message { return new(metadatav1.CheckpointChunkRequest) },
	methodStatus:  nil,
	methodHistory: func() proto.Message { return new(metadatav1.HistoryProbe) },
	methodOffer:   func() proto.Message { return new(metadatav1.RebuildOfferRequest) },
	methodEntries: func() proto.Message { return new(metadatav1.RebuildEntriesRequest) },
	methodGivenUp: func() proto.Message { return new(metadatav1.CheckpointGivenUp) },
	methodHashes:  nil,
	methodPart:    func() proto.Message { return new(metadatav1.HistoryPartRequest) },
	methodBase:    func() proto.Message { return new(metadatav1.HistoryBaseRequest) },

	methodBaseChunk: func() proto.Message { return new(metadatav1.CheckpointChunkRequest) },
	methodReports:   func() proto.Message { return new(metadatav1.NodeReportsRequest) },
}

// lastMethod is the one with the highest number.
const lastMethod = methodReports

// commandMessages are all commands that a member may be asked to carry out, and what
// it must not be asked.
func commandMessages() []proto.Message {
	return []proto.Message{
		new(metadatav1.CreateNamespaceRequest), new(metadatav1.DropNamespaceRequest), new(metadatav1.CreateTableRequest),
		new(metadatav1.AlterTableRequest), new(metadatav1.DropTableRequest), new(metadatav1.RegisterNodeRequest),
		new(metadatav1.UnregisterNodeRequest), new(metadatav1.DrainNodeRequest), new(metadatav1.UpdateShardMapRequest),
		new(metadatav1.ApplyBatchRequest), new(metadatav1.ExpireNodeLease), new(metadatav1.ReviveNode),
		new(metadatav1.Change), new(metadatav1.TableSchema),
	}
}

// target is a member that leads, to be called by a member that it cannot trust.
type target struct {
	c *cluster
	m *live
}

func newTarget(t testing.TB) *target {
	t.Helper()
	c := newCluster(t, 1, smallCheckpoints)
	c.start(1)
	for i := range 25 { // there is a checkpoint, and a log behind it
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.checkpoint(1, raftlog.GenesisIndex)
	return &target{c: c, m: c.up[1]}
}

// call makes one call, and looks whether the member is what it was.
func (x *target) call(t testing.TB, method uint8, payload []byte) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	before := bytes.Clone(payload)
	answer, err := peers{x.m.Member}.Call(ctx, 2, method, payload)
	request, known := requests[method]
	switch {
	case ctx.Err() != nil:
		t.Fatalf("method %d with %x was not answered: %v", method, payload, err)
	case !known && err == nil:
		t.Fatalf("unknown method %d was answered", method)
	case err == nil && request != nil && proto.Unmarshal(payload, request()) != nil:
		t.Fatalf("method %d was answered, but %x is no request", method, payload)
	case err != nil && strings.Contains(err.Error(), "failed: "):
		t.Fatalf("method %d with %x: %v", method, payload, err)
	case !bytes.Equal(before, payload):
		t.Fatalf("method %d changed %x to %x", method, before, payload)
	}
	r := x.m.running.Load()
	if r == nil || x.m.ctx.Err() != nil {
		t.Fatalf("method %d with %x ended the member: %v", method, payload, context.Cause(x.m.ctx))
	}
	if n := r.schema.status.Load().Panicked + r.topology.status.Load().Panicked; n != 0 {
		t.Fatalf("method %d with %x: deciding panicked", method, payload)
	}
	return answer, err
}

// hollow fills in fields of a message down to a depth: a message with nothing in it,
// one element, zero or a short text. only picks one alternative of each oneof.
func hollow(m protoreflect.Message, depth, only int) {
	if depth == 0 {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if o := f.ContainingOneof(); o != nil && f != o.Fields().Get(only%o.Fields().Len()) {
			continue
		}
		switch {
		case f.IsMap():
			if to := m.Mutable(f).Map(); f.MapKey().Kind() == protoreflect.StringKind {
				to.Set(protoreflect.ValueOfString("").MapKey(), to.NewValue())
			}
		case f.IsList() && f.Message() != nil:
			hollow(m.Mutable(f).List().AppendMutable().Message(), depth-1, only)
		case f.IsList():
			m.Mutable(f).List().Append(m.Mutable(f).List().NewElement())
		case f.Message() != nil:
			hollow(m.Mutable(f).Message(), depth-1, only)
		case f.Kind() == protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(protoreflect.EnumNumber(only%4)))
		case f.Kind() == protoreflect.StringKind && only%2 == 0:
			m.Set(f, protoreflect.ValueOfString("public"))
		case f.Kind() == protoreflect.Uint64Kind && only%3 == 0:
			m.Set(f, protoreflect.ValueOfUint64(1))
		}
	}
}

// forwarded encodes the call that forwards a command.
func forwarded(t testing.TB, command proto.Message, id string) []byte {
	t.Helper()
	encoded, err := proto.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := proto.Marshal(&metadatav1.ForwardedCommand{
		Stream: schemaStream, Type: string(command.ProtoReflect().Descriptor().FullName()), Command: encoded, Actor: "other", RequestId: id,
	})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// sound are calls that another member could make of this one.
func (x *target) sound() map[uint8]proto.Message {
	now := x.m.running.Load().schema.status.Load()
	return map[uint8]proto.Message{
		methodChunk: &metadatav1.CheckpointChunkRequest{Stream: schemaStream, Index: now.Newest.Index},
		methodEntries: &metadatav1.RebuildEntriesRequest{
			Stream: schemaStream, Term: now.Term, AfterIndex: now.Newest.Index, AfterTerm: now.Newest.Term, UpTo: now.Newest.Index + 2, MaxBytes: 1,
		},
		methodPart:      &metadatav1.HistoryPartRequest{Stream: schemaStream, Below: 2, MaxBytes: 1},
		methodBase:      &metadatav1.HistoryBaseRequest{Stream: schemaStream, Revision: now.Newest.Seq},
		methodBaseChunk: &metadatav1.CheckpointChunkRequest{Stream: schemaStream, Index: now.Newest.Index},
	}
}

// seeds yields a payload of each method and each command: sound, empty and hollow.
func (x *target) seeds(t testing.TB, yield func(method uint8, payload []byte)) {
	t.Helper()
	for method, m := range x.sound() {
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		yield(method, payload)
	}
	for depth := range 6 {
		for only := range 10 {
			for method := range lastMethod + 1 {
				if request := requests[method]; request != nil && method != methodCommand {
					m := request()
					hollow(m.ProtoReflect(), depth, only)
					payload, err := proto.Marshal(m)
					if err != nil {
						t.Fatal(err)
					}
					yield(method, payload)
				}
			}
			for _, command := range commandMessages() {
				hollow(command.ProtoReflect(), depth, only)
				yield(methodCommand, forwarded(t, command, ""))
			}
		}
	}
	for method := range lastMethod + 2 {
		yield(method, nil)
		yield(method, []byte{0xff})
	}
}

// No call of another member can end this one, whatever is in it. What is no request
// gets an error.
func TestCallsThatMakeNoSense(t *testing.T) {
	x := newTarget(t)
	var payloads [][]byte
	taken := map[uint8]int{}
	x.seeds(t, func(method uint8, payload []byte) {
		if _, err := x.call(t, method, payload); err == nil {
			taken[method]++
		}
		payloads = append(payloads, payload)
	})
	for method := range requests {
		if taken[method] == 0 {
			t.Errorf("no call of method %d was served: it was not tried in earnest", method)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		payload := bytes.Clone(payloads[rng.IntN(len(payloads))])
		for range rng.IntN(3) {
			if len(payload) > 0 {
				payload[rng.IntN(len(payload))] ^= 1 << rng.IntN(8)
			}
		}
		_, _ = x.call(t, uint8(rng.IntN(int(lastMethod)+2)), payload[:len(payload)-rng.IntN(min(len(payload), 2)+1)])
	}
	x.c.mustCreate(1, "still_there")
	// What came out of it is a state like any other.
	r := x.m.running.Load()
	if err := r.schema.replica.View().Verify(); err != nil {
		t.Fatal(err)
	}
	if err := r.topology.replica.View().Verify(); err != nil {
		t.Fatal(err)
	}
}

// What a leader decides on the leases that it has seen is not taken from another
// member, and neither is a stream that this build does not have.
func TestCallsThatAreRefused(t *testing.T) {
	x := newTarget(t)
	for _, command := range []proto.Message{&metadatav1.ExpireNodeLease{NodeId: "n", Epoch: 1}, &metadatav1.ReviveNode{NodeId: "n", Epoch: 1}} {
		if _, err := x.call(t, methodCommand, forwarded(t, command, "id")); err == nil || !strings.Contains(err.Error(), "never forwarded") {
			t.Errorf("%T: %v", command, err)
		}
	}
	const noStream = 1<<8 + metadatav1.Stream_STREAM_SCHEMA // in eight bits, the schema's
	probe, err := proto.Marshal(&metadatav1.HistoryProbe{Stream: noStream, Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.call(t, methodHistory, probe); err == nil {
		t.Error("a stream that there is not has a history")
	}
	probe, err = proto.Marshal(&metadatav1.HistoryProbe{Stream: schemaStream, Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.call(t, methodHistory, probe); err != nil {
		t.Errorf("the history that there is: %v", err)
	}
}

// FuzzCalls is TestCallsThatMakeNoSense with bytes that the fuzzer finds. All inputs
// of a worker go to one member.
func FuzzCalls(f *testing.F) {
	x := newTarget(f)
	for _, table := range []string{"", "t"} {
		command := createTable(table)
		f.Add(methodCommand, forwarded(f, command, "request"))
	}
	n := 0
	x.seeds(f, func(method uint8, payload []byte) {
		if n++; n%8 == 1 && len(payload) < 4<<10 { // the fuzzer finds what is between them
			f.Add(method, payload)
		}
	})
	f.Fuzz(func(t *testing.T, method uint8, payload []byte) {
		if len(payload) > 64<<10 {
			return
		}
		_, _ = x.call(t, method, payload)
	})
}
