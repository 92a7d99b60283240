package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// historian is clients of a world, by protocol.
type historian struct {
	metadatav1connect.HistoryServiceClient
	consumers metadatav1connect.ConsumerServiceClient
}

// historians are clients of every kind of server: Connect's in binary and in JSON, and grpc-go.
func historians(w *world) map[string]historian {
	of := func(client *http.Client, o ...connect.ClientOption) historian {
		return historian{
			metadatav1connect.NewHistoryServiceClient(client, w.url, o...),
			metadatav1connect.NewConsumerServiceClient(client, w.url, o...),
		}
	}
	return map[string]historian{
		"connect": of(w.http2()), "json": of(w.http1(), connect.WithProtoJSON()), "grpc": of(w.http2(), connect.WithGRPC()),
	}
}

// lived starts a server whose member has a past: tables a and b, b renamed to c, a dropped; two
// nodes.
func lived(t *testing.T) *world {
	t.Helper()
	w := start(t, Options{})
	rpc := w.rpc()
	must(rpc.CreateTable(t.Context(), createTable("a")))(t)
	must(rpc.CreateTable(t.Context(), createTable("b")))(t)
	must(rpc.AlterTable(t.Context(), &metadatav1.AlterTableRequest{Table: &metadatav1.TableRef{Name: "b"}, Alterations: []*metadatav1.TableAlteration{
		{Action: &metadatav1.TableAlteration_RenameTable{RenameTable: &metadatav1.RenameTable{NewName: "c"}}},
	}}))(t)
	must(rpc.DropTable(t.Context(), &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: "a"}}))(t)
	for _, node := range []string{"n1", "n2"} {
		must(rpc.RegisterNode(t.Context(), registerNode(node, metadatav1.NodeType_NODE_TYPE_STORAGE)))(t)
	}
	return w
}

func atRevision(r uint64) *metadatav1.HistoryPoint {
	return &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: r}}
}

func ofSchema() *metadatav1.ChangeSelection {
	return &metadatav1.ChangeSelection{Stream: schemaStream}
}

// collect reads a stream to its end.
func collect[M any](stream *connect.ServerStreamForClient[M], err error) (all []*M, _ error) {
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	for stream.Receive() {
		all = append(all, stream.Msg())
	}
	return all, stream.Err()
}

func TestReadChangesInPages(t *testing.T) {
	w := lived(t)
	for name, client := range historians(w) {
		for _, newestFirst := range []bool{false, true} {
			var got []string
			r := &metadatav1.ReadChangesRequest{Selection: ofSchema(), NewestFirst: newestFirst, PageSize: 3}
			for {
				answer := must(client.ReadChanges(t.Context(), r))(t)
				for _, c := range answer.GetChanges() {
					got = append(got, fmt.Sprint(c.GetRevision()))
				}
				if answer.GetOldestRevision() != 1 || answer.GetNewestRevision() != 4 {
					t.Errorf("%s: the history goes from %d to %d", name, answer.GetOldestRevision(), answer.GetNewestRevision())
				}
				if r.PageToken = answer.GetNextPageToken(); r.PageToken == "" {
					break
				}
			}
			want := "1 2 3 4"
			if newestFirst {
				want = "4 3 2 1"
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s, newest first %v: %v", name, newestFirst, got)
			}
		}
	}
}

func TestStreamChangesSendsOriginals(t *testing.T) {
	w := lived(t)
	for name, client := range historians(w) {
		all, err := collect(client.StreamChanges(t.Context(), &metadatav1.StreamChangesRequest{Selection: ofSchema(), Originals: true}))
		if err != nil {
			t.Fatal(err)
		}
		first, n := all[0], 0
		digest := events.Digest(first.GetPreviousDigest())
		if digest != events.FirstDigest(testCluster, schemaStream) || first.GetClusterId() != testCluster.String() || first.GetRecoveryEpoch() != 1 {
			t.Errorf("%s: it begins with %v", name, first)
		}
		for _, m := range all {
			for _, raw := range m.GetOriginals() {
				n, digest = n+1, digest.Next(raw)
			}
		}
		if last := all[len(all)-1]; n != 4 || digest != w.member.schema.Load().Head.Digest || last.GetLookedAtRevision() != 4 || last.GetNewestRevision() != 4 {
			t.Errorf("%s: %d changes with digest %v, at last %v", name, n, digest, last)
		}
	}
}

