package past

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// pageSize is the most that a page may have.
	pageSize = 1000
	// firstPage is how many changes are asked for first: often they are enough.
	firstPage = 100
)

// Dial connects to members by their API addresses.
type Dial func(endpoints []string) (*client.Client, error)

// remote is the Past of a running service.
type remote struct {
	endpoints []string
	dial      Dial
	read      *metadatav1.ReadOptions
	client    *client.Client

	mu      sync.Mutex
	sources []*client.History
}

// ofItsOwn asks a member for what it has itself.
var ofItsOwn = &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}

// Connect returns the past of a service, as fresh as the options ask for at each call; nil:
// with everything that was acknowledged before. It is asked at the first call.
func Connect(endpoints []string, dial Dial, read *metadatav1.ReadOptions) (Past, error) {
	c, err := dial(endpoints)
	if err != nil {
		return nil, err
	}
	return &remote{endpoints: endpoints, dial: dial, read: read, client: c}, nil
}

func (r *remote) Name() string                 { return "the service" }
func (r *remote) Watch(export.Progress)        {}
func (r *remote) Streams() []metadatav1.Stream { return slices.Clone(Streams) }

func (r *remote) ClusterName(ctx context.Context) (string, error) {
	res, err := r.client.Status(ctx, new(metadatav1.StatusRequest))
	return res.GetClusterName(), err
}

func (r *remote) Close() error {
	for _, s := range r.sources {
		s.Close()
	}
	r.client.Close()
	return nil
}

func (r *remote) Source(ctx context.Context, stream metadatav1.Stream) (history.Source, error) {
	s, err := r.client.History(ctx, stream, r.read)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources, s)
	return s, nil
}

// Beginning returns the state before the first change; where that was trimmed, the service hands
// out the one before the oldest that is kept.
func (r *remote) Beginning(ctx context.Context, stream metadatav1.Stream) (State, error) {
	source, err := r.Source(ctx, stream)
	if err != nil {
		return nil, err
	}
	return beginning(ctx, source)
}

func (r *remote) Heads(ctx context.Context, stream metadatav1.Stream) ([]*metadatav1.SignedHead, error) {
	res, err := r.client.ListSignedHeads(ctx, &metadatav1.ListSignedHeadsRequest{Stream: stream, Read: r.read})
	return res.GetHeads(), err
}

// Said asks each member for what it has itself, at its own endpoint.
func (r *remote) Said(ctx context.Context, stream metadatav1.Stream) ([]Said, error) {
	all := make([]Said, len(r.endpoints))
	var asked sync.WaitGroup
	for i, endpoint := range r.endpoints {
		asked.Go(func() {
			head, err := r.headAt(ctx, endpoint, stream)
			by := endpoint
			if err == nil {
				by = fmt.Sprintf("member %d at %s", head.GetMemberId(), endpoint)
			}
			all[i] = Said{By: by, Head: head, Err: err}
		})
	}
	asked.Wait()
	return bySaid(all), nil
}

func (r *remote) headAt(ctx context.Context, endpoint string, stream metadatav1.Stream) (*metadatav1.GetHeadResponse, error) {
	c, err := r.dial([]string{endpoint})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: stream, ModelHash: true, Read: ofItsOwn})
}

// Changes reads pages when the newest come first, and else a stream.
func (r *remote) Changes(
	ctx context.Context, selection *metadatav1.ChangeSelection, newestFirst bool,
) iter.Seq2[*metadatav1.Change, error] {
	if !newestFirst {
		return r.streamed(ctx, &metadatav1.StreamChangesRequest{Selection: selection, Read: r.read})
	}
	req := &metadatav1.ReadChangesRequest{Selection: selection, NewestFirst: true, PageSize: firstPage, Read: r.read}
	return pages(func() ([]*metadatav1.Change, bool, error) {
		page, err := r.client.ReadChanges(ctx, req)
		req.PageToken, req.PageSize = page.GetNextPageToken(), pageSize
		return page.GetChanges(), req.PageToken != "", err
	})
}

