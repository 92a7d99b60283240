package replica

import (
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// install is how a member takes over a checkpoint of another one because the log
// that it needs has been cut. Raft's message names the checkpoint; only after it was
// transferred, staged and read does raft get to see the message. One at a time: raft
// offers again what was not taken.
type install[D projections.Domain[D]] struct {
	fetching *Fetch // handed out to the driver, not yet reported
	// staged is read. Raft has seen its message, or did not want it: another offer of
	// the same checkpoint, by a new leader perhaps, needs no second transfer.
	staged *checkpoint[D]
	asked  bool // raft has seen the message, the next Ready shows what it makes of it
	// writing is staged on its way to the storage.
	writing *checkpoint[D]
}

type checkpoint[D projections.Domain[D]] struct {
	raftlog.Descriptor
	state *projections.State[D]
}

// offered takes a snapshot message.
func (r *Replica[D]) offered(from uint64, m *pb.Message) error {
	d, err := raftlog.DescriptorOf(m.GetSnapshot())
	if err != nil {
		return err
	}
	if d.Index <= r.applied { // genesis, which has no head, always is
		return r.group.InstallSnapshot(from, m) // raft answers that it is not needed
	}
	err = r.checkOffer(d)
	if _, unsupported := errors.AsType[*events.UnsupportedError](err); unsupported {
		return r.offeredUnreadable(from, m, err)
	}
	if err != nil {
		return err
	}
	in := &r.install
	switch {
	case in.asked || in.writing != nil:
		return nil
	case in.staged != nil && in.staged.Equal(d):
		in.asked = true
		return r.group.InstallSnapshot(from, m)
	case in.fetching == nil:
		in.fetching = &Fetch{From: from, Descriptor: d, message: m}
		r.out.Fetch = &Fetch{From: from, Descriptor: d, message: m}
	case in.fetching.Descriptor.Equal(d):
		in.fetching.From, in.fetching.message = from, m // the newest offer counts
	}
	return nil
}

// checkOffer refuses a checkpoint that could not be installed, with an
// *events.UnsupportedError if a newer build could.
func (r *Replica[D]) checkOffer(d raftlog.Descriptor) error {
	have, err := projections.ReadHead(d.Meta)
	if err != nil {
		return err
	}
	if want := r.state.Head; have.Stream != want.Stream || have.Cluster != want.Cluster || have.RecoveryEpoch != want.RecoveryEpoch {
		return fmt.Errorf("replica: checkpoint at index %d belongs to stream %s of cluster %s, recovery epoch %d; this is stream %s of cluster %s, recovery epoch %d",
			d.Index, events.StreamName(have.Stream), have.Cluster, have.RecoveryEpoch, r.name, want.Cluster, want.RecoveryEpoch)
	}
	return nil
}

// Fetched reports how a Fetch ended: with the model that ReadCheckpoint returned for
// the staged checkpoint, or with an error. After an error the checkpoint is fetched
// again when a leader offers it again.
func (r *Replica[D]) Fetched(f *Fetch, state *projections.State[D], err error) {
	in := &r.install
	if r.failed != nil || in.fetching == nil || !in.fetching.Descriptor.Equal(f.Descriptor) {
		return
	}
	latest := in.fetching
	in.fetching = nil
	switch {
	case errors.Is(err, raftlog.ErrOvertaken) && f.Descriptor.Index <= r.applied:
		err = nil // raft refuses it, and tells its sender how far this member is
	case err == nil:
		err = r.checkFetched(f.Descriptor, state)
	}
	if err != nil {
		r.log.Warn("checkpoint not fetched", "index", f.Descriptor.Index, "from", latest.From, "error", err)
		return
	}
	if f.Descriptor.Index > r.applied { // else it caught up by other means, which raft will tell
		in.staged, in.asked = &checkpoint[D]{f.Descriptor, state}, true
	}
	if err := r.group.InstallSnapshot(latest.From, latest.message); err != nil {
		r.log.Warn("checkpoint not installed", "index", f.Descriptor.Index, "from", latest.From, "error", err)
	}
}

func (r *Replica[D]) checkFetched(d raftlog.Descriptor, state *projections.State[D]) error {
	if state == nil {
		return fmt.Errorf("replica: checkpoint at index %d was reported without a model", d.Index)
	}
	return checkHead(d, state.Head)
}

// noteInstall follows what raft makes of a staged checkpoint: it is in this step's
// Write, or raft did not want it.
func (r *Replica[D]) noteInstall(w *raftlog.Write) error {
	in := &r.install
	in.asked = false
	if w == nil || w.Install == nil {
		return nil
	}
	if in.staged == nil || !in.staged.Equal(*w.Install) {
		return fmt.Errorf("replica: stream %s: raft installs the checkpoint at index %d, whose model was not read", r.name, w.Install.Index)
	}
	in.writing, in.staged = in.staged, nil
	return nil
}

// swap replaces the model: the Write that installed its checkpoint is stored.
func (r *Replica[D]) swap() {
	cp := r.install.writing
	r.install.writing = nil
	r.state, r.applied, r.appliedTerm, r.conf = cp.state, cp.Index, cp.Term, cp.ConfState
	r.checkpts.begin(cp.Descriptor)
	r.view.Store(r.state)
	r.cfg.Feed.Jump(r.state.Head.Revision)
	r.out.Installed = true
	r.stats.Installs++
	r.log.Info("checkpoint of another member installed", "index", cp.Index, "revision", cp.Seq)
}
