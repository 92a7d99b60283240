package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

const (
	// chunkTimeout bounds one chunk of a checkpoint.
	chunkTimeout = 5 * time.Second
	// offerPause is how long a checkpoint that could not be taken is left alone.
	offerPause = 500 * time.Millisecond
)

// send hands messages to the transport and tells raft which went nowhere.
func (s *stream[D]) send(messages []*raftpb.Message) {
	for _, m := range messages {
		if m.GetType() == raftpb.MsgSnap {
			s.startTransfer(m.GetTo(), m.GetSnapshot().GetMetadata().GetIndex())
		}
	}
	for _, m := range s.member.transport.Send(s.group, messages) {
		if m.GetType() == raftpb.MsgSnap {
			s.transferFailed(m.GetTo())
		}
		s.replica.ReportUnreachable(m.GetTo())
	}
}

// startTransfer notes that a member is offered a checkpoint, and keeps the file
// from being replaced while it is pulled.
func (s *stream[D]) startTransfer(to, index uint64) {
	s.endTransfer(to)
	s.sender.Started(to, index)
	p := &pin{index: index}
	p.mu.Lock() // until it is open; who reads a chunk waits
	s.pinned[to] = p
	s.life.jobs.Go(func() {
		defer p.mu.Unlock()
		r, err := s.member.store.OpenCheckpoint(s.group, index)
		if err != nil {
			s.member.log.Warn("offered checkpoint cannot be read", "stream", s.name, "index", index, "error", err)
			s.inputs.push(func() {
				if s.pinned[to] == p { // a newer one has replaced it, perhaps
					s.transferFailed(to)
				}
			})
			return
		}
		p.reader = r
	})
}

// pin is a checkpoint file kept open for a member that pulls it: newer checkpoints
// delete its name, not its bytes. It is opened, and chunks are read, beside the stream:
// opening reads the whole file's frames.
type pin struct {
	index  uint64
	mu     sync.RWMutex
	reader raftlog.CheckpointReader // nil when it could not be opened, or is closed
}

// read returns a chunk; false if the pin is not of this checkpoint, or not any more.
func (p *pin) read(index uint64, chunk uint32) (data []byte, ok bool, err error) {
	if p.index != index {
		return nil, false, nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.reader == nil {
		return nil, false, nil
	}
	data, err = p.reader.ReadChunk(chunk)
	return data, true, err
}

func (p *pin) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reader != nil {
		_ = p.reader.Close()
		p.reader = nil
	}
}

// endTransfer lets go of what a member was offered; false if there was nothing.
func (s *stream[D]) endTransfer(to uint64) bool {
	if p := s.pinned[to]; p != nil {
		s.life.jobs.Go(p.close) // a chunk may be being read
		delete(s.pinned, to)
	}
	return s.sender.Finished(to)
}

// transferFailed tells raft that a member did not get what it was offered, so that
// it offers again.
func (s *stream[D]) transferFailed(to uint64) {
	if s.endTransfer(to) {
		s.replica.ReportSnapshot(to, false)
	}
}

// writeCheckpoint carries out a job beside the stream.
func (s *stream[D]) writeCheckpoint(job *replica.CheckpointJob[D]) {
	s.life.jobs.Go(func() {
		start := time.Now()
		d, err := replica.WriteCheckpoint(s.life.ctx, pacedStore{s.member.store, s.life.ctx}, job)
		took := time.Since(start)
		if err == nil {
			s.member.wroteCheckpoint(s.life, HashOf(s.id, d, job.State.Head.FeatureLevel))
			s.checkpointTook.Store(int64(took))
			s.member.config.Observer.Checkpoint(s.id, took, d.Bytes)
		}
		s.inputs.push(func() { s.replica.CheckpointWritten(d, err) })
	})
}

