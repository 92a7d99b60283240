package member

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// history reads one stream's changes from the storage, for the feed.
type history struct {
	store  raftlog.Storage
	group  raftlog.GroupID
	stream metadatav1.Stream
}

// Read implements feed.History.
func (h *history) Read(from uint64, maxBytes int) ([]*events.Change, error) {
	records, err := h.store.ReadHistory(h.group, from, maxBytes)
	if gap, ok := errors.AsType[*raftlog.GapError](err); ok {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
			"this member has no %v changes before revision %d, but revision %d is asked for; ask another member", h.stream, gap.First, from)
	}
	if err != nil {
		return nil, fmt.Errorf("reading history of %v from revision %d: %w", h.stream, from, err)
	}
	changes := make([]*events.Change, 0, len(records))
	for _, r := range records {
		var stored metadatav1.HistoryRecord
		if err := proto.Unmarshal(r.Data, &stored); err != nil {
			return nil, fmt.Errorf("history of %v, revision %d: %w", h.stream, r.Seq, err)
		}
		c, err := events.DecodeChange(stored.GetChange())
		if err != nil {
			return nil, fmt.Errorf("history of %v, revision %d: %w", h.stream, r.Seq, err)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// Oldest implements feed.History. Nothing is ever trimmed yet: what this member
// lacks, it lacks because it joined by a checkpoint.
func (h *history) Oldest() uint64 { return 1 }
