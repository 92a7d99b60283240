package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// faulty is a storage with the faults of a disk and of memory.
type faulty struct {
	raftlog.Storage
	mu       sync.RWMutex // held for writing while the disk stalls
	broken   atomic.Bool  // writes fail
	rot      atomic.Int32 // so many own checkpoints get a wrong byte
	failures atomic.Int32
}

var errDisk = errors.New("the disk is broken")

func (s *faulty) Write(ws []*raftlog.Write) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.broken.Load() {
		s.failures.Add(1)
		return errDisk
	}
	return s.Storage.Write(ws)
}

func (s *faulty) CreateCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	w, err := s.Storage.CreateCheckpoint(g, d)
	if err != nil || s.rot.Add(-1) < 0 {
		return w, err
	}
	return rotten{w}, nil
}

// rotten is what a writer sees whose memory has flipped a bit.
type rotten struct{ raftlog.CheckpointWriter }

func (r rotten) WriteChunk(data []byte) error {
	data = slices.Clone(data)
	data[len(data)-1] ^= 1
	return r.CheckpointWriter.WriteChunk(data)
}

// withFaults gives every member such a storage.
func withFaults(change func(*Config)) (map[uint64]*faulty, func(*Config)) {
	stores := make(map[uint64]*faulty)
	return stores, func(c *Config) {
		s := &faulty{Storage: c.Store}
		stores[c.ID], c.Store = s, s
		if change != nil {
			change(c)
		}
	}
}

// After a failed write nothing is acknowledged: the members whose disks fail end, and
// the write that needed one of them is not acknowledged to anybody.
func TestNothingIsAcknowledgedAfterAFailedWrite(t *testing.T) {
	stores, change := withFaults(nil)
	c := newCluster(t, 3, change)
	c.start(1, 2, 3)
	c.mustCreate(1, "before")
	c.converged()
	leader := c.leader(schemaStream)
	for id, s := range stores {
		s.broken.Store(id != leader)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if reply, err := c.up[leader].Write(ctx, createTable("after"), "test"); err == nil {
		t.Fatalf("acknowledged: %v", reply)
	}
	for id, s := range stores {
		if id == leader {
			continue
		}
		if err := <-c.up[id].ended; !errors.Is(err, errDisk) {
			t.Errorf("member %d ended with %v", id, err)
		}
		delete(c.up, id)
		if n := s.failures.Load(); n != 1 {
			t.Errorf("member %d: a failed write was followed by %d more", id, n-1)
		}
	}
	// The leader's own write fails: it ends too, and its clients do not hear of success.
	c2stores, change := withFaults(nil)
	c2 := newCluster(t, 1, change)
	c2.start(1)
	c2.mustCreate(1, "before")
	c2stores[1].broken.Store(true)
	_, err := c2.create(1, "after")
	if err == nil {
		t.Fatal("a lone leader acknowledged what its disk refused")
	}
	if err := <-c2.up[1].ended; !errors.Is(err, errDisk) {
		t.Fatalf("it ended with %v", err)
	}
	delete(c2.up, 1)
}

// At default settings a leader whose disk stalls loses its leadership within 5 s, says
// so, and follows again when the disk comes back.
func TestALeaderWhoseDiskStallsIsReplaced(t *testing.T) {
	t.Parallel()
	stores, change := withFaults(func(c *Config) { c.Tick = DefaultTick })
	c := newCluster(t, 3, change)
	c.start(1, 2, 3)
	c.mustCreate(1, "before")
	old := c.leader(schemaStream)
	other := old%3 + 1
	stores[old].mu.Lock()
	began := time.Now()
	stuck := make(chan error, 1)
	go func() {
		_, err := c.create(old, "stuck") // this write makes the stall show
		stuck <- err
	}()
	c.eventually("another leads", func() bool {
		s := c.up[other].running.Load().schema.soft.Load()
		return s.Leader != old && s.Leader != 0
	})
	took := time.Since(began)
	if took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Logf("replaced after %v", took)
	c.mustCreate(other, "meanwhile")
	c.eventually("the old one knows", func() bool {
		return c.up[old].running.Load().schema.soft.Load().Role != raftlog.Leader
	})
	stores[old].mu.Unlock()
	if err := <-stuck; err != nil && !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN) && failure.As(err).Kind() != failure.Deadline {
		t.Errorf("the stuck write: %v", err)
	}
	c.holds([]string{"before", "meanwhile"})
	c.mustCreate(old, "after")
	if c.up[old].quarantine.Load() != nil || c.rebuilt(old) {
		t.Error("a stall is no loss")
	}
}

