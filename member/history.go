package member

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// storedHistory reads one stream's changes from the storage.
type storedHistory struct {
	store  raftlog.Storage
	group  raftlog.GroupID
	stream metadatav1.Stream
	floor  func() uint64 // the oldest revision that is kept; 0: nothing was trimmed
	// kept, unless nil, is told which digest was kept behind a revision, of each record
	// that is read, before Read returns.
	kept func(revision uint64, digest events.Digest)
}

// NewHistory returns what a storage holds of a stream's past. floor returns the oldest
// revision that is kept, 0 if nothing was trimmed; it is called from any goroutine. What lies
// before it is HISTORY_TRIMMED, whether or not the storage still has it.
func NewHistory(store raftlog.Storage, stream metadatav1.Stream, floor func() uint64) feed.History {
	return &storedHistory{store: store, group: groupOf(stream), stream: stream, floor: floor}
}

// storedOf returns what the member holds of a stream's past while the streams run.
func (m *Member) storedOf(r *running, id metadatav1.Stream) *storedHistory {
	return &storedHistory{
		store: m.store, group: groupOf(id), stream: id, floor: func() uint64 { return r.floor(id).OldestRevision() },
	}
}

// Read implements feed.History.
func (h *storedHistory) Read(from uint64, maxBytes int) ([]*events.Change, error) {
	return readStored(h, from, maxBytes, func(p *raftlog.Past) ([]*events.Change, error) {
		b, err := replica.DecodePast(p)
		switch {
		case err != nil:
			return nil, err
		case b.Stream != h.stream:
			return nil, fmt.Errorf("log entry %d belongs to stream %s", p.Entry, events.StreamName(b.Stream))
		case h.kept != nil:
			h.kept(p.Last, b.Digest)
		}
		return b.Changes, nil
	}, (*events.Change).Raw)
}

// Originals is Read for the bytes of the changes as logged.
func (h *storedHistory) Originals(from uint64, maxBytes int) ([][]byte, error) {
	return readStored(h, from, maxBytes, replica.SplitPast, func(raw []byte) []byte { return raw })
}

// readStored reads changes from a revision on, as many as fit into maxBytes, but at least one,
// in the form that open gives those of a record.
func readStored[C any](
	h *storedHistory, from uint64, maxBytes int, open func(*raftlog.Past) ([]C, error), raw func(C) []byte,
) (changes []C, err error) {
	if oldest := h.Oldest(); from < oldest {
		return nil, history.Trimmed(h.stream, from, oldest)
	}
	past, err := h.store.ReadHistory(h.group, from, maxBytes)
	if err != nil {
		return nil, h.explain(from, err)
	}
	size := 0
	for i := range past {
		opened, err := open(&past[i])
		if err != nil && len(changes) > 0 {
			return changes, nil // the error is for who reads on
		}
		if err != nil {
			return nil, h.damaged(max(from, past[i].First), past[i].Last, err)
		}
		for _, c := range opened[max(from, past[i].First)-past[i].First:] {
			if size += len(raw(c)); size > maxBytes && len(changes) > 0 {
				return changes, nil
			}
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// explain says what an error of the storage means to who reads history from a revision on.
func (h *storedHistory) explain(from uint64, err error) error {
	if gap, ok := errors.AsType[*raftlog.GapError](err); ok {
		return h.missing(gap.Seq)
	}
	if damage, ok := errors.AsType[*raftlog.DamageError](err); ok {
		return h.damaged(from, from, damage.Detail) // without the path, which is nobody's business
	}
	if err != nil {
		return fmt.Errorf("reading history of the %s stream from revision %d: %w", events.StreamName(h.stream), from, err)
	}
	return nil
}

// missing is the failure of a read of what this member lacks.
func (h *storedHistory) missing(revision uint64) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
		"this member was given a checkpoint and still lacks revision %d of the %s stream; ask another member", revision, events.StreamName(h.stream)).
		With("stream", h.stream.String()).With("revision", strconv.FormatUint(revision, 10))
}

// damaged is the failure of a read that found other bytes than were written. Members go on
// with it: what they fold comes from elsewhere.
func (h *storedHistory) damaged(first, last uint64, cause any) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED,
		"the history of the %s stream on this member is damaged at revisions %d to %d: %v; ask another member, and check this one's disk",
		events.StreamName(h.stream), first, last, cause).
		With("stream", h.stream.String()).With("revision", strconv.FormatUint(first, 10))
}

// Oldest implements feed.History. What this member lacks from there on, it lacks because it
// was given a checkpoint.
func (h *storedHistory) Oldest() uint64 { return max(h.floor(), 1) }

// holdsHistory answers a HistoryProbe: nil if this member has the revision.
func (m *Member) holdsHistory(r *running, payload []byte) error {
	var probe metadatav1.HistoryProbe
	if err := proto.Unmarshal(payload, &probe); err != nil {
		return err
	}
	if !known(probe.GetStream()) {
		return fmt.Errorf("stream %s is not known; the asking member may run a newer version", probe.GetStream())
	}
	changes, err := m.storedOf(r, probe.GetStream()).Read(probe.GetRevision(), 1)
	if err == nil && len(changes) == 0 {
		err = fmt.Errorf("revision %d of the %s stream is not in the history yet", probe.GetRevision(), events.StreamName(probe.GetStream()))
	}
	return err
}

// nameHolder adds to a HISTORY_GAP failure which member has what is missing.
func (m *Member) nameHolder(ctx context.Context, f *failure.Error) error {
	stream := metadatav1.Stream(metadatav1.Stream_value[f.Metadata["stream"]])
	revision, err := strconv.ParseUint(f.Metadata["revision"], 10, 64)
	if err != nil {
		return f
	}
	return m.nameWho(ctx, f, methodHistory, &metadatav1.HistoryProbe{Stream: stream, Revision: revision})
}

// nameBaseHolder adds to a HISTORY_GAP failure which member has a checkpoint of a revision.
func (m *Member) nameBaseHolder(ctx context.Context, f *failure.Error, stream metadatav1.Stream, revision uint64) error {
	return m.nameWho(ctx, f, methodBase, &metadatav1.HistoryBaseRequest{Stream: stream, Revision: revision})
}

// nameWho adds to a HISTORY_GAP failure which member answers a question without an error.
func (m *Member) nameWho(ctx context.Context, f *failure.Error, method uint8, question proto.Message) error {
	probe, err := proto.Marshal(question)
	if err != nil {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	holders := make([]bool, len(m.config.Peers))
	var wg sync.WaitGroup
	for i, p := range m.config.Peers {
		if p.ID != m.identity.Member {
			wg.Go(func() {
				_, err := m.transport.Call(ctx, p.ID, method, probe)
				holders[i] = err == nil
			})
		}
	}
	wg.Wait()
	for i, p := range m.config.Peers {
		if hello, _, _, ok := m.transport.Peer(p.ID); holders[i] && ok {
			named := f.With("member", strconv.FormatUint(p.ID, 10)).With("api_address", hello.Advertise)
			named.Message += fmt.Sprintf(": member %d at %s has it", p.ID, hello.Advertise)
			return named
		}
	}
	return f
}
