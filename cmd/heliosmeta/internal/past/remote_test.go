package past

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// pager is a service that answers in pages of two, of which the second is empty. It has
// trimmed what came before revision 4.
type pager struct {
	metadatav1connect.UnimplementedHistoryServiceHandler
}

func (pager) StreamChanges(context.Context, *metadatav1.StreamChangesRequest, *connect.ServerStream[metadatav1.StreamChangesResponse]) error {
	return nil
}

func (pager) GetTableAsOf(context.Context, *metadatav1.GetTableAsOfRequest) (*metadatav1.GetTableAsOfResponse, error) {
	return new(metadatav1.GetTableAsOfResponse), nil
}

func (pager) ListSignedHeads(context.Context, *metadatav1.ListSignedHeadsRequest) (*metadatav1.ListSignedHeadsResponse, error) {
	return new(metadatav1.ListSignedHeadsResponse), nil
}

// page returns the numbers of a page, and the token for the next one.
func page(token string) (numbers []uint64, next string) {
	switch token {
	case "":
		return []uint64{6, 5}, "1"
	case "1":
		return nil, "2"
	}
	return []uint64{4}, ""
}

func (pager) ReadChanges(_ context.Context, req *metadatav1.ReadChangesRequest) (*metadatav1.ReadChangesResponse, error) {
	res := new(metadatav1.ReadChangesResponse)
	var revisions []uint64
	revisions, res.NextPageToken = page(req.GetPageToken())
	for _, r := range revisions {
		res.Changes = append(res.Changes, &metadatav1.Change{Revision: r})
	}
	return res, nil
}

func (pager) ObjectLog(_ context.Context, req *metadatav1.ObjectLogRequest) (*metadatav1.ObjectLogResponse, error) {
	res := new(metadatav1.ObjectLogResponse)
	var revisions []uint64
	revisions, res.NextPageToken = page(req.GetPageToken())
	for _, r := range revisions {
		res.Changes = append(res.Changes, &metadatav1.ObjectChange{Change: &metadatav1.ChangeInfo{Revision: r}})
	}
	return res, nil
}

func (pager) ListTablesAsOf(_ context.Context, req *metadatav1.ListTablesAsOfRequest) (*metadatav1.ListTablesAsOfResponse, error) {
	res := &metadatav1.ListTablesAsOfResponse{Revision: 9}
	var ids []uint64
	ids, res.NextPageToken = page(req.GetPageToken())
	for _, id := range ids {
		res.Tables = append(res.Tables, &metadatav1.TableSchema{TableId: id})
	}
	return res, nil
}

func (pager) GetTopologyAsOf(_ context.Context, req *metadatav1.GetTopologyAsOfRequest) (*metadatav1.GetTopologyAsOfResponse, error) {
	res := &metadatav1.GetTopologyAsOfResponse{Revision: 9, Topology: new(metadatav1.Topology)}
	var ids []uint64
	ids, res.NextPageToken = page(req.GetPageToken())
	for _, id := range ids {
		res.Topology.Shards = append(res.Topology.Shards, &metadatav1.ShardInfo{ShardId: id})
	}
	return res, nil
}

func (pager) DiffRevisions(_ context.Context, req *metadatav1.DiffRevisionsRequest) (*metadatav1.DiffRevisionsResponse, error) {
	res := &metadatav1.DiffRevisionsResponse{FromRevision: 1, ToRevision: 9}
	var ids []uint64
	ids, res.NextPageToken = page(req.GetPageToken())
	for _, id := range ids {
		res.Objects = append(res.Objects, &metadatav1.ObjectDiff{Id: id})
	}
	return res, nil
}

func (pager) GetHead(context.Context, *metadatav1.GetHeadRequest) (*metadatav1.GetHeadResponse, error) {
	return &metadatav1.GetHeadResponse{
		MemberId: 1, ClusterId: historytest.Cluster.String(), Revision: 6, Digest: make([]byte, 32),
		Floor: &metadatav1.HistoryFloor{OldestRevision: 4, PreviousDigest: make([]byte, 32)},
	}, nil
}

// connected returns the past of a pager, as fresh as the options ask for.
func connected(t *testing.T, read *metadatav1.ReadOptions, o ...connect.HandlerOption) Past {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewHistoryServiceHandler(pager{}, o...))
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	p, err := Connect([]string{s.Listener.Addr().String()}, func(endpoints []string) (*client.Client, error) {
		return client.New(client.Options{Endpoints: endpoints})
	}, read)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// Answers in pages come as one, empty pages in between or not.
