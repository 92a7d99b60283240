package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

const schemaStream = metadatav1.Stream_STREAM_SCHEMA

// historian returns clients of one member by gRPC.
func (c *cluster) historian(i int) (metadatav1connect.HistoryServiceClient, metadatav1connect.ConsumerServiceClient) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	c.t.Cleanup(transport.CloseIdleConnections)
	client, url := &http.Client{Transport: transport}, "http://"+c.api[i]
	return metadatav1connect.NewHistoryServiceClient(client, url, connect.WithGRPC()),
		metadatav1connect.NewConsumerServiceClient(client, url, connect.WithGRPC())
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// Every member tells the same past: what came in, folded again from the bytes as logged, is the
// head with its model's hash, the models that it lists, and what auditors hold signatures against.
func TestEveryMemberTellsTheSamePast(t *testing.T) {
	key := filepath.Join(t.TempDir(), "audit.key")
	c := newCluster(t, 3, "--checkpoint-revisions", "20", "--audit-key", key, "--audit-every", "10")
	c.run(nil, "audit", "keygen", "--out", key)
	c.start(0, 1, 2)
	c.ready(0, 1, 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	writer := c.client(0, 1, 2)
	const tables = 55
	for i := range tables {
		must(writer.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: table(fmt.Sprint("t", i))}))(t)
	}
	for i := range 3 {
		c.eventually("the member has all of it", func() bool {
			past, _ := c.historian(i)
			head, err := past.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: schemaStream})
			return err == nil && head.GetRevision() == tables
		})
		c.checkPast(ctx, i, tables)
		c.checkConsumers(ctx, i, tables)
	}
	public := must(audit.ReadPublicKey(must(os.ReadFile(key + ".pub"))(t)))(t)
	past, _ := c.historian(1)
	head := must(past.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: schemaStream}))(t)
	cluster := must(events.ParseClusterID(head.GetClusterId()))(t)
	c.eventually("heads are signed", func() bool {
		heads := must(past.ListSignedHeads(ctx, &metadatav1.ListSignedHeadsRequest{Stream: schemaStream}))(t).GetHeads()
		for _, h := range heads {
			if err := audit.Check(public, cluster, head.GetRecoveryEpoch(), h); err != nil {
				t.Fatal(err)
			}
		}
		return len(heads) > 0
	})
}

// A service that has trimmed a stream hands out what the rest is folded from: it is rehearsed
// against the service, and an export has all that is needed elsewhere. Members look every 300
// ticks whether there is something to trim, so that it takes some seconds.
func TestWhatIsLeftIsFoldedElsewhere(t *testing.T) {
	c := newCluster(t, 3, "--checkpoint-revisions", "20", "--history-service-changes", "30", "--tick-interval", "10ms")
	c.start(0, 1, 2)
	c.ready(0, 1, 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	past, consumers := c.historian(0)
	for i := range 80 {
		must(consumers.CreateConsumer(ctx, &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: fmt.Sprint("c", i)}, FromOldest: true}))(t)
	}
	c.eventually("the service stream is trimmed", func() bool {
		head, err := past.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: metadatav1.Stream_STREAM_SERVICE})
		return err == nil && head.GetFloor().GetOldestRevision() > 1
	})
	fits := func(said string) {
		t.Helper()
		if strings.Contains(said, "not compared") || strings.Count(said, "fits") < 3 || !strings.Contains(said, "service  ") {
			t.Errorf("not all of it fits:\n%s", said)
		}
	}
	c.eventually("the members have the model before it", func() bool {
		said := c.run(c.api, "history", "verify", "-o", "json")
		return strings.Count(said, `"base": true`) == 1
	})
	fits(c.run(c.api, "history", "rehearse"))
	c.eventually("all members know what was right before it", func() bool { // unless it is trimmed again just then
		for i := range 3 {
			past, _ := c.historian(i)
			floor := must(past.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: metadatav1.Stream_STREAM_SERVICE}))(t).GetFloor()
			at := timestamppb.New(floor.GetOldestTime().AsTime().Add(-time.Nanosecond))
			d, err := past.DiffRevisions(ctx, &metadatav1.DiffRevisionsRequest{
				Stream: metadatav1.Stream_STREAM_SERVICE, From: &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Time{Time: at}},
			})
			if err != nil || d.GetFromRevision() != floor.GetOldestRevision()-1 {
				return false
			}
		}
		return true
	})
	file, dir := filepath.Join(t.TempDir(), "left.export"), filepath.Join(t.TempDir(), "left")
	c.run(c.api, "history", "export", "--out", file)
	c.run(nil, "history", "verify", "--file", file)
	fits(c.run(nil, "history", "rehearse", "--file", file))
	c.run(nil, "history", "import", "--file", file, "--data", dir)
	fits(c.run(nil, "history", "replay", "--check", "--data", dir))
}

