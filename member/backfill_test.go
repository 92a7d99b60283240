package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/heliosdb/metadata/feed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// pastStore is a storage that treats the past as a test wants.
type pastStore struct {
	raftlog.Storage
	partBytes int                   // no larger parts for others, if not 0
	alter     func([]raftlog.Past)  // what others are given
	fill      func(calls int) error // before a fill
	mu        sync.Mutex
	fills     int
}

func (s *pastStore) ReadHistoryBefore(g raftlog.GroupID, below uint64, maxBytes int) ([]raftlog.Past, error) {
	if s.partBytes != 0 {
		maxBytes = min(maxBytes, s.partBytes)
	}
	past, err := s.Storage.ReadHistoryBefore(g, below, maxBytes)
	if s.alter != nil {
		s.alter(past)
	}
	return past, err
}

func (s *pastStore) FillHistory(g raftlog.GroupID, past []raftlog.Past) error {
	s.mu.Lock()
	s.fills++
	n := s.fills
	s.mu.Unlock()
	if s.fill != nil {
		if err := s.fill(n); err != nil {
			return err
		}
	}
	return s.Storage.FillHistory(g, past)
}

// unfilled members write checkpoints often and cannot fill in what they lack.
func unfilled(c *Config) {
	smallCheckpoints(c)
	c.Store = &pastStore{Storage: c.Store, fill: func(int) error { return raftlog.ErrFull }}
}

// replace gives a member an empty directory, and waits until it is back.
func (c *cluster) replace(id uint64) {
	c.t.Helper()
	if c.up[id] != nil {
		c.kill(id)
	}
	c.disks[id] = vfs.NewCrashableMem()
	c.start(id)
	c.sound()
	c.converged()
}

// whole waits until a member has all of each stream's history.
func (c *cluster) whole(id uint64) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("member %d has all of the history", id), func() bool {
		r := c.up[id].running.Load()
		return r != nil && r.schema.oldestKept() == 1 && r.topology.oldestKept() == 1 && r.service.oldestKept() == 1
	})
}

// createTables creates some tables, brings all members to the same revision and returns it.
func (c *cluster) createTables(through uint64, prefix string, n int) (revision uint64) {
	c.t.Helper()
	for i := range n {
		c.mustCreate(through, fmt.Sprintf("%s%d", prefix, i))
		if i%5 == 0 {
			c.converged() // who falls behind is given a checkpoint
		}
	}
	c.converged()
	return c.schema(through).replica.View().Head.Revision
}

// checkpointed creates tables until all members have a checkpoint of so late a revision. It
// returns the last revision: a checkpoint that is due while another is written is left out.
func (c *cluster) checkpointed(through, revision uint64) (last uint64) {
	c.t.Helper()
	c.eventually("all have a checkpoint", func() bool {
		last = c.createTables(through, fmt.Sprintf("more%d_", last), 1)
		for _, m := range c.up {
			if m.running.Load().schema.status.Load().Newest.Seq < revision {
				return false
			}
		}
		return true
	})
	return last
}

// pastOf returns what a member's storage holds of the schema's past, once all is stored.
func (c *cluster) pastOf(id uint64) []raftlog.Past {
	c.t.Helper()
	s := c.schema(id)
	c.eventually("the newest change is stored", func() bool { return s.feed.Durable() == s.feed.Head() })
	past, err := c.up[id].store.ReadHistory(groupOf(schemaStream), 1, math.MaxInt)
	if err != nil {
		c.t.Fatal(err)
	}
	return past
}

var errEnough = errors.New("that is enough")

