package past

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// recorded is the history of a stream that a member has recorded: of its newest run of
// revisions without gaps.
type recorded struct {
	path   string
	store  raftlog.Storage
	group  raftlog.GroupID
	origin history.Origin

	digests atomic.Pointer[history.Digests] // of what was read; nil until they are asked for
}

var _ interface {
	history.Fetcher
	history.DigestKeeper
} = (*recorded)(nil)

// Origin returns whose history it is.
func (r *recorded) Origin() history.Origin { return r.origin }

// Bounds returns what is recorded.
func (r *recorded) Bounds(context.Context) (history.Bounds, error) {
	nothing := history.Bounds{First: 1, Previous: events.FirstDigest(r.origin.Cluster, r.origin.Stream)}
	first, last, err := r.run()
	if err != nil || last == 0 {
		return nothing, err
	}
	past, err := r.record(first)
	if err != nil {
		return nothing, err
	}
	return history.Bounds{First: first, Last: last, Previous: past.Previous}, nil
}

// run returns the newest run of revisions without gaps; 0 and 0 if nothing is recorded.
func (r *recorded) run() (first, last uint64, err error) {
	if _, last, err = r.store.HistoryBounds(r.group); err != nil || last == 0 {
		return 0, 0, err
	}
	_, gap, err := r.store.HistoryGap(r.group, last+1)
	return gap + 1, last, err
}

// record reads the record that holds a revision.
func (r *recorded) record(revision uint64) (replica.Past, error) {
	past, err := r.store.ReadHistory(r.group, revision, 1)
	if err != nil {
		return replica.Past{}, r.explain(revision, err)
	}
	if len(past) == 0 {
		return replica.Past{}, r.damaged(revision, errors.New("it is missing"))
	}
	return r.decode(&past[0])
}

// decode reads a record and sees to it that it is of this stream.
func (r *recorded) decode(p *raftlog.Past) (replica.Past, error) {
	past, err := replica.DecodePast(p)
	if _, newer := errors.AsType[*events.UnsupportedError](err); newer {
		return past, err
	}
	if err != nil {
		return past, r.damaged(p.First, err)
	}
	if of := (history.Origin{Stream: past.Stream, Cluster: past.Cluster, RecoveryEpoch: past.RecoveryEpoch}); of != r.origin {
		return past, r.damaged(p.First, fmt.Errorf("log entry %d is of the %s stream of cluster %v, recovery epoch %d",
			p.Entry, events.StreamName(of.Stream), of.Cluster, of.RecoveryEpoch))
	}
	return past, nil
}

// Read returns changes as [history.Source] says.
func (r *recorded) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	fetched, err := r.Fetch(ctx, from, maxBytes)
	if err != nil || fetched.Last == 0 {
		return nil, err
	}
	changes, err := fetched.Decode()
	size := 0
	for i, c := range changes {
		if size += len(c.Raw()); size > maxBytes && i > 0 {
			return changes[:i], nil
		}
	}
	if len(changes) > 0 { // an error is for the next read, which begins at the damage
		return changes, nil
	}
	return nil, err
}

// Fetch reads records with their entries, for [history.Fetcher].
func (r *recorded) Fetch(_ context.Context, from uint64, maxBytes int) (history.Fetched, error) {
	past, err := r.store.ReadHistory(r.group, from, maxBytes)
	if err != nil || len(past) == 0 {
		return history.Fetched{}, r.explain(from, err)
	}
	return history.Fetched{
		Last:   past[len(past)-1].Last,
		Decode: func() ([]*events.Change, error) { return r.changes(past, from) },
	}, nil
}

// changes returns the changes in records from a revision on. With an error come those before the
// record that is damaged.
func (r *recorded) changes(past []raftlog.Past, from uint64) (changes []*events.Change, err error) {
	for i := range past {
		record, err := r.decode(&past[i])
		if err != nil {
			return changes, err
		}
		if digests := r.digests.Load(); digests != nil {
			digests.Note(past[i].Last, record.Digest)
		}
		skip := max(from, past[i].First) - past[i].First // decode has seen that these are the record's revisions
		changes = append(changes, record.Changes[skip:]...)
	}
	return changes, nil
}

// KeptDigest returns the digest that was recorded with the entry that holds a revision.
func (r *recorded) KeptDigest(_ context.Context, from uint64) (uint64, events.Digest, error) {
	if r.digests.CompareAndSwap(nil, new(history.Digests)) {
		// Reads note them from now on.
	} else if revision, digest, ok := r.digests.Load().Next(from); ok {
		return revision, digest, nil
	}
	past, err := r.store.ReadHistory(r.group, from, 1)
	if err != nil || len(past) == 0 {
		return 0, events.Digest{}, r.explain(from, err)
	}
	if len(past[0].Data) != len(events.Digest{}) {
		return 0, events.Digest{}, r.damaged(from, fmt.Errorf("the digest behind it has %d bytes", len(past[0].Data)))
	}
	return past[0].Last, events.Digest(past[0].Data), nil
}

// end returns the last revision and the digest recorded there; 0 if there is none.
func (r *recorded) end() (uint64, events.Digest, error) {
	_, last, err := r.store.HistoryBounds(r.group)
	if err != nil || last == 0 {
		return 0, events.Digest{}, err
	}
	past, err := r.record(last)
	return last, past.Digest, err
}

// explain says what an error of the storage means to readers of history.
func (r *recorded) explain(revision uint64, err error) error {
	name := events.StreamName(r.origin.Stream)
	if gap, ok := errors.AsType[*raftlog.GapError](err); ok {
		oldest, _, err := r.run()
		if err != nil {
			return err
		}
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
			"revision %d of the %s stream is not in %s: its history was trimmed, or it began with a checkpoint; the oldest revision there is %d; another member may have older ones",
			gap.Seq, name, r.path, oldest).
			With("oldest_revision", strconv.FormatUint(oldest, 10)).With("stream", r.origin.Stream.String())
	}
	if damage, ok := errors.AsType[*raftlog.DamageError](err); ok {
		return r.damaged(revision, errors.New(raftlog.Why(damage)))
	}
	return err
}

func (r *recorded) damaged(revision uint64, err error) error {
	return &history.DamagedError{Stream: r.origin.Stream, Revision: revision, Reason: err.Error()}
}