func TestStreamChangesFollows(t *testing.T) {
	w := lived(t)
	for name, client := range historians(w) {
		r := &metadatav1.StreamChangesRequest{Selection: ofSchema(), Follow: true}
		r.Selection.FirstRevision = w.member.schema.Load().Head.Revision + 1
		stream := must(client.StreamChanges(t.Context(), r))(t)
		table := "after_" + name
		must(w.rpc().CreateTable(t.Context(), createTable(table)))(t)
		for stream.Receive() && len(stream.Msg().GetChanges()) == 0 {
			continue
		}
		if created := stream.Msg().GetChanges()[0].GetEvents()[0].GetTableCreated(); created.GetTable().GetName() != table {
			t.Errorf("%s: %v came, %v", name, stream.Msg(), stream.Err())
		}
		_ = stream.Close()
	}
}

// Who follows hears something every second: a connection over which nothing comes is broken.
func TestStreamChangesShowsThatItIsThere(t *testing.T) {
	w := lived(t)
	stream := must(historians(w)["grpc"].StreamChanges(t.Context(), &metadatav1.StreamChangesRequest{Selection: ofSchema(), Follow: true}))(t)
	defer stream.Close()
	newest := w.member.schema.Load().Head.Revision
	idle := 0
	for idle < 2 && stream.Receive() {
		if len(stream.Msg().GetChanges()) == 0 && stream.Msg().GetLookedAtRevision() == newest {
			idle++
		}
	}
	if idle < 2 {
		t.Errorf("it ended: %v", stream.Err())
	}
}

func TestTablesAsOf(t *testing.T) {
	w := lived(t)
	named := func(name string) *metadatav1.TableRef { return &metadatav1.TableRef{Name: name} }
	for protocol, client := range historians(w) {
		for revision, want := range []string{"", "a", "a b", "a c", "c"} {
			at := atRevision(uint64(revision))
			var got []string
			r := &metadatav1.ListTablesAsOfRequest{At: at, PageSize: 1}
			for {
				answer := must(client.ListTablesAsOf(t.Context(), r))(t)
				for _, table := range answer.GetTables() {
					got = append(got, table.GetName())
				}
				if answer.GetRevision() != uint64(revision) {
					t.Errorf("%s: the page is of revision %d", protocol, answer.GetRevision())
				}
				if r.PageToken = answer.GetNextPageToken(); r.PageToken == "" {
					break
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: tables at %d: %v", protocol, revision, got)
			}
		}
		answer := must(client.GetTableAsOf(t.Context(), &metadatav1.GetTableAsOfRequest{Table: named("b"), At: atRevision(2)}))(t)
		if answer.GetTable().GetName() != "b" || answer.GetRevision() != 2 || answer.GetChangedBy().GetRevision() != 2 {
			t.Errorf("%s: b was %v", protocol, answer)
		}
		if now := must(client.GetTableAsOf(t.Context(), &metadatav1.GetTableAsOfRequest{Table: named("c")}))(t); now.GetRevision() != 4 || now.GetChangedBy().GetRevision() != 3 {
			t.Errorf("%s: c is %v", protocol, now)
		}
		_, err := client.GetTableAsOf(t.Context(), &metadatav1.GetTableAsOfRequest{Table: named("b"), At: atRevision(3)})
		wantFailure(t, err, connect.CodeNotFound, "NOT_FOUND", "b")
		_, err = client.GetTableAsOf(t.Context(), &metadatav1.GetTableAsOfRequest{Table: named("b"), At: atRevision(9)})
		wantFailure(t, err, connect.CodeOutOfRange, "FUTURE_REVISION", "9", "4")
	}
}

func TestTopologyAsOf(t *testing.T) {
	w := lived(t)
	for protocol, client := range historians(w) {
		for revision, want := range []int{0, 1, 2} {
			answer := must(client.GetTopologyAsOf(t.Context(), &metadatav1.GetTopologyAsOfRequest{At: atRevision(uint64(revision))}))(t)
			if n := len(answer.GetTopology().GetNodes()); n != want || answer.GetRevision() != uint64(revision) {
				t.Errorf("%s: at %d there are %d nodes: %v", protocol, revision, n, answer)
			}
		}
	}
}

func TestDiffRevisionsInPages(t *testing.T) {
	w := lived(t)
	for protocol, client := range historians(w) {
		var got []string
		r := &metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: atRevision(1), PageSize: 1}
		for {
			answer := must(client.DiffRevisions(t.Context(), r))(t)
			for _, o := range answer.GetObjects() {
				got = append(got, fmt.Sprintf("%s %v", o.GetName(), o.GetDiff()))
			}
			if answer.GetFromRevision() != 1 || answer.GetToRevision() != 4 {
				t.Errorf("%s: %d and %d are compared", protocol, answer.GetFromRevision(), answer.GetToRevision())
			}
			if r.PageToken = answer.GetNextPageToken(); r.PageToken == "" {
				break
			}
		}
		if want := "public.a DIFF_KIND_REMOVED, public.c DIFF_KIND_ADDED"; strings.Join(got, ", ") != want {
			t.Errorf("%s: %v", protocol, got)
		}
	}
}