func TestPages(t *testing.T) {
	p, want := connected(t, nil), []uint64{6, 5, 4}
	if got := revisions(t, p.Changes(t.Context(), &metadatav1.ChangeSelection{Stream: schemaStream}, true)); !slices.Equal(got, want) {
		t.Errorf("changes %v", got)
	}
	var got []uint64
	for c, err := range p.ObjectLog(t.Context(), nil, 0, 0) {
		must(t, err)
		got = append(got, c.GetChange().GetRevision())
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes of an object %v", got)
	}
	tables, err := p.Tables(t.Context(), "", nil)
	must(t, err)
	topology, err := p.Topology(t.Context(), nil)
	must(t, err)
	diff, err := p.Diff(t.Context(), schemaStream, at(1), nil)
	must(t, err)
	all := fmt.Sprint(len(tables.GetTables()), len(topology.GetTopology().GetShards()), len(diff.GetObjects()))
	if all != "3 3 3" || tables.GetNextPageToken()+topology.GetNextPageToken()+diff.GetNextPageToken() != "" {
		t.Errorf("tables, shards, differences: %s", all)
	}
	if tables.GetRevision() != 9 || topology.GetRevision() != 9 || diff.GetToRevision() != 9 {
		t.Errorf("of the revisions %d, %d, %d", tables.GetRevision(), topology.GetRevision(), diff.GetToRevision())
	}
}

func TestServiceThatHasTrimmed(t *testing.T) {
	_, err := Rehearse(t.Context(), connected(t, nil), schemaStream, nil)
	if !failure.Is(err, trimmed) || !strings.Contains(err.Error(), "begins at revision 4") {
		t.Errorf("rehearsed with %v", err)
	}
}

// asked notes how fresh answers were asked to be, by procedure.
type asked struct {
	mu   sync.Mutex
	read map[string]metadatav1.Consistency
}

func (a *asked) note(spec connect.Spec, request any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.read[path.Base(spec.Procedure)] = request.(interface {
		GetRead() *metadatav1.ReadOptions
	}).GetRead().GetConsistency()
}

func (a *asked) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		a.note(req.Spec(), req.Any())
		return next(ctx, req)
	}
}

func (a *asked) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (a *asked) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, notingConn{conn, a})
	}
}

type notingConn struct {
	connect.StreamingHandlerConn
	asked *asked
}

func (c notingConn) Receive(m any) error {
	err := c.StreamingHandlerConn.Receive(m)
	if err == nil {
		c.asked.note(c.Spec(), m)
	}
	return err
}

// Whatever is read of a service is as fresh as was asked; but what a member says of itself is
// what it has.
func TestAsFreshAsAsked(t *testing.T) {
	const atLeast = metadatav1.Consistency_CONSISTENCY_AT_LEAST
	a := &asked{read: make(map[string]metadatav1.Consistency)}
	p := connected(t, &metadatav1.ReadOptions{Consistency: atLeast, AtLeast: new(metadatav1.Position)}, connect.WithInterceptors(a))
	ctx := t.Context()
	selection := &metadatav1.ChangeSelection{Stream: schemaStream}
	_ = revisions(t, p.Changes(ctx, selection, true))
	_ = revisions(t, p.Changes(ctx, selection, false))
	for _, err := range p.ObjectLog(ctx, nil, 0, 0) {
		must(t, err)
	}
	_, tableErr := p.Table(ctx, tableNamed(1), nil)
	_, tablesErr := p.Tables(ctx, "", nil)
	_, topologyErr := p.Topology(ctx, nil)
	_, diffErr := p.Diff(ctx, schemaStream, at(1), nil)
	_, headsErr := p.Heads(ctx, schemaStream)
	_, sourceErr := p.Source(ctx, schemaStream)
	must(t, errors.Join(tableErr, tablesErr, topologyErr, diffErr, headsErr, sourceErr))
	for _, rpc := range []string{
		"ReadChanges", "StreamChanges", "ObjectLog", "GetTableAsOf", "ListTablesAsOf", "GetTopologyAsOf", "DiffRevisions", "ListSignedHeads", "GetHead",
	} {
		if got := a.read[rpc]; got != atLeast {
			t.Errorf("%s was asked for %v", rpc, got)
		}
	}
	if _, err := p.Said(ctx, schemaStream); err != nil || a.read["GetHead"] != metadatav1.Consistency_CONSISTENCY_LOCAL {
		t.Errorf("a member was asked for %v, %v", a.read["GetHead"], err)
	}
}