// checkPast folds what a member has logged and holds what it says of it against that.
func (c *cluster) checkPast(ctx context.Context, i, tables int) {
	t := c.t
	t.Helper()
	past, _ := c.historian(i)
	head := must(past.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: schemaStream, ModelHash: true}))(t)
	stream := must(past.StreamChanges(ctx, &metadatav1.StreamChangesRequest{
		Selection: &metadatav1.ChangeSelection{Stream: schemaStream}, Originals: true,
	}))(t)
	defer stream.Close()
	state := projections.NewSchema(must(events.ParseClusterID(head.GetClusterId()))(t), head.GetRecoveryEpoch())
	states := []*projections.Schema{state}
	for stream.Receive() {
		for _, raw := range stream.Msg().GetOriginals() {
			state = state.Fold(must(events.DecodeChange(raw))(t))
			states = append(states, state)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	hash := state.Hash()
	if state.Head.Revision != head.GetRevision() || !bytes.Equal(state.Head.Digest[:], head.GetDigest()) || !bytes.Equal(hash[:], head.GetModelHash()) {
		t.Errorf("member %d says %v, its log leads to %+v", i+1, head, state.Head)
	}
	for _, revision := range []uint64{0, 1, 30, uint64(tables)} {
		at := &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: revision}}
		list := must(past.ListTablesAsOf(ctx, &metadatav1.ListTablesAsOfRequest{At: at}))(t)
		if len(list.GetTables()) != states[revision].Model.TableCount() || list.GetRevision() != revision {
			t.Errorf("member %d lists %d tables at %d", i+1, len(list.GetTables()), revision)
		}
	}
	from := &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: 20}}
	if d := must(past.DiffRevisions(ctx, &metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: from}))(t); len(d.GetObjects()) != tables-20 {
		t.Errorf("member %d: %d objects differ from revision 20", i+1, len(d.GetObjects()))
	}
	ref := &metadatav1.TableRef{Name: "t7"}
	as := must(past.GetTableAsOf(ctx, &metadatav1.GetTableAsOfRequest{Table: ref}))(t)
	log := must(past.ObjectLog(ctx, &metadatav1.ObjectLogRequest{Object: &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: ref}}}))(t)
	if len(log.GetChanges()) != 1 || log.GetChanges()[0].GetChange().GetRevision() != as.GetChangedBy().GetRevision() {
		t.Errorf("member %d: t7 was made by %v, its log is %v", i+1, as.GetChangedBy(), log)
	}
	verification := must(past.VerifyHistory(ctx, &metadatav1.VerifyHistoryRequest{Stream: schemaStream}))(t)
	defer verification.Close()
	var last *metadatav1.VerifyHistoryResponse
	for verification.Receive() {
		last = verification.Msg()
	}
	if verification.Err() != nil || !last.GetDone() || last.GetDamagedRevision() != 0 || !bytes.Equal(last.GetDigest(), head.GetDigest()) {
		t.Errorf("member %d: verification ended with %v, %v", i+1, last, verification.Err())
	}
	if page := must(past.ReadChanges(ctx, &metadatav1.ReadChangesRequest{
		Selection: &metadatav1.ChangeSelection{Stream: schemaStream}, NewestFirst: true, PageSize: 1,
	}))(t); len(page.GetChanges()) != 1 || page.GetChanges()[0].GetRevision() != head.GetRevision() {
		t.Errorf("member %d: the newest change is %v", i+1, page)
	}
	if topology := must(past.GetTopologyAsOf(ctx, &metadatav1.GetTopologyAsOfRequest{}))(t); len(topology.GetTopology().GetNodes()) != 0 {
		t.Errorf("member %d: the topology is %v", i+1, topology)
	}
}

// checkConsumers has a consumer live its life through one member.
func (c *cluster) checkConsumers(ctx context.Context, i, tables int) {
	t := c.t
	t.Helper()
	_, consumers := c.historian(i)
	name := fmt.Sprint("c", i)
	start := &metadatav1.Position{SchemaRevision: 10}
	must(consumers.CreateConsumer(ctx, &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: name, Position: start}}))(t)
	epoch := must(consumers.OpenConsumer(ctx, &metadatav1.OpenConsumerRequest{Name: name}))(t).GetConsumer().GetEpoch()
	move := &metadatav1.AcknowledgeConsumerRequest{Name: name, Epoch: epoch, Position: &metadatav1.Position{SchemaRevision: uint64(tables) - 5}}
	must(consumers.AcknowledgeConsumer(ctx, move))(t)
	got := must(consumers.GetConsumer(ctx, &metadatav1.GetConsumerRequest{Name: name}))(t)
	if got.GetLag().GetSchemaChanges() != 5 {
		t.Errorf("member %d: it is %v", i+1, got)
	}
	move.Position.SchemaRevision = uint64(tables) + 1
	if _, err := consumers.AcknowledgeConsumer(ctx, move); connect.CodeOf(err) != connect.CodeOutOfRange {
		t.Errorf("member %d: acknowledging the future: %v", i+1, err)
	}
	must(consumers.DeleteConsumer(ctx, &metadatav1.DeleteConsumerRequest{Name: name}))(t)
	if list := must(consumers.ListConsumers(ctx, &metadatav1.ListConsumersRequest{}))(t); len(list.GetConsumers()) != 0 {
		t.Errorf("member %d: there are %v", i+1, list)
	}
}
