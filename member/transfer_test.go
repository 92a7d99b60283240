package member

import (
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// shortLogs make members write checkpoints often and keep little of the log.
func shortLogs(c *Config) { c.CheckpointRevisions, c.TrailingEntries = 20, 5 }

// gatedStore lets checkpoints of other members in only when its gate is open.
type gatedStore struct {
	raftlog.Storage
	asked, gate chan struct{}
}

func (s *gatedStore) StageCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.gate
	return s.Storage.StageCheckpoint(g, d)
}

// checkpoint returns the newest checkpoint's index at a member when there is one
// newer than a given one.
func (c *cluster) checkpoint(id, after uint64) (index uint64) {
	c.t.Helper()
	c.eventually("a newer checkpoint", func() bool {
		index = c.newestCheckpoint(id)
		return index > after
	})
	return index
}

func (c *cluster) newestCheckpoint(id uint64) (index uint64) {
	return c.up[id].running.Load().schema.status.Load().Newest.Index
}

func TestAnOfferedCheckpointIsServedWhenNewerOnesReplacedIt(t *testing.T) {
	c := newCluster(t, 1, shortLogs)
	c.start(1)
	tables := 0
	write := func() {
		for range 25 {
			tables++
			c.mustCreate(1, fmt.Sprintf("t%d", tables))
		}
	}
	write()
	offered := c.checkpoint(1, raftlog.GenesisIndex)
	s := c.up[1].running.Load().schema
	s.inputs.push(func() { s.startTransfer(2, offered) })
	newest := offered
	for range 3 {
		write()
		newest = c.checkpoint(1, newest)
	}
	q := &metadatav1.CheckpointChunkRequest{Stream: schemaStream, Index: offered}
	if chunk, err := s.serveChunk(t.Context(), 2, q); err != nil || len(chunk) == 0 {
		t.Fatalf("the offered checkpoint: %d bytes, %v", len(chunk), err)
	}
	q.Chunk = 1 << 10
	if _, err := s.serveChunk(t.Context(), 2, q); err == nil {
		t.Fatal("a chunk was served that there is not")
	}
	q.Chunk = 0
	if _, err := s.serveChunk(t.Context(), 3, q); err == nil {
		t.Fatal("a replaced checkpoint was served to a member that it was not offered")
	}
}

// While a member takes over a checkpoint the leader's log moves on, further than it
// is kept for that member: what the member has in the end is not where the log
// begins, and raft has to be told that the transfer is over to offer a newer one.
func TestAMemberWhoseCheckpointIsTooOldWhenItIsInstalledGetsANewerOne(t *testing.T) {
	// Where all is slow, the leader may change or give the transfer up before the gate opens;
	// the first checkpoint that is installed is then a newer one.
	for range 5 {
		if installsTooLate(t) > 1 {
			return
		}
	}
	t.Fatal("the checkpoint that was offered first was not installed in any of 5 clusters")
}

// installsTooLate returns how many checkpoints a member installs until it has caught up.
func installsTooLate(t *testing.T) uint64 {
	t.Helper()
	gated := &gatedStore{asked: make(chan struct{}, 1), gate: make(chan struct{})}
	c := newCluster(t, 3, func(c *Config) {
		shortLogs(c)
		if c.ID == 3 {
			gated.Storage, c.Store = c.Store, gated
		}
	})
	open := sync.OnceFunc(func() { close(gated.gate) })
	t.Cleanup(open)
	c.start(1, 2, 3)
	c.mustCreate(1, "t")
	c.converged()
	c.stop(3)
	tables := 1
	write := func(n int) {
		for range n {
			tables++
			c.mustCreate(1, fmt.Sprintf("t%d", tables))
		}
	}
	write(60)
	leader := c.up[c.leader(schemaStream)].running.Load().schema
	c.start(3)
	<-gated.asked
	// An answer to an earlier append is no answer to the offer.
	early := &raftpb.Message{
		Type: raftpb.MsgAppResp.Enum(), From: new(uint64(3)), To: new(leader.member.identity.Member),
		Term: new(leader.soft.Load().Term), Index: new(uint64(2)),
	}
	leader.step(3, early)
	kept := make(chan int, 1)
	leader.inputs.push(func() { kept <- len(leader.pinned) })
	if n := <-kept; n != 1 {
		t.Fatalf("%d checkpoints are kept for other members", n)
	}
	// A checkpoint that is due while another one is written is left out, so that it takes a
	// while until the log is kept no longer.
	offered := leader.status.Load().Newest.Index
	c.eventually("the log is cut behind the offer", func() bool {
		write(25)
		return leader.status.Load().First > offered+1
	})
	open()
	if n := c.converged(); n != tables {
		t.Fatalf("%d tables, want %d", n, tables)
	}
	caught := c.up[3].running.Load().schema
	c.eventually("the status of what has been reached", func() bool {
		return caught.status.Load().Head == caught.replica.View().Head
	})
	return caught.status.Load().Installs
}
