package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// Restore reads the model that a replica starts with: that of the newest checkpoint
// which can be read, and genesis, the state before the first change, when there is
// none yet. The checkpoint goes into Config.Log.Checkpoint; what the log holds after
// it is folded by the replica. A checkpoint that is damaged is passed over while
// there is an older one; a *events.UnsupportedError is final. Objects are not decoded,
// see ReadCheckpoint.
func Restore[D projections.Domain[D]](s raftlog.Storage, loaded *raftlog.Loaded, genesis *projections.State[D]) (*projections.State[D], *raftlog.Descriptor, error) {
	var failed []error
	for i := len(loaded.Checkpoints) - 1; i >= 0; i-- {
		d := loaded.Checkpoints[i]
		state, err := readCheckpoint(s, d, genesis)
		if err == nil {
			return state, &d, nil
		}
		failed = append(failed, err)
		if _, final := errors.AsType[*events.UnsupportedError](err); final {
			break
		}
	}
	return nil, nil, fmt.Errorf("replica: stream %s: no checkpoint can be read: %w", events.StreamName(genesis.Head.Stream), errors.Join(failed...))
}

// ReadCheckpoint reads the model of a finished checkpoint, current or staged, that
// need not be this member's own: checksums say nothing of what its sender put in, so
// every object is decoded once. genesis says which stream of which cluster it has to
// be. It runs on any goroutine.
func ReadCheckpoint[D projections.Domain[D]](s raftlog.Storage, d raftlog.Descriptor, genesis *projections.State[D]) (*projections.State[D], error) {
	state, err := readCheckpoint(s, d, genesis)
	if err != nil {
		return nil, err
	}
	if err := state.Verify(); err != nil {
		return nil, fmt.Errorf("replica: checkpoint at index %d: %w", d.Index, err)
	}
	return state, nil
}

// readCheckpoint trusts what is inside the objects: a restart of 100,000 tables would
// take several times as long otherwise, and what was written or taken over here
// decodes.
func readCheckpoint[D projections.Domain[D]](s raftlog.Storage, d raftlog.Descriptor, genesis *projections.State[D]) (*projections.State[D], error) {
	if d.Index == raftlog.GenesisIndex && d.Chunks == 0 {
		return genesis, nil
	}
	r, err := s.OpenCheckpoint(d.Group, d.Index)
	if err != nil {
		return nil, err
	}
	return readOpened(r, d, genesis)
}

// readOpened reads the model of an open checkpoint and closes it.
func readOpened[D projections.Domain[D]](r raftlog.CheckpointReader, d raftlog.Descriptor, genesis *projections.State[D]) (state *projections.State[D], err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	if have := r.Descriptor(); !have.Equal(d) {
		return nil, fmt.Errorf("replica: the checkpoint file at index %d has hash %x, wanted is %x", d.Index, have.Hash, d.Hash)
	}
	state, err = genesis.Import(records(r))
	if err != nil {
		return nil, fmt.Errorf("replica: checkpoint at index %d: %w", d.Index, err)
	}
	return state, checkHead(d, state.Head)
}

// checkHead reports whether a model is the one that its descriptor promises.
func checkHead(d raftlog.Descriptor, have projections.Head) error {
	want, err := projections.ReadHead(d.Meta)
	if err != nil {
		return fmt.Errorf("replica: descriptor of the checkpoint at index %d: %w", d.Index, err)
	}
	if have != want || have.Revision != d.Seq {
		return fmt.Errorf("replica: the checkpoint at index %d holds revision %d with digest %s, its descriptor says revision %d with digest %s",
			d.Index, have.Revision, have.Digest, want.Revision, want.Digest)
	}
	return nil
}

var errEnough = errors.New("enough")

// headMeta is the opaque part of a checkpoint's descriptor: the head record of the
// checkpoint, which is enough to refuse it before a byte of it is transferred.
func headMeta[D projections.Domain[D]](s *projections.State[D]) ([]byte, error) {
	var head []byte
	err := s.Export(func(record []byte) error {
		head = bytes.Clone(record)
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("replica: the model exports no head: %w", err)
	}
	return head, nil
}

// records yields the records of a checkpoint, see WriteCheckpoint. They stay valid. All
// but those that a chunk's end cuts in two are parts of their chunk: copying each chunk
// behind what was left over took a tenth of a restart's time.
func records(r raftlog.CheckpointReader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var rest []byte // of a record whose end is in the next chunk
		for i := range r.Descriptor().Chunks {
			packed, err := r.ReadChunk(i)
			if err != nil {
				yield(nil, err)
				return
			}
			chunk, err := unpack(packed)
			if err != nil {
				yield(nil, fmt.Errorf("replica: checkpoint at index %d, chunk %d: %w", r.Descriptor().Index, i, err))
				return
			}
			for len(chunk) > 0 {
				record, left, err := takeRecord(&rest, chunk)
				if err != nil {
					yield(nil, fmt.Errorf("replica: checkpoint at index %d, chunk %d: %w", r.Descriptor().Index, i, err))
					return
				}
				if record != nil && !yield(record, nil) {
					return
				}
				chunk = left
			}
		}
		if len(rest) > 0 {
			yield(nil, fmt.Errorf("replica: checkpoint at index %d ends inside a record", r.Descriptor().Index))
		}
	}
}

// takeRecord takes a record off a chunk, the beginning of which may be in rest, and
// returns what is left of the chunk. If the record's end is not there, all that is goes
// to rest.
func takeRecord(rest *[]byte, chunk []byte) (record, left []byte, err error) {
	b := chunk
	if len(*rest) > 0 {
		b = slices.Concat(*rest, chunk[:min(len(chunk), missing(*rest))])
	}
	record, n, err := nextRecord(b)
	if err != nil {
		return nil, nil, err
	}
	taken := len(*rest)
	if n == 0 { // all of b belongs to it
		*rest = bytes.Clone(b)
		return nil, chunk[len(b)-taken:], nil
	}
	*rest = nil
	return record, chunk[n-taken:], nil
}

// missing returns how many bytes a record lacks of which b is the beginning: one if
// not even its length is there.
func missing(b []byte) int {
	size, head := binary.Uvarint(b)
	if head <= 0 || size > MaxRecordBytes {
		return 1
	}
	return head + int(size) - len(b)
}
