package consistency

import (
	"cmp"
	"slices"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// point is something that happened at one moment between two times, at a revision:
// one that is known, or one of those at which the answer was true.
type point struct {
	op        *Op
	call, end time.Duration
	exact     bool
	revision  uint64 // if exact; otherwise the one chosen
}

// checkOrder checks that the linearizable operations of a stream, in the order in
// which they followed one another in real time, saw revisions that never go back,
// whatever objects they were about. An operation that began after somebody had seen
// a revision sees that one or a later one. Answers that name no revision (most
// rejections) have to be true at one that fits: the lowest such is the best choice,
// because it leaves most room to what follows.
func checkOrder(c *trial) (found []Violation) {
	for _, s := range streams {
		found = append(found, c.sweep(c.lines[s], c.points(s))...)
	}
	return found
}

// points returns what was linearizable, by when it began.
func (c *trial) points(s metadatav1.Stream) (all []*point) {
	for _, w := range c.writes {
		if w.stream == s && w.change != nil && w.acked() != never {
			all = append(all, &point{w.ops[0], w.began, w.acked(), true, w.revision()})
		}
	}
	for _, o := range c.ops {
		if _, changed := o.changed(); streamOf(o.Request) != s || changed || !linearizable(o) {
			continue
		}
		p := &point{op: o, call: o.Began, end: o.Ended}
		if _, beat := o.Request.(*metadatav1.HeartbeatRequest); o.answered() && !beat && s != serviceStream {
			p.exact, p.revision = true, revisionOf(positionOf(o.Response), s)
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b *point) int { return cmp.Compare(a.call, b.call) })
	return all
}

// linearizable reports whether an answer speaks of a state no older than the
// operation.
func linearizable(o *Op) bool {
	if !o.answered() && !o.rejected() {
		return false
	}
	if isWrite(o.Request) {
		return true
	}
	if !o.answered() && o.Reason != notFound && o.Reason != staleEpoch {
		return false // an answer about the request, not about the state
	}
	if _, ok := o.Request.(*metadatav1.HeartbeatRequest); ok {
		return true
	}
	if p, ok := o.Request.(interface{ GetPageToken() string }); ok && p.GetPageToken() != "" {
		return false // shows the revision of the first page
	}
	switch readOptionsOf(o.Request).GetConsistency() {
	case metadatav1.Consistency_CONSISTENCY_UNSPECIFIED, metadatav1.Consistency_CONSISTENCY_LINEARIZABLE:
		return true
	case metadatav1.Consistency_CONSISTENCY_AT_LEAST:
		return streamOf(o.Request) == serviceStream // positions do not cover it
	}
	return false
}

func (c *trial) sweep(line *timeline, points []*point) (found []Violation) {
	byEnd := slices.Clone(points)
	slices.SortStableFunc(byEnd, func(a, b *point) int { return cmp.Compare(a.end, b.end) })
	var floor uint64
	var witness *Op
	for _, p := range points {
		for len(byEnd) > 0 && byEnd[0].end < p.call {
			if byEnd[0].revision > floor {
				floor, witness = byEnd[0].revision, byEnd[0].op
			}
			byEnd = byEnd[1:]
		}
		if seen := line.settled(p.call); seen > floor {
			floor, witness = seen, nil
		}
		if p.exact {
			if p.revision < floor {
				found = append(found, broken(OutOfOrder, []*Op{p.op, c.witness(line, witness, floor, p.call)},
					"an operation that began at %v got revision %d of %s, but revision %d had been seen before", p.call, p.revision, nameOf(line.stream), floor))
			}
			continue
		}
		if v, ok := c.choose(line, p, floor); !ok {
			v.Ops = append(v.Ops, slices.DeleteFunc([]*Op{c.witness(line, witness, floor, p.call)}, func(o *Op) bool { return o == nil })...)
			found = append(found, v)
		}
	}
	return found
}

// choose finds the lowest revision at which an answer without a position was true.
func (c *trial) choose(line *timeline, p *point, floor uint64) (Violation, bool) {
	newest := line.newest(p.end)
	for revision := floor; revision <= newest; revision++ {
		if c.holds(p.op, line, revision) {
			p.revision = revision
			return Violation{}, true
		}
	}
	p.revision = floor
	for revision := floor; revision > 0; revision-- {
		if c.holds(p.op, line, revision-1) {
			return broken(WrongRejection, []*Op{p.op}, "%s was true up to revision %d of %s at the latest, but the operation began after revision %d had been seen",
				failure.Name(p.op.Reason), revision-1, nameOf(line.stream), floor), false
		}
	}
	return broken(WrongRejection, []*Op{p.op}, "%s was true at none of the revisions %d to %d of %s that the operation can have seen; at the first: %v",
		failure.Name(p.op.Reason), floor, newest, nameOf(line.stream), line.at(floor)), false
}

// settled returns the highest revision that had been seen before a time.
func (t *timeline) settled(before time.Duration) uint64 {
	n, _ := slices.BinarySearchFunc(t.latest, before, func(at, before time.Duration) int {
		if at < before {
			return -1
		}
		return 1
	})
	return uint64(max(n, 1) - 1)
}

// witness returns an operation that saw a revision before a time; nil if it was no
// operation that did.
func (c *trial) witness(line *timeline, known *Op, revision uint64, before time.Duration) *Op {
	if known != nil {
		return known
	}
	for _, o := range c.ops {
		if o.answered() && o.Ended < before && revisionOf(positionOf(o.Response), line.stream) >= revision {
			return o
		}
	}
	return nil
}
