package hostile

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/server"
)

const (
	// unaryTime is long for this service and short for one that waits for a revision
	// that never comes.
	unaryTime = 150 * time.Millisecond
	// streamTime is how long a subscription is listened to.
	streamTime = 20 * time.Millisecond
	// callsPerService bounds what one service's model can grow to.
	callsPerService = 4000
)

// samples are valid requests, by the name of their message; an empty one is valid
// bytes for the others.
func samples() map[string]proto.Message {
	table := &metadatav1.TableSchema{Name: "orders", Columns: []*metadatav1.ColumnSchema{
		{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
		{Name: "price", Nullable: true, DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_DECIMAL, Precision: 9, Scale: 2}},
	}, PrimaryKey: []string{"id"}}
	ref := &metadatav1.TableRef{Name: "orders"}
	shard := &metadatav1.ShardInfo{KeyRange: &metadatav1.KeyRange{Start: []byte("a"), End: []byte("m")}, PrimaryNode: "s1"}
	position := &metadatav1.Position{ClusterId: "00", RecoveryEpoch: 1, SchemaRevision: 1}
	selection := &metadatav1.ChangeSelection{Stream: metadatav1.Stream_STREAM_SCHEMA}
	at := &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: 1}}
	all := make(map[string]proto.Message)
	for _, m := range []proto.Message{
		&metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "shop"}, Write: &metadatav1.WriteOptions{RequestId: "r"}},
		&metadatav1.DropNamespaceRequest{Name: "shop"},
		&metadatav1.ListNamespacesRequest{PageSize: 1},
		&metadatav1.CreateTableRequest{Table: table},
		&metadatav1.AlterTableRequest{Table: ref, Alterations: []*metadatav1.TableAlteration{
			{Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{Column: &metadatav1.ColumnSchema{
				Name: "note", Nullable: true, DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING},
			}}}},
		}},
		&metadatav1.DropTableRequest{Table: ref, Write: &metadatav1.WriteOptions{DryRun: true}},
		&metadatav1.GetTableRequest{Table: ref},
		&metadatav1.ListTablesRequest{PageSize: 1, Read: &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: position}},
		&metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
			NodeId: "s1", Addr: "10.0.0.1:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "run",
		}},
		&metadatav1.UnregisterNodeRequest{NodeId: "s1"},
		&metadatav1.DrainNodeRequest{NodeId: "s1"},
		&metadatav1.GetNodeRequest{NodeId: "s1"},
		&metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: shard}}}}},
		&metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: []byte("b")}},
		&metadatav1.ListShardsRequest{KeyRange: shard.GetKeyRange()},
		&metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{
			{Command: &metadatav1.Command_CreateNamespace{CreateNamespace: &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "b"}}}},
		}},
		&metadatav1.HeartbeatRequest{NodeId: "s1", Epoch: 1},
		&metadatav1.StreamHeartbeatsRequest{Heartbeat: &metadatav1.HeartbeatRequest{NodeId: "s1", Epoch: 1}},
		&metadatav1.NodeReportsRequest{NodeIds: []string{"s1"}},
		&metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}},
		&metadatav1.ReadChangesRequest{Selection: selection, PageSize: 1, NewestFirst: true},
		&metadatav1.StreamChangesRequest{Selection: selection, Originals: true, Follow: true},
		&metadatav1.StreamBaseRequest{Stream: metadatav1.Stream_STREAM_TOPOLOGY, FirstRevision: 1, Offset: 1},
		&metadatav1.GetTableAsOfRequest{Table: ref, At: at},
		&metadatav1.ListTablesAsOfRequest{At: at, PageSize: 1},
		&metadatav1.GetTopologyAsOfRequest{At: &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Time{Time: timestamppb.Now()}}},
		&metadatav1.DiffRevisionsRequest{Stream: metadatav1.Stream_STREAM_TOPOLOGY, From: &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{}}},
		&metadatav1.ObjectLogRequest{Object: &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_NodeId{NodeId: "s1"}}},
		&metadatav1.VerifyHistoryRequest{Stream: metadatav1.Stream_STREAM_SCHEMA},
		&metadatav1.GetHeadRequest{Stream: metadatav1.Stream_STREAM_SERVICE, ModelHash: true},
		&metadatav1.ListSignedHeadsRequest{Stream: metadatav1.Stream_STREAM_SCHEMA},
		&metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: "cdc"}},
		&metadatav1.OpenConsumerRequest{Name: "cdc", Owner: "host"},
		&metadatav1.AcknowledgeConsumerRequest{Name: "cdc", Epoch: 1, Position: &metadatav1.Position{SchemaRevision: 1}},
		&metadatav1.DeleteConsumerRequest{Name: "cdc"},
		&metadatav1.GetConsumerRequest{Name: "cdc"},
	} {
		all[string(m.ProtoReflect().Descriptor().FullName())] = m
	}
	return all
}