func TestObjectLogInPages(t *testing.T) {
	w := lived(t)
	table := func(name string) *metadatav1.ObjectRef {
		return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: &metadatav1.TableRef{Name: name}}}
	}
	for protocol, client := range historians(w) {
		for _, oldestFirst := range []bool{false, true} {
			for name, want := range map[string]string{"a": "4 REMOVED, 1 ADDED", "c": "3 CHANGED, 2 ADDED"} {
				var got []string
				r := &metadatav1.ObjectLogRequest{Object: table(name), PageSize: 1, OldestFirst: oldestFirst}
				for {
					answer := must(client.ObjectLog(t.Context(), r))(t)
					for _, c := range answer.GetChanges() {
						text := fmt.Sprintf("%d %s", c.GetChange().GetRevision(), strings.TrimPrefix(c.GetDiff().GetDiff().String(), "DIFF_KIND_"))
						if oldestFirst {
							got = append([]string{text}, got...)
						} else {
							got = append(got, text)
						}
					}
					if r.PageToken = answer.GetNextPageToken(); r.PageToken == "" {
						break
					}
				}
				if strings.Join(got, ", ") != want {
					t.Errorf("%s: the log of %s, oldest first %v: %v", protocol, name, oldestFirst, got)
				}
			}
		}
		_, err := client.ObjectLog(t.Context(), &metadatav1.ObjectLogRequest{Object: table("z")})
		wantFailure(t, err, connect.CodeNotFound, "NOT_FOUND", "z")
		node := &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_NodeId{NodeId: "n9"}}
		_, err = client.ObjectLog(t.Context(), &metadatav1.ObjectLogRequest{Object: node})
		wantFailure(t, err, connect.CodeNotFound, "NOT_FOUND", `node "n9"`)
	}
}

// Damage of the first change takes away the time of it, and nothing else.
func TestTheHeadBesideDamage(t *testing.T) {
	w := lived(t)
	w.member.pasts[0].hurt = 1
	for protocol, client := range historians(w) {
		answer := must(client.GetHead(t.Context(), &metadatav1.GetHeadRequest{Stream: schemaStream}))(t)
		if answer.GetRevision() != 4 || answer.GetFloor().GetOldestRevision() != 1 || answer.GetFloor().GetOldestTime() != nil {
			t.Errorf("%s: the head is %v", protocol, answer)
		}
	}
}

