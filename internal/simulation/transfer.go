package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// chunkRequest asks a member for one chunk of a checkpoint.
type chunkRequest struct {
	stream metadatav1.Stream
	index  uint64
	chunk  uint32
}

// chunkTimeout bounds one chunk.
const chunkTimeout = 5 * time.Second

// startTransfer notes that a member is offered a checkpoint, and keeps the file from
// being replaced while it is pulled.
func (s *stream[D]) startTransfer(to, index uint64) {
	s.endTransfer(to)
	s.sender.Started(to, index)
	if r, err := s.m.store.OpenCheckpoint(s.group, index); err == nil {
		s.pinned[to] = r
	}
}

// endTransfer lets go of what a member was offered; false if there was nothing.
func (s *stream[D]) endTransfer(to uint64) bool {
	delete(s.pinned, to)
	return s.sender.Finished(to)
}

// transferFailed tells raft that a member did not get what it was offered.
func (s *stream[D]) transferFailed(to uint64) {
	if s.endTransfer(to) {
		s.replica.ReportSnapshot(to, false)
	}
}

// serveChunk answers a member that pulls one of our checkpoints.
func (s *stream[D]) serveChunk(from uint64, q chunkRequest) ([]byte, error) {
	s.sender.Served(from, q.index)
	s.replica.Offered(from)
	if r := s.pinned[from]; r != nil && r.Descriptor().Index == q.index {
		return r.ReadChunk(q.chunk)
	}
	r, err := s.m.store.OpenCheckpoint(s.group, q.index)
	if err != nil {
		return nil, err
	}
	return r.ReadChunk(q.chunk)
}

// writeCheckpoint carries out a job beside the stream.
func (s *stream[D]) writeCheckpoint(job *replica.CheckpointJob[D]) {
	m := s.m
	job.ChunkBytes = m.chunkBytes()
	wrong := m.goesWrong()
	if wrong {
		job.ChunkBytes = wrongChunks
	}
	m.later(around(m.w.rng, m.w.plan.disk.sync*4+m.disk.slow), func() {
		d, err := replica.WriteCheckpoint(context.Background(), m.store, job)
		if m.disk.failed(err) {
			return
		}
		if err == nil {
			m.w.counts.add("checkpoints", 1)
		}
		s.push(func() { s.replica.CheckpointWritten(d, err) })
		if err == nil {
			m.wrote(s.id, d, job.State.Head.FeatureLevel, wrong)
		}
	})
}

// transfer is a checkpoint being pulled from another member.
type transfer[D any] struct {
	receiver *raftlog.Receiver
	file     raftlog.CheckpointWriter
	over     bool
}

// fetchCheckpoint transfers, stages and reads a checkpoint of another member.
func (s *stream[D]) fetchCheckpoint(f *replica.Fetch) {
	m := s.m
	m.log("%s: pulls checkpoint %d (revision %d, %d chunks) from m%d", events.StreamName(s.id), f.Descriptor.Index, f.Descriptor.Seq, f.Descriptor.Chunks, f.From)
	m.w.counts.add("transfers begun", 1)
	m.w.transferBegins(m.w.member(f.From), m)
	file, err := m.store.StageCheckpoint(s.group, f.Descriptor)
	if err != nil {
		s.fetched(f, err)
		return
	}
	t := &transfer[D]{receiver: raftlog.NewReceiver(f.Descriptor, f.From, raftlog.ReceiverLimits{}), file: file}
	s.pull(f, t)
	s.tickTransfer(f, t)
}

// tickTransfer passes time to a transfer.
func (s *stream[D]) tickTransfer(f *replica.Fetch, t *transfer[D]) {
	s.m.later(s.m.w.plan.tick, func() {
		if t.over {
			return
		}
		if err := t.receiver.Tick(); err != nil {
			s.endPull(f, t, err)
			return
		}
		s.pull(f, t)
		s.tickTransfer(f, t)
	})
}

// pull asks for what is to be asked for next, and ends when everything is here.
func (s *stream[D]) pull(f *replica.Fetch, t *transfer[D]) {
	if t.receiver.Done() {
		s.endPull(f, t, nil)
		return
	}
	for _, q := range t.receiver.Requests() {
		request := chunkRequest{s.id, q.Index, q.Chunk}
		from := s.m.id
		s.m.callPeer(q.To, chunkTimeout, func(peer *member, answer func(any, error)) {
			if peer.run == nil {
				answer(nil, errRefused)
				return
			}
			served := peer.run.of(request.stream)
			served.push(func() { answer(served.serveChunk(from, request)) })
		}, func(reply any, err error) {
			if !t.over {
				s.arrived(f, t, q.Chunk, reply, err)
			}
		})
	}
}

func (s *stream[D]) arrived(f *replica.Fetch, t *transfer[D], chunk uint32, reply any, err error) {
	if err != nil {
		t.receiver.Failed(chunk, err)
		return
	}
	s.m.w.counts.add("chunks transferred", 1)
	chunks, err := t.receiver.Chunk(chunk, reply.([]byte))
	for _, c := range chunks {
		err = errors.Join(err, t.file.WriteChunk(c))
	}
	if err != nil {
		s.endPull(f, t, err)
		return
	}
	s.pull(f, t)
}

// endPull finishes the staged file, or gives it up.
func (s *stream[D]) endPull(f *replica.Fetch, t *transfer[D], err error) {
	t.over = true
	if err != nil {
		s.fetched(f, errors.Join(err, t.file.Abort()))
		return
	}
	if _, err := t.file.Commit(); err != nil {
		s.fetched(f, err)
		return
	}
	s.m.later(around(s.m.w.rng, 10*time.Millisecond), func() { s.fetched(f, nil) })
}

// fetched reads the staged checkpoint and reports how the Fetch ended.
func (s *stream[D]) fetched(f *replica.Fetch, err error) {
	if s.m.disk.failed(err) {
		return
	}
	if err != nil {
		if _, damaged := errors.AsType[*raftlog.DamageError](err); damaged {
			s.m.w.violate("transfer", "member %d: checkpoint %d of member %d is not what was announced: %v", s.m.id, f.Descriptor.Index, f.From, err)
		}
		s.m.log("%s: checkpoint %d not transferred: %v", events.StreamName(s.id), f.Descriptor.Index, err)
		s.push(func() { s.replica.Fetched(f, nil, err) })
		return
	}
	state, err := replica.ReadCheckpoint(s.m.store, f.Descriptor, s.genesis)
	if err != nil {
		err = fmt.Errorf("reading the staged checkpoint: %w", err)
	}
	s.push(func() { s.replica.Fetched(f, state, err) })
}
