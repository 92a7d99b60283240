// Package past reads the past for the commands of `heliosmeta history`: from a running
// service, from the directory of a stopped member, or from a file that was exported. To a
// command they are the same.
//
// What comes from a directory or a file is worked out here, by the packages that a member
// uses too; nothing in them is ever changed. A service is asked, but for what has to be
// certain without believing it: then its original bytes are read and folded here.
//
// Errors are those of the service, or failures with the same reasons. A Past may be used
// by several goroutines; Close it when nobody does.
package past

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The streams.
const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
	serviceStream  = metadatav1.Stream_STREAM_SERVICE
)

// Streams are all streams, in the order in which they are shown.
var Streams = []metadatav1.Stream{schemaStream, topologyStream, serviceStream}

// Past is what was, wherever it is read. A point that is nil is now.
type Past interface {
	// Name says what is read, for people.
	Name() string
	// ClusterName returns the name of the cluster.
	ClusterName(ctx context.Context) (string, error)
	// Streams returns the streams that there are.
	Streams() []metadatav1.Stream
	// Watch has progress told of how many changes were read to answer, where that is done here
	// and not by a service. It is called before any other method; progress, from any goroutine.
	Watch(progress export.Progress)

	// Source returns the changes of a stream as they were logged.
	Source(ctx context.Context, stream metadatav1.Stream) (history.Source, error)
	// Beginning returns the oldest state that a source's changes can be folded into.
	Beginning(ctx context.Context, stream metadatav1.Stream) (State, error)
	// Heads returns the signed heads of a stream, oldest first.
	Heads(ctx context.Context, stream metadatav1.Stream) ([]*metadatav1.SignedHead, error)
	// Said returns what is said of a stream that a replay can be held against, by revision.
	Said(ctx context.Context, stream metadatav1.Stream) ([]Said, error)

	// Changes yields the changes that a selection selects. An error is the last thing that it
	// yields.
	Changes(ctx context.Context, selection *metadatav1.ChangeSelection, newestFirst bool) iter.Seq2[*metadatav1.Change, error]
	// Follow yields those behind the first revision of the selection for ever, as they come.
	Follow(ctx context.Context, selection *metadatav1.ChangeSelection) iter.Seq2[*metadatav1.Change, error]
	// ObjectLog yields the changes of an object from a first to a last revision, newest
	// first; a last one of 0 is the newest.
	ObjectLog(ctx context.Context, ref *metadatav1.ObjectRef, first, last uint64) iter.Seq2[*metadatav1.ObjectChange, error]

	// Table, Tables and Topology return what there was, in one answer.
	Table(ctx context.Context, ref *metadatav1.TableRef, at *metadatav1.HistoryPoint) (*metadatav1.GetTableAsOfResponse, error)
	Tables(ctx context.Context, namespace string, at *metadatav1.HistoryPoint) (*metadatav1.ListTablesAsOfResponse, error)
	Topology(ctx context.Context, at *metadatav1.HistoryPoint) (*metadatav1.GetTopologyAsOfResponse, error)
	// Diff returns how a stream's objects differ, all in one answer.
	Diff(ctx context.Context, stream metadatav1.Stream, from, to *metadatav1.HistoryPoint) (*metadatav1.DiffRevisionsResponse, error)

	// Close gives back what was opened.
	Close() error
}

// Said is what somebody says of a stream at a revision.
type Said struct {
	By   string // for people
	Head *metadatav1.GetHeadResponse
	// OnlyDigest: the head has a cluster, a revision and a digest, and nothing else.
	OnlyDigest bool
	// Err says why nothing was said; then there is no head.
	Err error
}

// bySaid puts what was said in order: what was not comes first.
func bySaid(all []Said) []Said {
	slices.SortStableFunc(all, func(a, b Said) int { return cmp.Compare(a.Head.GetRevision(), b.Head.GetRevision()) })
	return all
}

// noStream is the failure of somebody who asks for a stream that is not there.
func noStream(where string, stream metadatav1.Stream) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "%s does not hold the %s stream", where, events.StreamName(stream))
}

// Revision returns the revision that a point is in a source; of nil, the newest.
func Revision(ctx context.Context, source history.Source, at *metadatav1.HistoryPoint) (uint64, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	switch p := at.GetPoint().(type) {
	case *metadatav1.HistoryPoint_Time:
		return history.AtTime(ctx, source, p.Time.AsTime())
	case *metadatav1.HistoryPoint_Revision:
		if p.Revision > bounds.Last {
			return 0, history.Future(source.Origin().Stream, p.Revision, bounds.Last)
		}
		return p.Revision, nil
	}
	return bounds.Last, nil
}