func TestHeadsAndVerification(t *testing.T) {
	w := lived(t)
	head := w.member.schema.Load()
	hash := head.Hash()
	for protocol, client := range historians(w) {
		answer := must(client.GetHead(t.Context(), &metadatav1.GetHeadRequest{Stream: schemaStream, ModelHash: true}))(t)
		if answer.GetMemberId() != 7 || answer.GetRevision() != 4 || !bytes.Equal(answer.GetDigest(), head.Head.Digest[:]) ||
			!bytes.Equal(answer.GetModelHash(), hash[:]) || answer.GetFloor().GetOldestRevision() != 1 || answer.GetHeldFromRevision() != 1 ||
			!answer.GetTime().AsTime().Equal(head.Head.Time) || answer.GetFloor().GetOldestTime() == nil {
			t.Errorf("%s: the head is %v", protocol, answer)
		}
		all, err := collect(client.VerifyHistory(t.Context(), &metadatav1.VerifyHistoryRequest{Stream: schemaStream}))
		if err != nil {
			t.Fatal(err)
		}
		if end := all[len(all)-1]; !end.GetDone() || end.GetDamagedRevision() != 0 || end.GetVerifiedRevision() != 4 || !bytes.Equal(end.GetDigest(), head.Head.Digest[:]) {
			t.Errorf("%s: verification ends with %v", protocol, end)
		}
		if signed := must(client.ListSignedHeads(t.Context(), &metadatav1.ListSignedHeadsRequest{Stream: schemaStream}))(t); len(signed.GetHeads()) != 0 {
			t.Errorf("%s: signed is %v", protocol, signed)
		}
	}
}

func TestConsumersLifeAndLag(t *testing.T) {
	w := lived(t)
	for protocol, client := range historians(w) {
		c := client.consumers
		created := must(c.CreateConsumer(t.Context(), &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{
			Name: protocol, Position: &metadatav1.Position{SchemaRevision: 1}, Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
		}}))(t)
		if created.GetConsumer().GetName() != protocol {
			t.Errorf("%s: created %v", protocol, created)
		}
		opened := must(c.OpenConsumer(t.Context(), &metadatav1.OpenConsumerRequest{Name: protocol}))(t).GetConsumer()
		must(c.AcknowledgeConsumer(t.Context(), &metadatav1.AcknowledgeConsumerRequest{
			Name: protocol, Epoch: opened.GetEpoch(), Position: &metadatav1.Position{SchemaRevision: 3},
		}))(t)
		got := must(c.GetConsumer(t.Context(), &metadatav1.GetConsumerRequest{Name: protocol}))(t)
		if got.GetLag().GetSchemaChanges() != 1 || got.GetLag().GetTopologyChanges() != 0 || got.GetConsumer().GetPosition().GetSchemaRevision() != 3 {
			t.Errorf("%s: it is %v", protocol, got)
		}
		if list := must(c.ListConsumers(t.Context(), &metadatav1.ListConsumersRequest{}))(t).GetConsumers(); len(list) != 1 {
			t.Errorf("%s: there are %v", protocol, list)
		}
		_, err := c.AcknowledgeConsumer(t.Context(), &metadatav1.AcknowledgeConsumerRequest{Name: protocol, Epoch: 99, Position: &metadatav1.Position{}})
		wantFailure(t, err, connect.CodeFailedPrecondition, "CONSUMER_FENCED", protocol)
		must(c.DeleteConsumer(t.Context(), &metadatav1.DeleteConsumerRequest{Name: protocol}))(t)
		_, err = c.GetConsumer(t.Context(), &metadatav1.GetConsumerRequest{Name: protocol})
		wantFailure(t, err, connect.CodeNotFound, "NOT_FOUND", protocol)
	}
}
