package consistency

import (
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkReads checks every answer that names a position: it shows what the log says
// at that position, which was committed by then and is not before the one that was
// asked for. A write that changed nothing, and a dry run, are right at theirs.
func checkReads(c *trial) (found []Violation) {
	for _, o := range c.ops {
		if !o.answered() {
			continue
		}
		if streamOf(o.Request) == serviceStream {
			found = append(found, c.wrongWithoutPosition(o)...)
			continue
		}
		position := positionOf(o.Response)
		if position == nil {
			found = append(found, broken(WrongRead, []*Op{o}, "the answer has no position"))
			continue
		}
		if why := c.impossible(position, o.Ended); why != "" {
			found = append(found, broken(AheadOfCommit, []*Op{o}, "an answer is at %s", why))
			continue
		}
		if why := c.wrongAnswer(o, position); why != "" {
			found = append(found, broken(WrongRead, []*Op{o}, "%s", why))
		}
	}
	return found
}

// wrongWithoutPosition checks an answer of the service stream, which names no revision: it
// was true at one that was committed. Those that have to be fresh are judged in their
// order, see checkOrder.
func (c *trial) wrongWithoutPosition(o *Op) []Violation {
	line := c.lines[serviceStream]
	if newest := line.newest(o.Ended); !isWrite(o.Request) && !linearizable(o) && !c.holdsWithin(o, line, 0, newest) {
		return []Violation{broken(WrongRead, []*Op{o}, "the consumer was like that at none of the revisions 0 to %d of %s", newest, nameOf(line.stream))}
	}
	return nil
}

// impossible returns what of a position cannot have been seen at a time, or "".
func (c *trial) impossible(p *metadatav1.Position, at time.Duration) string {
	if c.truth.Cluster != [len(c.truth.Cluster)]byte{} && p.GetClusterId() != c.truth.Cluster.String() {
		return "a position of cluster " + p.GetClusterId()
	}
	for _, s := range positioned {
		if why := c.lines[s].ahead(revisionOf(p, s), at); why != "" {
			return why
		}
	}
	return ""
}

// wrongAnswer returns what is wrong with an answer at its position, or "".
func (c *trial) wrongAnswer(o *Op, position *metadatav1.Position) string {
	line := c.lines[streamOf(o.Request)]
	revision := revisionOf(position, line.stream)
	if _, changed := o.changed(); changed {
		return "" // compared with its change by checkOnce
	}
	if isWrite(o.Request) {
		return c.wrongUnchanged(o, line, revision)
	}
	read := readOptionsOf(o.Request)
	if asked := revisionOf(read.GetAtLeast(), line.stream); read.GetConsistency() == metadatav1.Consistency_CONSISTENCY_AT_LEAST && revision < asked && !laterPage(o) {
		return "the answer is before the position that was asked for"
	}
	if _, beat := o.Request.(*metadatav1.HeartbeatRequest); beat {
		return "" // judged in its order by checkOrder
	}
	return line.mismatch(o.Request, o.Response, revision)
}

func laterPage(o *Op) bool {
	p, ok := o.Request.(interface{ GetPageToken() string })
	return ok && p.GetPageToken() != ""
}

// wrongUnchanged returns what is wrong with the answer that a write changed
// nothing, or would change something, or "".
func (c *trial) wrongUnchanged(o *Op, line *timeline, revision uint64) string {
	if c.writeHolds(o, line.at(revision), revision) {
		return ""
	}
	v := line.at(revision).judge(o.Request)
	return "at that position the command " + describe(v)
}

func describe(v verdict) string {
	switch {
	case v.reason != accepted:
		return "is refused: " + v.reason.String()
	case v.changed:
		return "changes something"
	}
	return "changes nothing"
}
