package client

import (
	"cmp"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	linearizable = metadatav1.Consistency_CONSISTENCY_LINEARIZABLE
	atLeast      = metadatav1.Consistency_CONSISTENCY_AT_LEAST
)

// Position returns the highest position that answers to this client have shown, merged; nil
// if none has shown one yet. Handed to another client's Observe it lets that one read what
// this one has seen.
func (c *Client) Position() *metadatav1.Position { return c.seen.Position() }

// Observe takes a position that somebody else has seen: reads AT_LEAST without a position,
// and the Get reads of caches, show at least that from now on. A position without a cluster is
// ignored.
func (c *Client) Observe(p *metadatav1.Position) {
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
	if written {
		c.wrote.Learn(p)
	}
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
