package follow

import (
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxQuestions bounds the answers that are not shown yet. While there are so many, further
// ones are left out: the oldest is shown first.
const maxQuestions = 8

// Freshness is how old what a cache shows can be, for certain. The subscription cannot
// tell: a frame does not say how long it was on its way, and a member that is cut off knows
// no more than it was told. So the cache asks, with linearizable reads, where the streams
// are: once it shows as much as the answer says, all that was committed before it asked is
// shown. The zero value knows nothing. It is for one goroutine at a time.
type Freshness struct {
	since   time.Time // all that was committed before is shown; zero: nothing is known
	waiting []question
}

// question is an answer that is not shown yet.
type question struct {
	asked  time.Time
	newest *metadatav1.Position
}

// NewestSchema is the read whose answer says where the schema is.
func NewestSchema() *metadatav1.ListNamespacesRequest {
	return &metadatav1.ListNamespacesRequest{PageSize: 1, Read: now()}
}

// NewestTopology is the read whose answer says where the topology is.
func NewestTopology() *metadatav1.ListNodesRequest {
	return &metadatav1.ListNodesRequest{PageSize: 1, Read: now()}
}

func now() *metadatav1.ReadOptions {
	return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LINEARIZABLE}
}

// Newest returns where both streams are, by the positions of those answers: each is to be
// believed of its own stream.
func Newest(schema, topology *metadatav1.Position) *metadatav1.Position {
	return &metadatav1.Position{
		ClusterId: schema.GetClusterId(), RecoveryEpoch: schema.GetRecoveryEpoch(),
		SchemaRevision: schema.GetSchemaRevision(), TopologyRevision: topology.GetTopologyRevision(),
	}
}

// Answered takes where the streams were when they were asked, and when that was: before the
// question was sent, by the clock that the caller measures ages with.
func (f *Freshness) Answered(asked time.Time, newest *metadatav1.Position) {
	if len(f.waiting) < maxQuestions {
		f.waiting = append(f.waiting, question{asked, newest})
	}
}

// Shown takes the position that is shown now.
func (f *Freshness) Shown(p *metadatav1.Position) {
	waiting := f.waiting[:0]
	for _, q := range f.waiting {
		switch {
		case !Covers(p, q.newest):
			waiting = append(waiting, q)
		case q.asked.After(f.since):
			f.since = q.asked
		}
	}
	f.waiting = waiting
}

// Since returns a time such that all that was committed before is shown; the zero time: none
// is known.
func (f *Freshness) Since() time.Time { return f.since }

// Behind returns when the oldest question was asked whose answer is not shown yet, and that
// answer; nil: there is none.
func (f *Freshness) Behind() (asked time.Time, newest *metadatav1.Position) {
	for _, q := range f.waiting {
		if newest == nil || q.asked.Before(asked) {
			asked, newest = q.asked, q.newest
		}
	}
	return asked, newest
}

// Forget leaves out the answers that are not shown yet.
func (f *Freshness) Forget() { f.waiting = nil }
