package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// source is where reads of one stream get their models.
type source[S any] struct {
	stream metadatav1.Stream
	load   func(context.Context, *metadatav1.ReadOptions) (S, error)
	head   func(S) *projections.Head
	pins   *pins[S]
}

func schemaSource(member Member, o Options) *source[*projections.Schema] {
	return &source[*projections.Schema]{
		stream: metadatav1.Stream_STREAM_SCHEMA,
		load:   member.Schema,
		head:   func(s *projections.Schema) *projections.Head { return &s.Head },
		pins:   newPins[*projections.Schema](o.Limits.Pages, o.Limits.PageTTL, o.Now),
	}
}

func topologySource(member Member, o Options) *source[*projections.Topology] {
	return &source[*projections.Topology]{
		stream: metadatav1.Stream_STREAM_TOPOLOGY,
		load:   member.Topology,
		head:   func(t *projections.Topology) *projections.Head { return &t.Head },
		pins:   newPins[*projections.Topology](o.Limits.Pages, o.Limits.PageTTL, o.Now),
	}
}

// read returns a model as fresh as asked, and its position. For a conditional
// GET of what the caller has already, it returns a not-modified error instead.
func (s *source[S]) read(ctx context.Context, options *metadatav1.ReadOptions) (S, *metadatav1.Position, error) {
	state, err := s.load(ctx, options)
	if err != nil {
		return state, nil, err
	}
	position := s.position(state)
	return state, position, conditional(ctx, s.stream, s.revision(state), position)
}

// page returns the model that a page is read from: for a first page one as fresh
// as asked, for later ones that of the first page.
func (s *source[S]) page(ctx context.Context, t *token, options *metadatav1.ReadOptions) (S, *metadatav1.Position, error) {
	if t == nil {
		return s.read(ctx, options)
	}
	state, err := s.again(ctx, t)
	if err != nil {
		return state, nil, err
	}
	position := s.position(state)
	return state, position, conditional(ctx, s.stream, t.revision, position)
}

// again finds the model of a token's revision: pinned, or the newest one. A
// member that is behind the one that served the first page catches up first.
func (s *source[S]) again(ctx context.Context, t *token) (S, error) {
	if state, ok := s.pins.find(revisionKey{t.epoch, t.revision}); ok && s.head(state).Cluster == t.cluster {
		return state, nil
	}
	at := &metadatav1.Position{ClusterId: t.cluster.String(), RecoveryEpoch: t.epoch}
	s.setRevision(at, t.revision)
	state, err := s.load(ctx, &metadatav1.ReadOptions{
		Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: at,
	})
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION) {
		return state, failure.New(metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE,
			"the page token is of another cluster, or of before a restore; list again")
	}
	if err != nil {
		return state, err
	}
	if h := s.head(state); h.Revision != t.revision || h.RecoveryEpoch != t.epoch || h.Cluster != t.cluster {
		return state, pageGone(s.stream, t.revision)
	}
	return state, nil
}

// next returns the token for the page behind cursor, and pins the model for it.
func (s *source[S]) next(state S, rpc listing, filter [filterBytes]byte, cursor []byte) string {
	h := s.head(state)
	s.pins.keep(revisionKey{h.RecoveryEpoch, h.Revision}, state)
	t := token{rpc: rpc, cluster: h.Cluster, epoch: h.RecoveryEpoch, revision: h.Revision, filter: filter, cursor: cursor}
	return t.encode()
}

func (s *source[S]) revision(state S) uint64 { return s.head(state).Revision }

// position is what a model's reader has seen: a revision of this stream, and
// nothing of the other.
func (s *source[S]) position(state S) *metadatav1.Position {
	h := s.head(state)
	p := &metadatav1.Position{ClusterId: h.Cluster.String(), RecoveryEpoch: h.RecoveryEpoch}
	s.setRevision(p, h.Revision)
	return p
}

func (s *source[S]) setRevision(p *metadatav1.Position, revision uint64) {
	if s.stream == metadatav1.Stream_STREAM_SCHEMA {
		p.SchemaRevision = revision
	} else {
		p.TopologyRevision = revision
	}
}

// conditional labels the answer to a GET with the revision that it shows, and
// cuts it short if the caller has that one already. The label is weak: the same
// revision may be encoded in more than one way.
func conditional(ctx context.Context, stream metadatav1.Stream, revision uint64, p *metadatav1.Position) error {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok || info.HTTPMethod() != http.MethodGet {
		return nil
	}
	label := fmt.Sprintf(`W/"%s-%s-%d-%d"`, events.StreamName(stream), p.GetClusterId(), p.GetRecoveryEpoch(), revision)
	headers := info.ResponseHeader()
	known := matches(info.RequestHeader().Values("If-None-Match"), label)
	if known {
		headers = make(http.Header)
	}
	headers.Set("Etag", label)
	headers.Set("Cache-Control", "no-cache") // keep it, but ask again
	headers.Set("Vary", "Accept-Encoding")
	if known {
		return connect.NewNotModifiedError(headers)
	}
	return nil
}

func matches(known []string, label string) bool {
	for _, header := range known {
		for one := range strings.SplitSeq(header, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(label, "W/") {
				return true
			}
		}
	}
	return false
}
