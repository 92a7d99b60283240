package server

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// StreamChanges is of the contract. It ends with STOPPING when the server drains, so that the
// client goes on at another member.
func (s service) StreamChanges(ctx context.Context, r *metadatav1.StreamChangesRequest, stream *connect.ServerStream[metadatav1.StreamChangesResponse]) error {
	return s.streamChanges(ctx, r, stream.Send)
}

func (s service) streamChanges(ctx context.Context, r *metadatav1.StreamChangesRequest, send func(*metadatav1.StreamChangesResponse) error) error {
	ctx, cancel := s.untilDrained(ctx)
	defer cancel()
	return s.orStopping(s.sendChanges(ctx, r, send))
}

// sendChanges sends what is there, and then what comes if that is asked for.
func (s service) sendChanges(ctx context.Context, r *metadatav1.StreamChangesRequest, send func(*metadatav1.StreamChangesResponse) error) error {
	if err := checkStreamed(r); err != nil {
		return err
	}
	source, err := s.past(ctx, r.GetSelection().GetStream(), nil, r.GetRead())
	if err != nil {
		return err
	}
	within, err := s.selected(ctx, source, r.GetSelection())
	if err != nil {
		return err
	}
	c := &changeStream{
		source: source, request: r, send: send, json: callerOf(ctx).json,
		filter: events.NewFilter(r.GetSelection().GetFilter()), next: within.first, told: within.first - 1,
	}
	if r.GetOriginals() {
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	if err := c.upTo(ctx, within.last); err != nil || !r.GetFollow() {
		return err
	}
	return c.follow(ctx)
}

// checkStreamed refuses what the contract excludes.
func checkStreamed(r *metadatav1.StreamChangesRequest) error {
	c := r.GetSelection()
	switch {
	case r.GetOriginals() && (events.NewFilter(c.GetFilter()) != nil || c.GetActor() != ""):
		return failure.InvalidField("originals", "they are the changes as logged, whole; leave filter and actor out")
	case r.GetFollow() && (c.GetLastRevision() != 0 || c.GetUntil() != nil):
		return failure.InvalidField("follow", "it has no end; leave last_revision and until out")
	}
	return nil
}

// changeStream is one StreamChanges call.
type changeStream struct {
	source  history.Live
	request *metadatav1.StreamChangesRequest
	filter  *events.Filter
	json    bool
	send    func(*metadatav1.StreamChangesResponse) error
	next    uint64 // the revision to look at next
	told    uint64 // the client knows that everything up to here was looked at
}

// begin sends what originals are verified with.
func (c *changeStream) begin(ctx context.Context) error {
	digest, err := c.source.Digest(ctx, c.next-1)
	if err != nil {
		return err
	}
	bounds, err := c.source.Bounds(ctx)
	if err != nil {
		return err
	}
	origin := c.source.Origin()
	return c.send(&metadatav1.StreamChangesResponse{
		LookedAtRevision: c.next - 1, NewestRevision: bounds.Last,
		PreviousDigest: digest[:], ClusterId: origin.Cluster.String(), RecoveryEpoch: origin.RecoveryEpoch,
	})
}

// upTo sends the changes up to a revision. It tells now and then how far it is where none match.
func (c *changeStream) upTo(ctx context.Context, last uint64) error {
	if c.request.GetOriginals() {
		for originals, err := range history.ScanOriginals(ctx, c.source, c.next, last) {
			if err == nil {
				err = c.sendOriginals(ctx, originals)
			}
			if err != nil {
				return scanFailed(err)
			}
		}
		return nil
	}
	for changes, err := range history.Scan(ctx, c.source, c.next, last) {
		if err == nil {
			err = c.add(ctx, changes)
		}
		if err == nil && c.told < c.next-1 && c.next <= last {
			err = c.tell(ctx)
		}
		if err != nil {
			return scanFailed(err)
		}
	}
	return c.tell(ctx)
}

// scanFailed is the failure of a scan. That a history ends before its bounds is damage.
func scanFailed(err error) error {
	if damaged, ok := errors.AsType[*history.DamagedError](err); ok {
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED, "%v; ask another member", damaged)
	}
	return err
}

// follow sends changes as they come. When nothing comes for a while it says how far it is, even
// if that is no news: a client sees by it that the connection is sound.
func (c *changeStream) follow(ctx context.Context) error {
	for {
		came, err := c.await(ctx)
		switch {
		case err != nil:
			return err
		case came:
			err = c.addNext(ctx)
		default:
			err = c.tell(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// await waits for the next change; false if none has come for a while.
func (c *changeStream) await(ctx context.Context) (came bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, progressEvery)
	defer cancel()
	err = c.source.Await(waiting, c.next)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// addNext sends what comes next.
func (c *changeStream) addNext(ctx context.Context) error {
	if c.request.GetOriginals() {
		originals, err := c.source.Originals(ctx, c.next, readBytes)
		if err != nil || len(originals) == 0 {
			return err
		}
		return c.sendOriginals(ctx, originals)
	}
	changes, err := c.source.Read(ctx, c.next, readBytes)
	if err != nil {
		return err
	}
	return c.add(ctx, changes)
}

// sendOriginals sends what was read at a time, which fits into a message.
func (c *changeStream) sendOriginals(ctx context.Context, originals [][]byte) error {
	c.next += uint64(len(originals))
	return c.sendUpTo(ctx, &metadatav1.StreamChangesResponse{Originals: originals})
}

// add sends those of some changes that are selected, in one message or in several if they are
// many, and none if none is.
func (c *changeStream) add(ctx context.Context, changes []*events.Change) error {
	for len(changes) > 0 {
		answer := new(metadatav1.StreamChangesResponse)
		n, some, err := c.fill(answer, changes)
		if err != nil {
			return err
		}
		c.next += uint64(n)
		changes = changes[n:]
		if some {
			if err := c.sendUpTo(ctx, answer); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill puts changes into a message until it is full, and returns how many it has looked at.
func (c *changeStream) fill(answer *metadatav1.StreamChangesResponse, changes []*events.Change) (n int, some bool, err error) {
	p := &page{json: c.json, count: len(changes), bytes: readBytes, empty: true}
	if c.json {
		p.bytes /= jsonGrowth
	}
	for _, change := range changes {
		full := false
		if selected, ok := match(change, c.filter, c.request.GetSelection().GetActor()); ok {
			full, err = p.putChange(&answer.Changes, 1, selected)
		}
		if err != nil || full {
			break
		}
		n++
	}
	p.into(answer)
	return n, !p.empty, err
}

// tell says how far it is.
func (c *changeStream) tell(ctx context.Context) error {
	return c.sendUpTo(ctx, new(metadatav1.StreamChangesResponse))
}

func (c *changeStream) sendUpTo(ctx context.Context, answer *metadatav1.StreamChangesResponse) error {
	bounds, err := c.source.Bounds(ctx)
	if err != nil {
		return err
	}
	answer.LookedAtRevision, answer.NewestRevision = c.next-1, bounds.Last
	c.told = answer.LookedAtRevision
	return c.send(answer)
}
