package server

import (
	"context"
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ReadChanges is of the contract.
func (s service) ReadChanges(ctx context.Context, r *metadatav1.ReadChangesRequest) (*metadatav1.ReadChangesResponse, error) {
	order := []byte{0}
	if r.GetNewestFirst() {
		order[0] = 1
	}
	filter := filterHash(encodingOf(r.GetSelection()), order)
	t, err := parseToken(r.GetPageToken(), readChanges, filter)
	if err != nil {
		return nil, err
	}
	stream := r.GetSelection().GetStream()
	source, err := s.past(ctx, stream, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	within, err := s.changesOfPage(ctx, source, t, r.GetSelection())
	if err != nil {
		return nil, err
	}
	answer := new(metadatav1.ReadChangesResponse)
	rest, err := fillChanges(ctx, source, within, r, answer)
	if err != nil {
		return nil, err
	}
	if rest.first <= rest.last {
		cursor := binary.AppendUvarint(binary.AppendUvarint(nil, rest.first), rest.last)
		answer.NextPageToken = pastToken(source.Origin(), readChanges, within.last, filter, cursor)
	}
	if answer.OldestRevision, err = s.oldestKept(ctx, stream); err != nil {
		return nil, err
	}
	bounds, err := source.Bounds(ctx)
	answer.NewestRevision = bounds.Last
	return answer, err
}

// changesOfPage returns the revisions that are left for a page.
func (s service) changesOfPage(ctx context.Context, source history.Live, t *token, c *metadatav1.ChangeSelection) (span, error) {
	if t == nil {
		return s.selected(ctx, source, c)
	}
	if err := sameHistory(ctx, source, t); err != nil {
		return span{}, err
	}
	first, n := binary.Uvarint(t.cursor)
	last, m := binary.Uvarint(t.cursor[max(n, 0):])
	if n <= 0 || m <= 0 || first == 0 || last > t.revision {
		return span{}, badToken("is damaged; begin without a token")
	}
	return span{first, last}, nil
}

// fillChanges adds changes to a page until it is full, or enough of them were looked at, and
// returns the revisions that are left.
func fillChanges(
	ctx context.Context, source history.Source, within span, r *metadatav1.ReadChangesRequest, answer *metadatav1.ReadChangesResponse,
) (rest span, err error) {
	rest = within
	p := newPage(ctx, r.GetPageSize())
	filter := events.NewFilter(r.GetSelection().GetFilter())
	looked, bytes := 0, 0
	for c, err := range changesIn(ctx, source, within, r.GetNewestFirst()) {
		if err != nil {
			return rest, err
		}
		if looked == maxLookedAt || bytes > maxLookedAtBytes {
			break
		}
		looked++
		bytes += len(c.Raw())
		if selected, ok := match(c, filter, r.GetSelection().GetActor()); ok {
			full, err := p.putChange(&answer.Changes, 1, selected)
			if err != nil {
				return rest, err
			}
			if full {
				break
			}
		}
		if r.GetNewestFirst() {
			rest.last = c.Revision() - 1
		} else {
			rest.first = c.Revision() + 1
		}
	}
	p.into(answer)
	return rest, nil
}

// putChange adds a change to a list field of an answer, unless the page is full. In a binary
// answer a whole change has its bytes as logged.
func (p *page) putChange(list *[]*metadatav1.Change, field protowire.Number, c selectedChange) (full bool, err error) {
	raw, err := c.encoded()
	if err != nil || !p.takes(len(raw)) {
		return true, err
	}
	if p.json {
		*list = append(*list, c.message())
		return false, nil
	}
	p.raw = protowire.AppendBytes(protowire.AppendTag(p.raw, field, protowire.BytesType), raw)
	return false, nil
}

// encoded returns the change's bytes as they are sent: as logged where nothing is left out and
// the form is today's.
func (c selectedChange) encoded() ([]byte, error) {
	if c.whole != nil && c.whole.FeatureLevel() == events.FeatureLevel {
		return c.whole.Raw(), nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(c.message())
}