// seeds calls add with a valid call of each rpc in each protocol, and with some that
// are packed in all the wrong ways.
func seeds(t testing.TB, add func(rpc, how, packing uint8, http2 bool, message []byte)) {
	known := samples()
	for i, m := range methods() {
		var binary []byte
		text := []byte("{}")
		if sample := known[string(m.descriptor.Input().FullName())]; sample != nil {
			var err1, err2 error
			binary, err1 = proto.Marshal(sample)
			text, err2 = protojson.Marshal(sample)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
		}
		for j, p := range protocols {
			message := binary
			if p.json {
				message = text
			}
			add(uint8(i), uint8(j), uint8((i+j)%2), (i+j)%3 > 0, message)
			if i%5 == 0 {
				for packing := range uint8(packings) {
					add(uint8(i), uint8(j), packing, packing%2 == 0, message)
				}
			}
		}
	}
}

// The fuzzer begins with every rpc of the contract, and with a valid request of each: one that is
// refused for its form goes no further.
func TestSamplesAreValid(t *testing.T) {
	known, asked := samples(), make(map[string]bool)
	for _, m := range methods() {
		name := m.descriptor.Input().FullName()
		asked[string(name)] = true
		request := known[string(name)]
		if request == nil {
			kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
			if err != nil {
				t.Fatal(err)
			}
			request = kind.New().Interface()
		}
		if err := protovalidate.Validate(request); err != nil {
			t.Errorf("%s: its sample, %v, is refused: %v", m.path, request, err)
		}
	}
	for name := range known {
		if !asked[name] {
			t.Errorf("%s is a sample of no rpc", name)
		}
	}
	paths := make(map[string]bool)
	for _, m := range methods() {
		paths[m.path] = true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("heliosdb.metadata.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				if path := "/" + string(s.FullName()) + "/" + string(s.Methods().Get(j).Name()); !paths[path] {
					t.Errorf("%s, of %s, is not among what is called", path, file.Path())
				}
			}
		}
		return true
	})
}

// TestEveryRPC makes the calls that the fuzzer begins with: valid ones of each rpc in
// each protocol, and some that are packed in all the wrong ways.
func TestEveryRPC(t *testing.T) {
	s := start(t, server.Options{Limits: server.Limits{UnaryTimeout: unaryTime, HistoryTimeout: unaryTime}})
	defer s.stop()
	seeds(t, func(rpc, how, packing uint8, http2 bool, message []byte) { s.try(t, rpc, how, packing, http2, message) })
}

// FuzzRPC makes calls with any bytes: of every rpc, in every protocol, over HTTP/1.1
// and HTTP/2. The answer has to be one of the protocol, the fault the caller's, and
// said with a reason.
func FuzzRPC(f *testing.F) {
	n := 0
	seeds(f, func(rpc, how, packing uint8, http2 bool, message []byte) {
		if n++; n%7 == 0 { // each rpc and each protocol is among them
			f.Add(rpc, how, packing, http2, message)
		}
	})
	calls := 0
	var s *service
	f.Cleanup(func() {
		if s != nil {
			s.stop()
		}
	})
	f.Fuzz(func(t *testing.T, rpc, how, packing uint8, http2 bool, message []byte) {
		if calls%callsPerService == 0 {
			if s != nil {
				s.stop()
			}
			s = start(t, server.Options{Limits: server.Limits{UnaryTimeout: unaryTime, HistoryTimeout: unaryTime}})
		}
		calls++
		s.try(t, rpc, how, packing, http2, message)
	})
}

// try makes a call and judges its end.
func (s *service) try(t *testing.T, rpc, how, packing uint8, http2 bool, message []byte) {
	t.Helper()
	all := methods()
	m, p := all[int(rpc)%len(all)], protocols[int(how)%len(protocols)]
	end, err := s.call(p, m, int(packing)%packings, http2, message)
	switch {
	case errors.Is(err, errCut) && m.streams():
	case err != nil:
		t.Errorf("%s of %s, http/2 %v: %v", p.name, m.path, http2, err)
	case end.verdict() != "":
		t.Errorf("%s of %s, http/2 %v: %s", p.name, m.path, http2, end.verdict())
	}
	for _, line := range s.faults.take() {
		t.Error("the service logged: " + line)
	}
}

// over2 is the client for a protocol over HTTP/2.
func (s *service) over2(p protocol) *http.Client {
	if p.type_ == "application/grpc" {
		return s.native
	}
	return s.http2
}

// call makes a call and reads its answer.
func (s *service) call(p protocol, m method, packing int, http2 bool, message []byte) (ending, error) {
	limit := 20 * unaryTime
	if m.streams() {
		limit = streamTime
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client := s.http1
	if http2 {
		client = s.over2(p)
	}
	r, err := client.Do(p.request(ctx, "http://"+s.addr, m, packing, bytes.Clone(message)))
	if err != nil {
		if ctx.Err() != nil && m.streams() {
			return ending{}, errCut
		}
		return ending{}, err
	}
	defer func() { _ = r.Body.Close() }()
	if isProtocolError(r.StatusCode, m, r.ProtoMajor) {
		return ending{}, nil
	}
	if r.StatusCode == http.StatusNotFound && p.family == grpc {
		return ending{}, errors.New("no such rpc")
	}
	return p.read(r, m)
}
