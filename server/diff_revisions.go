package server

import (
	"context"
	"encoding/binary"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/diff"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// DiffRevisions is of the contract.
func (s service) DiffRevisions(ctx context.Context, r *metadatav1.DiffRevisionsRequest) (*metadatav1.DiffRevisionsResponse, error) {
	hash := filterHash([]byte{byte(r.GetStream())}, encodingOf(r.GetFrom()), encodingOf(r.GetTo()), encodingOf(r.GetFilter()))
	t, err := parseToken(r.GetPageToken(), diffRevisions, hash)
	if err != nil {
		return nil, err
	}
	source, err := s.past(ctx, r.GetStream(), t, r.GetRead())
	if err != nil {
		return nil, err
	}
	within, place, err := comparedOfPage(ctx, source, t, r)
	if err != nil {
		return nil, err
	}
	differences, err := s.differences(ctx, within, r, place)
	if err != nil {
		return nil, err
	}
	answer := &metadatav1.DiffRevisionsResponse{FromRevision: within.first, ToRevision: within.last}
	p := newPage(ctx, r.GetPageSize())
	for d, err := range differences {
		if err != nil {
			return nil, err
		}
		if !p.takes(proto.Size(d)) {
			answer.NextPageToken = pastToken(source.Origin(), diffRevisions, within.last, hash, placeCursor(within.first, place))
			break
		}
		answer.Objects, place = append(answer.Objects, d), diff.PlaceOf(d)
	}
	return answer, fits(answer)
}

// comparedOfPage returns the revisions that are compared and the place behind which a page
// begins.
func comparedOfPage(ctx context.Context, source history.Live, t *token, r *metadatav1.DiffRevisionsRequest) (within span, place diff.Place, err error) {
	if t != nil {
		if err := sameHistory(ctx, source, t); err != nil {
			return within, place, err
		}
		from, place, ok := parsePlace(t.cursor)
		if !ok || from > t.revision {
			return within, place, badToken("is damaged; begin without a token")
		}
		return span{from, t.revision}, place, nil
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return within, place, err
	}
	within.last = bounds.Last
	if r.GetTo() != nil {
		if within.last, err = revisionAt(ctx, source, "to", r.GetTo()); err != nil {
			return within, place, err
		}
	}
	if within.first, err = revisionAt(ctx, source, "from", r.GetFrom()); err != nil {
		return within, place, err
	}
	for _, revision := range []uint64{within.first, within.last} {
		if revision > bounds.Last {
			return within, place, history.Future(r.GetStream(), revision, bounds.Last)
		}
	}
	if within.first > within.last {
		return within, place, failure.InvalidField("to", "revision %d lies before from, which is revision %d", within.last, within.first)
	}
	return within, place, nil
}

// differences returns how the objects behind a place differ between two revisions.
func (s service) differences(
	ctx context.Context, within span, r *metadatav1.DiffRevisionsRequest, place diff.Place,
) (iter.Seq2[*metadatav1.ObjectDiff, error], error) {
	filter := events.NewFilter(r.GetFilter())
	switch r.GetStream() {
	case metadatav1.Stream_STREAM_SCHEMA:
		return between(ctx, within, s.member.SchemaAt, func(from, to *projections.Schema) iter.Seq2[*metadatav1.ObjectDiff, error] {
			return diff.Schema(from.Model, to.Model, filter, place)
		})
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return between(ctx, within, s.member.TopologyAt, func(from, to *projections.Topology) iter.Seq2[*metadatav1.ObjectDiff, error] {
			return diff.Topology(from.Model, to.Model, filter, place)
		})
	}
	return between(ctx, within, s.member.ServiceAt, func(from, to *projections.Service) iter.Seq2[*metadatav1.ObjectDiff, error] {
		return diff.Service(from.Model, to.Model, filter, place)
	})
}

// between compares the models of two revisions, the older of which is made first: the newer one
// is folded from it.
func between[S any](
	ctx context.Context, within span, at func(context.Context, uint64) (S, error),
	compare func(from, to S) iter.Seq2[*metadatav1.ObjectDiff, error],
) (iter.Seq2[*metadatav1.ObjectDiff, error], error) {
	from, err := at(ctx, within.first)
	if err != nil {
		return nil, err
	}
	to, err := at(ctx, within.last)
	if err != nil {
		return nil, err
	}
	return compare(from, to), nil
}

// A place in tokens is the revision before, and kind, id and name of the last object.
func placeCursor(from uint64, p diff.Place) []byte {
	raw := binary.AppendUvarint(nil, from)
	raw = binary.AppendUvarint(raw, uint64(p.Kind))
	return append(binary.AppendUvarint(raw, p.ID), p.Name...)
}

func parsePlace(raw []byte) (from uint64, p diff.Place, ok bool) {
	var kind uint64
	for _, number := range []*uint64{&from, &kind, &p.ID} {
		value, n := binary.Uvarint(raw)
		if n <= 0 {
			return 0, p, false
		}
		*number, raw = value, raw[n:]
	}
	p.Kind, p.Name = metadatav1.ObjectKind(kind), string(raw) //nolint:gosec // a kind that does not exist is behind all others
	return from, p, true
}
