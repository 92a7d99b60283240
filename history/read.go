package history

import (
	"context"
	"strconv"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ReadOne returns the change of a revision. One that the source has not come to is
// FUTURE_REVISION.
func ReadOne(ctx context.Context, source Source, revision uint64) (*events.Change, error) {
	changes, err := source.Read(ctx, revision, 1)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		bounds, err := source.Bounds(ctx)
		if err != nil {
			return nil, err
		}
		return nil, Future(source.Origin().Stream, revision, bounds.Last)
	}
	return changes[0], inPlace(source, changes[0], revision)
}

// inPlace reports whether a source gave the change of the revision that it was asked for.
func inPlace(source Source, c *events.Change, revision uint64) error {
	if c.Revision() == revision {
		return nil
	}
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED,
		"the history of the %s stream has change %d where %d should be; ask another member",
		events.StreamName(source.Origin().Stream), c.Revision(), revision)
}

// Earlier returns why a source has nothing before the bounds' first revision:
// HISTORY_TRIMMED, or what the source says; HISTORY_GAP if it has by now. First has to be above 1.
func Earlier(ctx context.Context, source Source, bounds Bounds) error {
	if _, err := source.Read(ctx, bounds.First-1, 1); err != nil {
		return err
	}
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
		"the history of the %s stream before revision %d was filled in at this moment; ask again",
		events.StreamName(source.Origin().Stream), bounds.First)
}

// Trimmed returns the failure HISTORY_TRIMMED of somebody who asks for a revision before
// the oldest one kept.
func Trimmed(s metadatav1.Stream, revision, oldest uint64) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
		"revision %d of the %s stream was trimmed; the oldest revision left is %d", revision, events.StreamName(s), oldest).
		With("oldest_revision", strconv.FormatUint(oldest, 10)).With("stream", s.String())
}

// Future returns the failure FUTURE_REVISION of somebody who asks for a revision behind
// the newest one.
func Future(s metadatav1.Stream, revision, newest uint64) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION,
		"revision %d of the %s stream is not here yet; the newest revision is %d", revision, events.StreamName(s), newest).
		With("newest_revision", strconv.FormatUint(newest, 10)).With("stream", s.String())
}

// Info returns who made a change, when, and by which request.
func Info(c *events.Change) *metadatav1.ChangeInfo {
	return &metadatav1.ChangeInfo{
		Stream:    c.Stream(),
		Revision:  c.Revision(),
		Time:      timestamppb.New(c.Time()),
		Actor:     c.Actor(),
		RequestId: c.RequestID(),
	}
}
