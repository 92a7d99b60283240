package replica

import (
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

// node is one member. What is above rep survives a crash.
type node struct {
	c     *cluster
	id    uint64
	store *memstore.Store

	rep     *Replica[model] // nil: down
	feed    *feed.Log
	writes  []*raftlog.Write
	job     *CheckpointJob[model]
	fetch   *Fetch
	sender  *raftlog.Sender
	frozen  bool      // its disk does not answer
	leading []Leading // as told
	written int       // checkpoint jobs done since the start
}

// start brings a member up from its disk.
func (n *node) start() {
	t := n.c.t
	loaded, err := n.store.Load(testGroup)
	if err != nil {
		t.Fatalf("member %d: %v", n.id, err)
	}
	st, cp, err := Restore(n.store, loaded, genesis())
	if err != nil {
		t.Fatalf("member %d: %v", n.id, err)
	}
	n.sender = raftlog.NewSender(20)
	n.feed = feed.NewLog(feed.LogOptions{Stream: testStream, Head: st.Head.Revision})
	n.c.starts++
	cfg := Config[model]{
		Log:   raftlog.Config{Group: testGroup, Member: n.id, Loaded: loaded, Checkpoint: cp},
		State: st, Decide: commands.Schema, Feed: n.feed, ReadSeed: n.c.starts << 20,
	}
	if n.c.tune != nil {
		n.c.tune(&cfg)
	}
	if n.rep, err = New(cfg); err != nil {
		t.Fatalf("member %d: %v", n.id, err)
	}
	n.pump()
}

// crash loses what is not synced, but for the first keep writes.
func (n *node) crash(keep int) {
	n.rep, n.writes, n.job, n.fetch, n.written = nil, nil, nil, nil, 0
	n.store.Crash(keep)
}

// pump drains the outputs.
func (n *node) pump() {
	for {
		out, more := n.rep.Ready()
		for _, m := range out.Messages {
			if m.GetType() == pb.MsgSnap {
				n.sender.Started(m.GetTo(), m.GetSnapshot().GetMetadata().GetIndex())
			}
			n.c.net = append(n.c.net, packet{n.id, m.GetTo(), proto.Clone(m).(*pb.Message)})
		}
		if out.Write != nil {
			n.writes = append(n.writes, out.Write)
		}
		if out.Checkpoint != nil {
			n.job = out.Checkpoint
		}
		if out.Fetch != nil {
			n.fetch = out.Fetch
		}
		if out.Leading != nil {
			n.leading = append(n.leading, *out.Leading)
		}
		if out.Fatal != nil {
			if _, allowed := n.c.fatal[n.id]; !allowed {
				n.c.t.Fatalf("member %d stopped: %v", n.id, out.Fatal)
			}
			n.c.fatal[n.id] = out.Fatal
		}
		for _, ch := range out.Applied {
			n.c.agree(n.id, ch)
		}
		if !more {
			n.check()
			return
		}
	}
}

// check holds after every step.
func (n *node) check() {
	t, r := n.c.t, n.rep
	if r.failed != nil {
		return
	}
	if head := r.View().Head; head.Digest != n.c.digests[head.Revision] || head.Revision != n.feed.Head() {
		t.Fatalf("member %d: view at revision %d has digest %s, the chain %s; the feed is at %d", n.id, head.Revision, head.Digest, n.c.digests[head.Revision], n.feed.Head())
	}
	if r.View() != r.state {
		t.Fatalf("member %d: the view is not the applied state", n.id)
	}
	l := r.lead
	if l == nil || !l.ready {
		return
	}
	want, changes, bytes := r.state, 0, 0
	for _, b := range slices.Concat(l.proposed, l.gathered) {
		for _, d := range b.decisions {
			want = want.Fold(d.change)
			changes++
			bytes += len(d.change.Raw())
			if d.digest != want.Head.Digest {
				t.Fatalf("member %d: change %d is remembered with another digest", n.id, d.change.Revision())
			}
		}
		if b.after != nil && b.after.Head.Digest != want.Head.Digest {
			t.Fatalf("member %d: a batch ends at revision %d, its changes at %d", n.id, b.after.Head.Revision, want.Head.Revision)
		}
	}
	pending := l.pending.State()
	if pending.Head.Digest != want.Head.Digest || changes != l.changes || bytes != l.bytes {
		t.Fatalf("member %d: pending is at revision %d with %d changes and %d bytes; applied and proposed make %d, %d and %d",
			n.id, pending.Head.Revision, l.changes, l.bytes, want.Head.Revision, changes, bytes)
	}
	if n.c.rng.IntN(20) == 0 && want.Requests.Bytes() < 1<<20 && pending.Hash() != want.Hash() {
		t.Fatalf("member %d: the pending model is not the fold of what is in flight", n.id)
	}
}

// store completes the first k writes, in one call of the disk.
func (n *node) storeWrites(k int) {
	ws := n.writes[:k]
	n.writes = slices.Clone(n.writes[k:])
	if err := n.store.Write(ws); err != nil {
		n.c.t.Fatalf("member %d: %v", n.id, err)
	}
	for _, w := range ws {
		n.rep.Wrote(w)
	}
	n.pump()
}

// background does the driver's slow jobs: writing and fetching checkpoints.
func (n *node) background() {
	if job := n.job; job != nil {
		n.job = nil
		d, err := WriteCheckpoint(context.Background(), n.store, job)
		if err != nil {
			n.c.t.Fatalf("member %d: %v", n.id, err)
		}
		if have, ok := n.c.hashes[d.Seq]; ok && have != d.Hash {
			n.c.t.Fatalf("member %d wrote another checkpoint of revision %d than the others", n.id, d.Seq)
		}
		n.c.hashes[d.Seq] = d.Hash
		n.written++
		n.rep.CheckpointWritten(d, nil)
		n.pump()
	}
	if f := n.fetch; f != nil {
		n.fetch = nil
		st, err := n.fetchFrom(f)
		n.rep.Fetched(f, st, err)
		if from := n.c.node(f.From); from.rep != nil && from.sender.Finished(n.id) {
			from.rep.ReportSnapshot(n.id, err == nil)
			from.pump()
		}
		n.pump()
	}
}

// fetchFrom copies a checkpoint as the transport would.
func (n *node) fetchFrom(f *Fetch) (*state, error) {
	from := n.c.node(f.From)
	if from.rep == nil || n.c.cut[[2]uint64{f.From, n.id}] {
		return nil, fmt.Errorf("member %d cannot be reached", f.From)
	}
	r, err := from.store.OpenCheckpoint(testGroup, f.Descriptor.Index)
	if err != nil {
		return nil, err
	}
	w, err := n.store.StageCheckpoint(testGroup, f.Descriptor)
	if err != nil {
		return nil, err
	}
	for i := range f.Descriptor.Chunks {
		chunk, err := r.ReadChunk(i)
		if err != nil {
			return nil, err
		}
		if err := w.WriteChunk(chunk); err != nil {
			return nil, err
		}
	}
	if _, err := w.Commit(); err != nil {
		return nil, err
	}
	return ReadCheckpoint(n.store, f.Descriptor, genesis())
}

// outcome is where an answer lands.
type outcome struct {
	done   bool
	answer Answer
}

func (n *node) submit(cmd proto.Message) *outcome { return n.submitIn(cmd, 0) }

func (n *node) submitIn(cmd proto.Message, term uint64) *outcome {
	o := &outcome{}
	n.rep.Submit(Request{Command: cmd, Env: commands.Env{Now: n.c.now, Actor: "test"}, Term: term, Done: func(a Answer) {
		if o.done {
			n.c.t.Fatalf("member %d answered twice", n.id)
		}
		o.done, o.answer = true, a
	}})
	n.pump()
	return o
}

type readOutcome struct {
	done   bool
	answer ReadAnswer[model]
}

func (n *node) read(q Read[model]) *readOutcome {
	o := &readOutcome{}
	q.Done = func(a ReadAnswer[model]) {
		if o.done {
			n.c.t.Fatalf("member %d answered a read twice", n.id)
		}
		o.done, o.answer = true, a
	}
	n.rep.Read(q)
	n.pump()
	return o
}
