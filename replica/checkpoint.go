package replica

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/golang/snappy"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// checkpoints decides when the model is written out. The choice depends on the log
// alone, so that all members write the same checkpoints and can compare their hashes.
type checkpoints struct {
	newest  raftlog.Descriptor // current one
	chosen  uint64             // revision of the last one that was due
	grown   uint64             // bytes of changes since then
	writing bool
	kept    map[uint64]*keep // by member
}

// keep says that the log stays as it is for a member that is being caught up: it receives a
// checkpoint of which raft knows, or is rebuilt out of a quarantine from an offer.
type keep struct {
	cuts    int  // put off for it in a row, MaxPinnedCuts at most
	offered bool // for a rebuild
	ended   bool // the rebuild has; raft has yet to hear that the member follows
	idle    int  // ticks since it was heard of last, while offered or ended
}

func (c *checkpoints) begin(d raftlog.Descriptor) {
	c.newest, c.chosen, c.grown = d, d.Seq, 0
}

// considerCheckpoint hands out a job when one is due at this entry. If the last one
// is still being written, this one is left out.
func (r *Replica[D]) considerCheckpoint(e *raftlog.Entry) {
	c, head := &r.checkpts, r.state.Head
	enough := max(r.cfg.CheckpointBytes, min(uint64(r.state.Model.Size())/2, MaxCheckpointGrowth))
	if head.Revision-c.chosen < r.cfg.CheckpointRevisions && c.grown < enough {
		return
	}
	c.chosen, c.grown = head.Revision, 0
	if c.writing {
		r.log.Warn("checkpoint left out: the one before is still being written", "revision", head.Revision)
		return
	}
	meta, err := headMeta(r.state)
	if err != nil {
		r.log.Error("checkpoint left out", "revision", head.Revision, "error", err)
		return
	}
	c.writing = true
	r.out.Checkpoint = &CheckpointJob[D]{State: r.state, Descriptor: raftlog.Descriptor{
		Format: raftlog.DescriptorFormat, Group: r.cfg.Log.Group, Index: e.Index, Term: e.Term,
		ConfState: proto.Clone(r.conf).(*pb.ConfState), Seq: head.Revision, Meta: meta,
	}}
}

// CheckpointWritten reports how a job ended, with the descriptor that WriteCheckpoint
// returned. The log before it is cut; history stays. A failure is not fatal: the next
// one that is due may succeed.
func (r *Replica[D]) CheckpointWritten(d raftlog.Descriptor, err error) {
	if r.failed != nil {
		return
	}
	r.checkpts.writing = false
	if err == nil {
		err = r.group.Cut(r.cutFor(d), d)
	}
	if err != nil {
		r.stats.Failures++
		r.log.Error("checkpoint not written", "error", err)
		return
	}
	r.stats.Checkpoints++
	if d.Index > r.checkpts.newest.Index {
		r.checkpts.newest = d
	}
}

// cutFor returns up to where the log may be cut. Entries before the checkpoint keep
// short gaps of other members cheap, at a cost of memory that is bounded; and while a member is being caught up the
// log stays as it is, or it would need another checkpoint right after.
func (r *Replica[D]) cutFor(d raftlog.Descriptor) uint64 {
	c, progress := &r.checkpts, r.group.Status().Progress
	for id, p := range progress {
		if p.State == progressSnapshot {
			c.keep(id)
		}
	}
	wait := false
	for id, k := range c.kept {
		state := progress[id].State
		if !k.offered && state != progressSnapshot && (!k.ended || state == progressReplicate) {
			delete(c.kept, id)
		} else if k.cuts < MaxPinnedCuts {
			k.cuts++
			wait = true
		}
	}
	if wait {
		return 0
	}
	for _, k := range c.kept {
		k.cuts = 0 // who still needs the log begins anew with a newer checkpoint
	}
	return max(d.Index-min(d.Index, r.cfg.TrailingEntries), r.group.Before(d.Index, MaxTrailingBytes))
}

// keep has the log stay for a member.
func (c *checkpoints) keep(id uint64) *keep {
	if c.kept == nil {
		c.kept = make(map[uint64]*keep)
	}
	if c.kept[id] == nil {
		c.kept[id] = &keep{}
	}
	return c.kept[id]
}