// wall cuts members off from each other.
type wall struct {
	mu    sync.Mutex
	cut   map[uint64]bool // members alone on their side
	conns map[net.Conn][2]uint64
}

func newWall() *wall { return &wall{cut: make(map[uint64]bool), conns: make(map[net.Conn][2]uint64)} }

func (w *wall) change(peers func() []raftlog.Peer) func(*Config) {
	return func(c *Config) {
		from := c.ID
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			to := uint64(slices.IndexFunc(peers(), func(p raftlog.Peer) bool { return p.Addr == addr }) + 1)
			w.mu.Lock()
			apart := w.cut[from] != w.cut[to]
			w.mu.Unlock()
			if apart {
				return nil, errors.New("cut off")
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err == nil {
				w.mu.Lock()
				w.conns[conn] = [2]uint64{from, to}
				w.mu.Unlock()
			}
			return conn, err
		}
	}
}

func (w *wall) isolate(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[id] = true
	for conn, ends := range w.conns {
		if w.cut[ends[0]] != w.cut[ends[1]] {
			_ = conn.Close()
			delete(w.conns, conn)
		}
	}
}

// A leader that was deposed without knowing grants no lease: only a confirmed one may,
// or a node could count on a lease that the new leader knows nothing of.
func TestADeposedLeaderGrantsNoLease(t *testing.T) {
	w := newWall()
	var c *cluster
	between := w.change(func() []raftlog.Peer { return c.peers })
	c = newCluster(t, 3, func(config *Config) { config.Tick = 50 * time.Millisecond; between(config) })
	c.start(1, 2, 3)
	old := c.leader(topologyStream)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	epoch := c.register(old, "n1", "a")
	beat := []*metadatav1.HeartbeatRequest{{NodeId: "n1", Epoch: epoch}}
	answers, err := c.up[old].Heartbeat(ctx, beat)
	if err != nil || answers[0].GetGranted() == nil {
		t.Fatalf("a leader that leads refuses: %v, %v", answers, err)
	}
	w.isolate(old)
	refused := 0
	for c.up[old].running.Load().topology.soft.Load().Role == raftlog.Leader {
		short, done := context.WithTimeout(ctx, 200*time.Millisecond)
		answers, err := c.up[old].Heartbeat(short, beat)
		done()
		if err != nil || answers[0].GetGranted() != nil {
			t.Fatalf("cut off from all others it answers %v, %v", answers, err)
		}
		refused++
	}
	if refused == 0 {
		t.Fatal("it knew too soon: nothing was tested")
	}
	other := old%3 + 1
	c.eventually("the new leader grants", func() bool {
		answers, err := c.up[other].Heartbeat(ctx, beat)
		return err == nil && answers[0].GetGranted() != nil
	})
}