func (r *remote) Follow(ctx context.Context, selection *metadatav1.ChangeSelection) iter.Seq2[*metadatav1.Change, error] {
	return r.streamed(ctx, &metadatav1.StreamChangesRequest{Selection: selection, Follow: true, Read: r.read})
}

func (r *remote) streamed(ctx context.Context, req *metadatav1.StreamChangesRequest) iter.Seq2[*metadatav1.Change, error] {
	return func(yield func(*metadatav1.Change, error) bool) {
		for message, err := range r.client.StreamChanges(ctx, req) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, c := range message.GetChanges() {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

func (r *remote) ObjectLog(ctx context.Context, ref *metadatav1.ObjectRef, first, last uint64) iter.Seq2[*metadatav1.ObjectChange, error] {
	req := &metadatav1.ObjectLogRequest{Object: ref, FirstRevision: first, LastRevision: last, PageSize: firstPage, Read: r.read}
	return pages(func() ([]*metadatav1.ObjectChange, bool, error) {
		page, err := r.client.ObjectLog(ctx, req)
		req.PageToken, req.PageSize = page.GetNextPageToken(), pageSize
		return page.GetChanges(), req.PageToken != "", err
	})
}

// pages yields what one page after the other has.
func pages[V any](next func() (page []V, more bool, err error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for more := true; more; {
			var page []V
			var err error
			if page, more, err = next(); err != nil {
				var none V
				yield(none, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

func (r *remote) Table(ctx context.Context, ref *metadatav1.TableRef, at *metadatav1.HistoryPoint) (*metadatav1.GetTableAsOfResponse, error) {
	return r.client.GetTableAsOf(ctx, &metadatav1.GetTableAsOfRequest{Table: ref, At: at, Read: r.read})
}

// gather merges the pages of an answer into the first one. Its last page says where all are
// from.
func gather[M proto.Message](call func() (page M, more bool, err error)) (M, error) {
	all, more, err := call()
	for err == nil && more {
		var page M
		if page, more, err = call(); err == nil {
			proto.Merge(all, page)
		}
	}
	return all, err
}

func (r *remote) Tables(ctx context.Context, namespace string, at *metadatav1.HistoryPoint) (*metadatav1.ListTablesAsOfResponse, error) {
	req := &metadatav1.ListTablesAsOfRequest{Namespace: namespace, At: at, PageSize: pageSize, Read: r.read}
	return gather(func() (*metadatav1.ListTablesAsOfResponse, bool, error) {
		page, err := r.client.ListTablesAsOf(ctx, req)
		req.PageToken = page.GetNextPageToken()
		if err == nil {
			page.NextPageToken = ""
		}
		return page, req.PageToken != "", err
	})
}

func (r *remote) Topology(ctx context.Context, at *metadatav1.HistoryPoint) (*metadatav1.GetTopologyAsOfResponse, error) {
	req := &metadatav1.GetTopologyAsOfRequest{At: at, PageSize: pageSize, Read: r.read}
	return gather(func() (*metadatav1.GetTopologyAsOfResponse, bool, error) {
		page, err := r.client.GetTopologyAsOf(ctx, req)
		req.PageToken = page.GetNextPageToken()
		if err == nil {
			page.NextPageToken = ""
		}
		return page, req.PageToken != "", err
	})
}

func (r *remote) Diff(ctx context.Context, stream metadatav1.Stream, from, to *metadatav1.HistoryPoint) (*metadatav1.DiffRevisionsResponse, error) {
	req := &metadatav1.DiffRevisionsRequest{Stream: stream, From: from, To: to, PageSize: pageSize, Read: r.read}
	return gather(func() (*metadatav1.DiffRevisionsResponse, bool, error) {
		page, err := r.client.DiffRevisions(ctx, req)
		req.PageToken = page.GetNextPageToken()
		if err == nil {
			page.NextPageToken = ""
		}
		return page, req.PageToken != "", err
	})
}