// fetchCheckpoint transfers, stages and reads a checkpoint of another member.
func (s *stream[D]) fetchCheckpoint(f *replica.Fetch) {
	s.life.jobs.Go(func() {
		var state *projections.State[D]
		err := s.transfer(f)
		if err == nil {
			state, err = replica.ReadCheckpoint(s.member.store, f.Descriptor, s.replica.View())
		}
		if err != nil {
			s.member.log.Warn("checkpoint not transferred", "stream", s.name, "from", f.From, "error", err)
			s.life.jobs.Go(func() { s.giveUpSoon(f) })
		}
		s.inputs.push(func() { s.replica.Fetched(f, state, err) })
	})
}

// giveUpSoon has a checkpoint offered again that could not be taken.
func (s *stream[D]) giveUpSoon(f *replica.Fetch) {
	select {
	case <-time.After(offerPause):
		s.member.giveUp(s.life.ctx, f.From, s.id, f.Descriptor.Index)
	case <-s.life.ctx.Done():
	}
}

// transfer pulls a checkpoint's chunks into a staged file.
func (s *stream[D]) transfer(f *replica.Fetch) error {
	w, err := s.member.store.StageCheckpoint(s.group, f.Descriptor)
	if err != nil {
		return err
	}
	if err := s.pull(raftlog.NewReceiver(f.Descriptor, f.From, raftlog.ReceiverLimits{}), w); err != nil {
		return errors.Join(err, w.Abort())
	}
	_, err = w.Commit()
	return err
}

// arrival is the answer to one chunk request.
type arrival struct {
	chunk uint32
	data  []byte
	err   error
}

// pull runs a Receiver until it is done.
func (s *stream[D]) pull(r *raftlog.Receiver, w raftlog.CheckpointWriter) error {
	ctx, cancel := context.WithCancel(s.life.ctx)
	defer cancel()
	arrivals := make(chan arrival, raftlog.DefaultTransferWindow)
	ticks := time.NewTicker(s.member.config.Tick)
	defer ticks.Stop()
	for !r.Done() {
		for _, q := range r.Requests() {
			s.life.jobs.Go(func() { s.askChunk(ctx, q, arrivals) })
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
			if err := r.Tick(); err != nil {
				return err
			}
		case a := <-arrivals:
			if a.err != nil {
				r.Failed(a.chunk, a.err)
				continue
			}
			chunks, err := r.Chunk(a.chunk, a.data)
			if err != nil {
				return err
			}
			for _, c := range chunks {
				if err := w.WriteChunk(c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// askChunk asks a member for one chunk.
func (s *stream[D]) askChunk(ctx context.Context, q raftlog.ChunkRequest, arrivals chan<- arrival) {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	request, err := proto.Marshal(&metadatav1.CheckpointChunkRequest{Stream: s.id, Index: q.Index, Chunk: q.Chunk})
	var data []byte
	if err == nil {
		data, err = s.member.transport.Call(ctx, q.To, methodChunk, request)
	}
	select {
	case arrivals <- arrival{chunk: q.Chunk, data: data, err: err}:
	case <-ctx.Done():
	}
}

// serveChunk answers a member that pulls one of our checkpoints.
func (s *stream[D]) serveChunk(ctx context.Context, from uint64, q *metadatav1.CheckpointChunkRequest) ([]byte, error) {
	pinned := make(chan *pin, 1)
	s.inputs.push(func() {
		s.sender.Served(from, q.GetIndex())
		s.replica.Offered(from)
		pinned <- s.pinned[from]
	})
	select {
	case p := <-pinned:
		if p == nil {
			break
		}
		if data, ok, err := p.read(q.GetIndex(), q.GetChunk()); ok {
			return data, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.life.ctx.Done():
		return nil, s.member.notRunning()
	}
	// It was offered by an earlier leadership, or its transfer counted as idle.
	r, err := s.member.store.OpenCheckpoint(s.group, q.GetIndex())
	if err != nil {
		return nil, fmt.Errorf("checkpoint %d of stream %s: %w", q.GetIndex(), s.name, err)
	}
	defer func() { _ = r.Close() }()
	return r.ReadChunk(q.GetChunk())
}
