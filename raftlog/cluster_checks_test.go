package raftlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/raftlog"
)

// checkpoint writes one and cuts the log behind it, leaving behind entries.
func (c *cluster) checkpoint(m *member, behind uint64) {
	d := raftlog.Descriptor{Format: raftlog.DescriptorFormat, Group: testGroup, Index: m.applied, Term: m.term, ConfState: m.conf, Seq: m.model.seq}
	w, err := m.store.CreateCheckpoint(testGroup, d)
	if err != nil {
		c.t.Fatal(err)
	}
	for chunk := range slices.Chunk(m.model.bytes(), 16) {
		if err := w.WriteChunk(chunk); err != nil {
			c.t.Fatal(err)
		}
	}
	if d, err = w.Commit(); err != nil {
		c.t.Fatal(err)
	}
	upTo := d.Index
	if pinned := m.sender.Pinned(); len(pinned) > 0 {
		upTo = min(upTo, pinned[0])
	}
	if err := m.g.Cut(upTo-min(behind, upTo), d); err != nil {
		c.violate("member %d: %v", m.id, err)
	}
	c.note("checkpoint", m.id, d.Index)
	c.drain(m)
}

// transfer moves a whole checkpoint with the two step machines, losing chunks, and
// then installs it. It does nothing when the sender cannot be reached.
func (c *cluster) transfer(m *member, loss float64) {
	msg := m.snap
	m.snap = nil
	if msg == nil || !c.linked(msg.GetFrom(), m.id) {
		return
	}
	from := c.members[msg.GetFrom()]
	d, err := raftlog.DescriptorOf(msg.GetSnapshot())
	if err != nil {
		c.t.Fatal(err)
	}
	src, err := from.store.OpenCheckpoint(testGroup, d.Index)
	if err != nil {
		return // a newer one has replaced it: the sender's idle time-out ends this
	}
	w, err := m.store.StageCheckpoint(testGroup, d)
	if err != nil {
		c.t.Fatal(err)
	}
	r := raftlog.NewReceiver(d, from.id, raftlog.ReceiverLimits{Window: 2, Ticks: 1, Tries: 4})
	for !r.Done() {
		for _, req := range r.Requests() {
			if c.rng.Float64() < loss {
				r.Failed(req.Chunk, errors.New("lost"))
				continue
			}
			from.sender.Served(m.id, req.Index)
			data, err := src.ReadChunk(req.Chunk)
			if err != nil {
				c.t.Fatal(err)
			}
			ready, err := r.Chunk(req.Chunk, data)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, b := range ready {
				if err := w.WriteChunk(b); err != nil {
					c.t.Fatal(err)
				}
			}
		}
		if err := r.Tick(); err != nil {
			if err := w.Abort(); err != nil {
				c.t.Fatal(err)
			}
			c.note("transfer failed", m.id)
			return
		}
	}
	if _, err := w.Commit(); errors.Is(err, raftlog.ErrOvertaken) {
		c.note("transfer overtaken", m.id)
		return
	} else if err != nil {
		c.t.Fatal(err)
	}
	m.staged[d.Index] = c.readModel(m, d)
	if err := m.g.InstallSnapshot(msg.GetFrom(), msg); err != nil {
		var bad *raftlog.BadMessageError
		if !errors.As(err, &bad) {
			c.violate("member %d: %v", m.id, err)
		}
		c.note("snapshot refused", m.id)
	}
	if from.sender.Finished(m.id) {
		from.g.ReportSnapshot(m.id, true)
		c.drain(from)
	}
	c.drain(m)
}

// converged fails the test unless all members hold the same and everything that was
// ever committed.
func (c *cluster) converged() {
	c.t.Helper()
	if err := errors.Join(c.bad, c.convergence()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) convergence() error {
	first := c.members[c.ids[0]]
	for _, m := range c.sorted() {
		if m.applied != first.applied || !bytes.Equal(m.model.bytes(), first.model.bytes()) {
			return fmt.Errorf("member %d is at index %d, sequence %d; member %d at %d, %d; %+v", m.id, m.applied, m.model.seq,
				first.id, first.applied, first.model.seq, m.g.Status())
		}
	}
	for _, m := range c.sorted() {
		if err := c.historyComplete(m); err != nil {
			return err
		}
	}
	if first.applied < c.maxIndex {
		return fmt.Errorf("entry %d was committed but all members end at %d", c.maxIndex, first.applied)
	}
	return nil
}

// historyComplete checks that log cuts and crashes left no hole in the history.
func (c *cluster) historyComplete(m *member) error {
	if c.gaps[m.id] || m.model.seq == 0 {
		return nil
	}
	rs, err := m.store.ReadHistory(testGroup, 1, 1<<30)
	if err != nil {
		return err
	}
	var again model
	for _, r := range rs {
		again.fold(r.Content)
	}
	if again != m.model {
		return fmt.Errorf("member %d: history has %d records with another digest, the model is at %d", m.id, len(rs), m.model.seq)
	}
	return nil
}
