package client

import (
	"cmp"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	linearizable = metadatav1.Consistency_CONSISTENCY_LINEARIZABLE
	atLeast      = metadatav1.Consistency_CONSISTENCY_AT_LEAST
)

// Position returns the highest position that answers to this client, its caches and its
// Watches have shown, merged; nil if none has shown one yet. Handed to another client's
// Observe it lets that one read what this one has seen.
func (c *Client) Position() *metadatav1.Position { return c.seen.Position() }

// Observe takes a position that somebody else has seen: reads AT_LEAST without a position,
// and the Get reads of caches, show at least that from now on. A position without a cluster,
// or of another one than this client's, is ignored.
func (c *Client) Observe(p *metadatav1.Position) {
	if own := c.cluster.Load(); own != nil && *own != p.GetClusterId() {
		return
	}
	c.seen.Learn(p)
	c.wrote.Learn(p)
}

// learn notes what an answer has shown.
func (c *Client) learn(answer any, written bool) {
	p := positionOf(answer)
	if p == nil {
		return
	}
	c.known.learn(p)
	c.seen.Learn(p)
	c.wrote.ForgetOthers(p.GetClusterId()) // observed before it was known whose client this is
	if written {
		c.wrote.Learn(p)
	}
}

// watched learns what the frames of one Watch show.
type watched struct {
	client *Client
	at     *metadatav1.Position // nil: not known
}

func (w *watched) see(m *metadatav1.SubscribeResponse) {
	switch f := m.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Bookmark:
		w.at = proto.CloneOf(f.Bookmark.GetPosition())
	case *metadatav1.SubscribeResponse_Changes:
		if all := f.Changes.GetChanges(); w.at != nil && len(all) > 0 {
			follow.SetRevision(w.at, f.Changes.GetStream(), all[len(all)-1].GetRevision())
		}
	case *metadatav1.SubscribeResponse_Reset_, *metadatav1.SubscribeResponse_Snapshot:
		w.at = nil // a bookmark will say in which life of the cluster that is
	}
	w.client.seen.Learn(w.at)
}

// lostSight reports whether a read failed because what the client has seen was lost: the
// cluster was restored from a backup since. Then it is forgotten.
func (c *Client) lostSight(err error) bool {
	if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION {
		return false
	}
	c.seen.Forget()
	return true
}

// withOwn returns a read as the service is to have it.
func withOwn[Q proto.Message](c *Client, req Q) (own Q, filled bool) {
	q, reads := any(req).(interface {
		GetRead() *metadatav1.ReadOptions
	})
	if !reads {
		return req, false
	}
	asked := q.GetRead().GetConsistency()
	wanted := cmp.Or(asked, c.opts.Consistency)
	if wanted != atLeast {
		if wanted == asked {
			return req, false
		}
		return withConsistency(req, wanted, nil), false
	}
	if q.GetRead().GetAtLeast() != nil {
		return req, false
	}
	seen := c.seen.Position()
	if seen == nil {
		return withConsistency(req, linearizable, nil), false
	}
	return withConsistency(req, atLeast, seen), true
}

// withConsistency returns a read with other options.
func withConsistency[Q proto.Message](req Q, consistency metadatav1.Consistency, p *metadatav1.Position) Q {
	return withField(req, "read", &metadatav1.ReadOptions{Consistency: consistency, AtLeast: p})
}