// tick forgets offers of which nobody has heard for a long time.
func (c *checkpoints) tick() {
	for id, k := range c.kept {
		if k.idle++; (k.offered || k.ended) && k.idle >= OfferIdleTicks {
			delete(c.kept, id)
		}
	}
}

// progressSnapshot is raftlog.Progress.State of a member that needs a checkpoint,
// progressReplicate of one that is known to follow the log.
const progressSnapshot, progressReplicate = "snapshot", "replicate"

// WriteCheckpoint carries out a job: it exports the model, in records that are cut
// into chunks, to a file of the storage. It runs on a goroutine of the driver, beside
// the replica, and gives up when ctx ends. Equal models give equal bytes.
//
// The chunks, each of which is packed with snappy by itself, are together one stream of
// records, each with its length before it (unsigned varint). Tables are much alike: packed
// they take a third of the room on disks and links.
func WriteCheckpoint[D projections.Domain[D]](ctx context.Context, s raftlog.Storage, job *CheckpointJob[D]) (raftlog.Descriptor, error) {
	w, err := s.CreateCheckpoint(job.Descriptor.Group, job.Descriptor)
	if err != nil {
		return raftlog.Descriptor{}, err
	}
	return export(ctx, w, job.State, job.ChunkBytes)
}

// export writes a model to the file of a checkpoint, and finishes or deletes it.
func export[D projections.Domain[D]](ctx context.Context, w raftlog.CheckpointWriter, state *projections.State[D], chunkBytes int) (raftlog.Descriptor, error) {
	chunks := chunker{write: w.WriteChunk, size: min(cmp.Or(chunkBytes, DefaultChunkBytes), MaxChunkBytes)}
	err := state.Export(func(record []byte) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return chunks.record(record)
	})
	if err == nil {
		err = chunks.flush()
	}
	if err != nil {
		return raftlog.Descriptor{}, errors.Join(err, w.Abort())
	}
	return w.Commit()
}

const (
	// DefaultChunkBytes is the size of all chunks of a checkpoint but the last, unpacked.
	DefaultChunkBytes = 256 << 10
	// MaxChunkBytes bounds what a chunk is unpacked to.
	MaxChunkBytes = 1 << 20
)

type chunker struct {
	size   int // of all chunks but the last, unpacked
	buf    []byte
	packed []byte // room for a packed chunk
	write  func([]byte) error
}

// pack writes a chunk.
func (c *chunker) pack(chunk []byte) error {
	c.packed = snappy.Encode(c.packed[:cap(c.packed)], chunk)
	return c.write(c.packed)
}

// unpack returns what pack was given.
func unpack(packed []byte) ([]byte, error) {
	size, err := snappy.DecodedLen(packed)
	if err == nil && size > MaxChunkBytes {
		return nil, fmt.Errorf("a chunk of %d bytes, the limit MaxChunkBytes is %d", size, MaxChunkBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("a chunk that cannot be unpacked: %w", err)
	}
	chunk, err := snappy.Decode(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("a chunk that cannot be unpacked: %w", err)
	}
	return chunk, nil
}

func (c *chunker) record(b []byte) error {
	if len(b) == 0 || len(b) > MaxRecordBytes {
		return fmt.Errorf("replica: a checkpoint record of %d bytes, the limit MaxRecordBytes is %d", len(b), MaxRecordBytes)
	}
	c.buf = binary.AppendUvarint(c.buf, uint64(len(b)))
	c.buf = append(c.buf, b...)
	for len(c.buf) >= c.size {
		if err := c.pack(c.buf[:c.size]); err != nil {
			return err
		}
		c.buf = append(c.buf[:0], c.buf[c.size:]...)
	}
	return nil
}

func (c *chunker) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	return c.pack(c.buf)
}

// nextRecord takes the first record off b and says how many bytes that is; 0 if b
// does not hold a whole one.
func nextRecord(b []byte) (record []byte, n int, err error) {
	size, head := binary.Uvarint(b)
	switch {
	case head < 0 || size > MaxRecordBytes || (head > 0 && size == 0):
		return nil, 0, fmt.Errorf("a record of %d bytes, the limit MaxRecordBytes is %d", size, MaxRecordBytes)
	case head == 0 || uint64(len(b)-head) < size:
		return nil, 0, nil
	}
	n = head + int(size)
	return b[head:n:n], n, nil
}