// A member whose checkpoint differs from a majority's stops and is rebuilt; all raise
// an alarm, and nobody else stops.
func TestAMemberWithAnotherModelIsRebuilt(t *testing.T) {
	stores, change := withFaults(smallCheckpoints)
	c := newCluster(t, 3, change)
	c.start(1, 2, 3)
	c.leader(schemaStream)
	stores[2].rot.Store(1)
	before := c.up[2].running.Load()
	var acknowledged []string
	for i := range 50 {
		name := fmt.Sprintf("t%d", i)
		c.mustCreate(uint64(i%2*2+1), name)
		acknowledged = append(acknowledged, name)
	}
	c.eventually("member 2 begins another life", func() bool {
		now := c.up[2].running.Load()
		return now != nil && now != before
	})
	c.sound()
	c.holds(acknowledged)
	if !c.rebuilt(2) || c.rebuilt(1) || c.rebuilt(3) {
		t.Fatal("not exactly member 2 was rebuilt")
	}
	for id, m := range c.up {
		c.eventually(fmt.Sprintf("member %d raises an alarm", id), func() bool {
			status, err := m.Status(t.Context())
			return err == nil && slices.ContainsFunc(status.GetAlarms(), func(a *metadatav1.Alarm) bool {
				return a.GetMemberId() == 2 && strings.Contains(a.GetMessage(), "differ, member 2 from a majority")
			})
		})
		c.eventually(fmt.Sprintf("member %d counts it", id), func() bool { return m.Stats().Divergences > 0 })
	}
}

// Two members that differ, and no third opinion: an alarm, and nobody is stopped.
func TestWithoutAMajorityADifferenceStopsNobody(t *testing.T) {
	stores, change := withFaults(smallCheckpoints)
	c := newCluster(t, 2, change)
	c.start(1, 2)
	stores[2].rot.Store(1)
	for i := range 30 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	for id, m := range c.up {
		c.eventually(fmt.Sprintf("member %d raises an alarm", id), func() bool {
			status, err := m.Status(t.Context())
			return err == nil && slices.ContainsFunc(status.GetAlarms(), func(a *metadatav1.Alarm) bool {
				return a.GetMemberId() == 0 && strings.Contains(a.GetMessage(), "none has a majority")
			})
		})
		if m.quarantine.Load() != nil {
			t.Errorf("member %d was stopped", id)
		}
	}
	c.mustCreate(2, "after")
}

// Members that differ by another build are not stopped: an upgrade with a bug would stop one
// after the other.
func TestAnotherBuildStopsNobody(t *testing.T) {
	stores, change := withFaults(func(c *Config) {
		smallCheckpoints(c)
		if c.ID == 2 {
			c.Build = "newer"
		}
	})
	c := newCluster(t, 3, change)
	c.start(1, 2, 3)
	c.leader(schemaStream)
	stores[2].rot.Store(3)
	for i := range 50 {
		c.mustCreate(uint64(i%2*2+1), fmt.Sprintf("t%d", i))
	}
	for id, m := range c.up {
		c.eventually(fmt.Sprintf("member %d raises an alarm", id), func() bool {
			status, err := m.Status(t.Context())
			return err == nil && slices.ContainsFunc(status.GetAlarms(), func(a *metadatav1.Alarm) bool {
				return a.GetMemberId() == 0 && strings.Contains(a.GetMessage(), `by build "newer"`)
			})
		})
	}
	c.mustCreate(2, "after")
	for id := range c.up {
		if c.rebuilt(id) || c.up[id].quarantine.Load() != nil {
			t.Errorf("member %d was stopped", id)
		}
	}
}

// However much a member reports, an alarm comes once for each member and stream.
func TestDivergenceAlarmsAreBounded(t *testing.T) {
	members := []*metadatav1.MemberStatus{{MemberId: 1}, {MemberId: 2}, {MemberId: 3}}
	for i := range 1000 {
		members[1].Divergences = append(members[1].Divergences, &metadatav1.Divergence{
			Stream: metadatav1.Stream(i % 5), Revision: uint64(i), MemberId: uint64(i / 5 % 7), Description: strings.Repeat("x", 10_000),
		})
	}
	alarms := divergenceAlarms(members)
	if len(alarms) != len(streamIDs)*4 {
		t.Fatalf("%d alarms", len(alarms))
	}
	for _, a := range alarms {
		if len(a.GetMessage()) > 2*maxAlarmText {
			t.Errorf("a message of %d bytes", len(a.GetMessage()))
		}
	}
}