// heard returns the revisions of the schema that a member sends a subscriber who wants all
// from revision 1 on, up to a last one.
func (c *cluster) heard(id, last uint64) (revisions []uint64) {
	c.t.Helper()
	err := c.up[id].Subscribe(c.t.Context(), &metadatav1.SubscribeRequest{
		Start:     &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{SchemaRevision: 1}},
		Filter:    &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
		FailOnGap: true,
	}, func(f feed.Frame) error {
		for _, change := range f.Message().GetChanges().GetChanges() {
			revisions = append(revisions, change.GetRevision())
			if change.GetRevision() == last {
				return errEnough
			}
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		c.t.Fatalf("member %d: the subscription ended with %v after %v", id, err, revisions)
	}
	return revisions
}

// Any member answers any question: one that was rebuilt fills in what came before, and when
// all have been, one after the other, nothing of the past is lost.
func TestARebuiltMemberFillsInItsHistory(t *testing.T) {
	c := newCluster(t, 3, func(c *Config) {
		smallCheckpoints(c)
		c.LogBytes = 1 // the past is read from the disk
		c.Store = &pastStore{Storage: c.Store, partBytes: 2000}
	})
	c.start(1, 2, 3)
	for i := range 45 {
		c.createConsumer(1, fmt.Sprintf("c%d", i))
	}
	c.createTables(1, "t", 45)
	last := c.checkpointed(1, 40)
	before := c.pastOf(1)
	for _, id := range []uint64{3, 2, 1} {
		c.replace(id)
		c.whole(id)
		if diff := cmp.Diff(before, c.pastOf(id)); diff != "" {
			t.Fatalf("what member %d has filled in is another past (-want +got):\n%s", id, diff)
		}
	}
	for id := range c.up {
		var want []uint64
		for revision := uint64(2); revision <= last; revision++ {
			want = append(want, revision)
		}
		if diff := cmp.Diff(want, c.heard(id, last)); diff != "" {
			t.Errorf("revisions that member %d sends (-want +got):\n%s", id, diff)
		}
	}
}

// A hole that a checkpoint leaves in what a member had is filled in as well.
func TestAMemberThatFellBehindFillsInTheHole(t *testing.T) {
	c := newCluster(t, 3, func(c *Config) {
		smallCheckpoints(c)
		c.Store = &pastStore{Storage: c.Store, partBytes: 2000}
	})
	c.start(1, 2, 3)
	c.createTables(1, "t", 10)
	c.stop(3)
	c.createTables(1, "u", 60)
	c.start(3)
	c.converged()
	c.eventually("the member is given a checkpoint", func() bool { return c.schema(3).status.Load().Installs > 0 })
	c.eventually("the hole is filled in", func() bool { return len(c.pastOf(3)) == len(c.pastOf(1)) })
	c.whole(3)
	if diff := cmp.Diff(c.pastOf(1), c.pastOf(3)); diff != "" {
		t.Errorf("another past (-want +got):\n%s", diff)
	}
}

// The power fails while a member fills in its history: it goes on where the disk is.
func TestFillingGoesOnAfterPowerLoss(t *testing.T) {
	c := newCluster(t, 3, nil)
	stuck := make(chan struct{}, 1)
	c.change = func(config *Config) {
		smallCheckpoints(config)
		store := &pastStore{Storage: config.Store, partBytes: 1000}
		if config.ID == 3 {
			store.fill = func(calls int) error {
				if calls < 4 {
					return nil
				}
				select {
				case stuck <- struct{}{}:
				default:
				}
				return raftlog.ErrFull
			}
		}
		config.Store = store
	}
	c.start(1, 2, 3)
	c.createTables(1, "t", 45)
	c.checkpointed(1, 40)
	before := c.pastOf(1)
	c.replace(3)
	<-stuck
	if first := c.schema(3).oldestKept(); first == 1 {
		t.Fatal("everything was filled in already")
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range 3 {
		c.losePower(rng)
		c.start(1, 2, 3)
		c.sound()
		c.converged()
	}
	c.kill(3)
	c.change = smallCheckpoints
	c.start(3)
	c.whole(3)
	if diff := cmp.Diff(before, c.pastOf(3)); diff != "" {
		t.Errorf("another past (-want +got):\n%s", diff)
	}
}

// lockedBuffer takes a member's log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// What a member gives that is not the past is refused, its name is in the log, and another
// one is asked. If all do, nothing is filled in.
func TestAlteredHistoryIsRefused(t *testing.T) {
	for name, alter := range map[string]func([]raftlog.Past){
		"a byte of a change": func(past []raftlog.Past) {
			for i := range past {
				past[i].Content = bytes.Replace(past[i].Content, []byte("id"), []byte("ip"), 1)
			}
		},
		"a digest": func(past []raftlog.Past) {
			for i := range past {
				past[i].Data[7] ^= 1
			}
		},
		"what it ends with": func(past []raftlog.Past) {
			for i := range past {
				past[i].First, past[i].Last = past[i].First+1, past[i].Last+1
			}
		},
	} {
		for _, liars := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s by %d", name, liars), func(t *testing.T) {
				t.Parallel()
				log := new(lockedBuffer)
				c := newCluster(t, 3, func(c *Config) {
					smallCheckpoints(c)
					c.Store = &pastStore{Storage: c.Store, partBytes: 2000}
					if c.ID <= uint64(liars) {
						c.Store.(*pastStore).alter = alter
					}
					if c.ID == 3 {
						c.Logger = slog.New(slog.NewTextHandler(log, nil))
					}
				})
				c.start(1, 2, 3)
				c.createTables(1, "t", 25)
				c.checkpointed(1, 20)
				c.replace(3)
				for id := 1; id <= liars; id++ {
					refused := fmt.Sprintf("peer=%d", id)
					c.eventually("the log names "+refused, func() bool {
						for line := range strings.Lines(log.String()) {
							if strings.Contains(line, "history of a member refused") && strings.Contains(line, refused) {
								return true
							}
						}
						return false
					})
				}
				if liars == 2 {
					if oldest := c.schema(3).oldestKept(); oldest < 20 {
						t.Fatalf("history from revision %d on was filled in", oldest)
					}
					return
				}
				c.whole(3)
				want, err := c.up[2].store.ReadHistory(groupOf(schemaStream), 1, math.MaxInt)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, c.pastOf(3)); diff != "" {
					t.Errorf("another past (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func (c *cluster) createConsumer(id uint64, name string) {
	c.t.Helper()
	if _, err := c.up[id].Write(context.WithoutCancel(c.t.Context()), &metadatav1.CreateConsumerRequest{
		Consumer: &metadatav1.Consumer{Name: name, Position: &metadatav1.Position{ClusterId: c.up[id].cluster.String()}},
	}, "test"); err != nil {
		c.t.Fatalf("creating consumer %s: %v", name, err)
	}
}
