package server

import (
	"cmp"
	"context"
	"encoding/binary"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ObjectLog is of the contract.
func (s service) ObjectLog(ctx context.Context, r *metadatav1.ObjectLogRequest) (*metadatav1.ObjectLogResponse, error) {
	order := []byte{0}
	if r.GetOldestFirst() {
		order[0] = 1
	}
	span := binary.AppendUvarint(binary.AppendUvarint(order, r.GetFirstRevision()), r.GetLastRevision())
	filter := filterHash(encodingOf(r.GetObject()), span)
	t, err := parseToken(r.GetPageToken(), objectLog, filter)
	if err != nil {
		return nil, err
	}
	stream := objects.StreamOf(r.GetObject())
	source, err := s.past(ctx, stream, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	log, err := s.member.Objects(ctx, stream)
	if err != nil {
		return nil, err
	}
	q, newest, err := s.queryOf(ctx, source, t, r)
	if err != nil {
		return nil, err
	}
	if q.Object, err = log.Resolve(ctx, r.GetObject(), newest); err != nil {
		return nil, err
	}
	p := newPage(ctx, r.GetPageSize())
	q.Limit, q.MaxBytes = p.count, p.bytes
	answer := new(metadatav1.ObjectLogResponse)
	var next uint64
	if answer.Changes, next, err = log.Page(ctx, q); err != nil {
		return nil, err
	}
	if next == 0 {
		if next, err = s.beyond(ctx, source, q, answer); err != nil {
			return nil, err
		}
	}
	if next > 0 {
		answer.NextPageToken = pastToken(source.Origin(), objectLog, newest, filter, binary.AppendUvarint(nil, next))
	}
	if len(answer.Changes) == 0 && next == 0 && q.First == 1 && q.Last == newest {
		return nil, q.Object.NeverWas()
	}
	return answer, fits(answer)
}

// queryOf returns what a page is to have of an object that is not known yet, and the newest
// revision of the first page.
func (s service) queryOf(ctx context.Context, source history.Live, t *token, r *metadatav1.ObjectLogRequest) (q objects.Query, newest uint64, err error) {
	stream := source.Origin().Stream
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return q, 0, err
	}
	oldest, err := s.oldestKept(ctx, stream)
	if err != nil {
		return q, 0, err
	}
	newest = bounds.Last
	if t != nil {
		newest, err = t.revision, sameHistory(ctx, source, t)
		if err != nil {
			return q, 0, err
		}
	}
	q = objects.Query{
		First: cmp.Or(r.GetFirstRevision(), oldest), Last: cmp.Or(r.GetLastRevision(), newest), NewestFirst: !r.GetOldestFirst(),
	}
	switch {
	case r.GetLastRevision() > 0 && q.First > q.Last:
		return q, 0, failure.InvalidField("last_revision", "%d lies before first_revision %d", q.Last, q.First)
	case q.First > newest+1:
		return q, 0, history.Future(stream, q.First, newest)
	case q.Last > newest:
		return q, 0, history.Future(stream, q.Last, newest)
	case q.First < oldest:
		return q, 0, history.Trimmed(stream, q.First, oldest)
	}
	if t != nil {
		next, n := binary.Uvarint(t.cursor)
		if n <= 0 || next < q.First || next > q.Last {
			return q, 0, badToken("is damaged; begin without a token")
		}
		if q.NewestFirst {
			q.Last = next
		} else {
			q.First = next
		}
	}
	if begin(q) < bounds.First && q.First <= q.Last {
		return q, 0, history.Earlier(ctx, source, bounds)
	}
	return q, newest, nil
}

// begin returns the revision at which a query begins.
func begin(q objects.Query) uint64 {
	if q.NewestFirst {
		return q.Last
	}
	return q.First
}

// beyond returns where the log of an object goes on that this member has no more of; 0 if
// nothing is missing. Whoever asks for that page is told who has it.
func (s service) beyond(ctx context.Context, source history.Source, q objects.Query, answer *metadatav1.ObjectLogResponse) (uint64, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil || bounds.First <= q.First {
		return 0, err
	}
	if n := len(answer.GetChanges()); n > 0 && q.Object.ID != 0 && answer.Changes[n-1].GetDiff().GetDiff() == metadatav1.DiffKind_DIFF_KIND_ADDED {
		return 0, nil // it has nothing older
	}
	return bounds.First - 1, nil
}
