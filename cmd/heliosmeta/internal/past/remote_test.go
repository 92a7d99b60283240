package past

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

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

// connected returns the past of a pager.
func connected(t *testing.T) Past {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewHistoryServiceHandler(pager{}))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	p, err := Connect([]string{s.Listener.Addr().String()}, func(endpoints []string) (*client.Client, error) {
		return client.New(client.Options{Endpoints: endpoints})
	})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// Answers in pages come as one, empty pages in between or not.
func TestPages(t *testing.T) {
	p, want := connected(t), []uint64{6, 5, 4}
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
	_, err := Rehearse(t.Context(), connected(t), schemaStream, nil)
	if !failure.Is(err, trimmed) || !strings.Contains(err.Error(), "has trimmed the schema stream to revision 4") {
		t.Errorf("rehearsed with %v", err)
	}
}
