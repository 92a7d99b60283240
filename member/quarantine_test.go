package member

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/transport"
	"github.com/heliosdb/metadata/replica"
)

// smallCheckpoints make checkpoints frequent, so that a rebuild needs one.
func smallCheckpoints(c *Config) { c.CheckpointRevisions, c.TrailingEntries = 20, 5 }

// load writes through members that run until stop is called, which returns the names
// of the tables whose creation was acknowledged.
func (c *cluster) load(through ...uint64) (stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var acknowledged []string
	for _, id := range through {
		m := c.up[id].Member
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("load%d_%d", id, i)
				callCtx, done := context.WithTimeout(ctx, 5*time.Second)
				if _, err := m.Write(callCtx, createTable(name), "load"); err == nil {
					mu.Lock()
					acknowledged = append(acknowledged, name)
					mu.Unlock()
				}
				done()
			}
		})
	}
	return func() []string {
		cancel()
		wg.Wait()
		return acknowledged
	}
}

// holds fails the test unless every member that runs has all of these tables.
func (c *cluster) holds(names []string) {
	c.t.Helper()
	c.converged()
	for id, m := range c.up {
		model := m.running.Load().schema.replica.View().Model
		for _, name := range names {
			if _, ok := model.TableByName("public", name); !ok {
				c.t.Fatalf("member %d has lost %s, which was acknowledged", id, name)
			}
		}
	}
}

// sound waits until nobody is in quarantine and everybody serves.
func (c *cluster) sound() {
	c.t.Helper()
	c.eventually("all members are out of quarantine", func() bool {
		for _, m := range c.up {
			if m.quarantine.Load() != nil || m.Ready() != nil {
				return false
			}
		}
		return true
	})
}

// askedOn waits until members in quarantine, which call for nothing else, have asked all
// others for all streams, and again, some times.
func (c *cluster) askedOn(ids ...uint64) {
	c.t.Helper()
	const rounds, streams = 5, 2
	for _, id := range ids {
		before := c.up[id].transport.Stats().CallsSent
		c.eventually(fmt.Sprintf("member %d asks on", id), func() bool {
			return c.up[id].transport.Stats().CallsSent >= before+uint64(rounds*streams*(len(c.peers)-1))
		})
	}
}

// rebuilt reports whether the present life of a member began with a rebuild: its
// directory has what was set aside.
func (c *cluster) rebuilt(id uint64) bool {
	_, err := c.disks[id].Stat("data/damaged")
	return err == nil
}

// spoil changes the files of a kind in place and returns how many.
func (c *cluster) spoil(id uint64, dir, suffix string, change func([]byte) []byte) int {
	c.t.Helper()
	disk, changed := c.disks[id], 0
	names, err := disk.List(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		path := disk.PathJoin(dir, name)
		data := readFile(c.t, disk, path)
		if len(data) == 0 {
			continue
		}
		writeFile(c.t, disk, path, change(data))
		changed++
	}
	return changed
}

func TestAMemberThatLostSomethingComesBack(t *testing.T) {
	flip := func(at float64) func([]byte) []byte {
		return func(b []byte) []byte {
			b[int(at*float64(len(b)-1))] ^= 0x55
			return b
		}
	}
	for name, lose := range map[string]func(*testing.T, *cluster){
		"the whole directory": func(_ *testing.T, c *cluster) { c.disks[3] = vfs.NewCrashableMem() },
		"the log's tail": func(t *testing.T, c *cluster) {
			if n := c.spoil(3, "data/db", ".log", func(b []byte) []byte { return b[:len(b)/2] }); n == 0 {
				t.Fatal("nothing to cut")
			}
		},
		"a byte of the database": func(t *testing.T, c *cluster) {
			if n := c.spoil(3, "data/db", ".log", flip(0.5)); n == 0 {
				t.Fatal("nothing to flip")
			}
		},
		"the floor": func(t *testing.T, c *cluster) {
			if err := c.disks[3].Remove("data/FLOOR"); err != nil {
				t.Fatal(err)
			}
		},
		"the floor's bytes": func(t *testing.T, c *cluster) {
			if n := c.spoil(3, "data", "FLOOR", func(b []byte) []byte { return make([]byte, len(b)) }); n == 0 {
				t.Fatal("nothing to spoil")
			}
		},
		"a byte inside its checkpoints": func(t *testing.T, c *cluster) {
			// Behind the header, in front of the last trailer: only reading it all shows it.
			if n := c.spoil(3, "data/checkpoints", ".checkpoint", flip(0.7)); n == 0 {
				t.Fatal("nothing to flip")
			}
		},
		"the manifest": func(t *testing.T, c *cluster) {
			names, err := c.disks[3].List("data/db")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasPrefix(name, "MANIFEST") {
					if err := c.disks[3].Remove("data/db/" + name); err != nil {
						t.Fatal(err)
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, smallCheckpoints)
			c.start(1, 2, 3)
			var acknowledged []string
			for i := range 50 {
				name := fmt.Sprintf("t%d", i)
				c.mustCreate(uint64(i%3+1), name)
				acknowledged = append(acknowledged, name)
			}
			c.stop(3)
			lose(t, c)
			stop := c.load(1, 2)
			c.start(3)
			c.eventually("member 3 is rebuilt", func() bool { return c.rebuilt(3) && c.up[3].Ready() == nil })
			acknowledged = append(acknowledged, stop()...)
			c.sound()
			c.holds(acknowledged)
			// It is a full member: with one of the others gone, it makes up the majority.
			c.kill(1)
			c.mustCreate(3, "after")
			c.start(1)
			c.stop(3)
			c.start(3)
			c.holds(append(acknowledged, "after"))
		})
	}
}

// In quarantine a member answers nobody's calls, and everybody's status says so.
func TestAMemberInQuarantineSaysSo(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	c.mustCreate(1, "t")
	c.stop(3)
	c.kill(2)
	c.disks[3] = vfs.NewCrashableMem()
	c.start(3) // two of three are gone: nobody can be confirmed
	c.eventually("member 3 is in quarantine", func() bool { return c.up[3].quarantine.Load() != nil })
	_, err := c.create(3, "u")
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_QUARANTINED) || failure.As(err).Kind() != failure.Unavailable {
		t.Fatalf("a write in quarantine: %v", err)
	}
	if _, err := c.up[3].Schema(t.Context(), &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_QUARANTINED) {
		t.Fatalf("a read in quarantine: %v", err)
	}
	err = c.up[3].Subscribe(t.Context(), &metadatav1.SubscribeRequest{}, func(feed.Frame) error { return nil })
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_QUARANTINED) {
		t.Fatalf("a subscription in quarantine: %v", err)
	}
	if c.up[3].Ready() == nil || !c.up[3].Stats().Quarantined {
		t.Fatal("it is ready")
	}
	for _, id := range []uint64{1, 3} {
		c.eventually(fmt.Sprintf("an alarm on member %d", id), func() bool {
			status, err := c.up[id].Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range status.GetAlarms() {
				if a.GetMemberId() == 3 && a.GetSeverity() == metadatav1.Severity_SEVERITY_CRITICAL &&
					strings.Contains(a.GetMessage(), "member 3 is in quarantine: its directory is blank") && strings.Contains(a.GetMessage(), "no answer from member 2") {
					return true
				}
			}
			return false
		})
	}
	c.start(2)
	c.sound()
	c.holds([]string{"t"})
	// Its history begins with what it was given; it names who has the rest, or has it all.
	c.mustCreate(3, "v")
}

// Two of three have lost everything: they wait for ever, and what the third has is
// neither overwritten nor lost.
func TestAMajorityThatLostEverythingWaits(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	c.mustCreate(1, "t")
	c.converged()
	kept := c.disks[2]
	c.stop(3)
	c.stop(2)
	c.disks[2], c.disks[3] = vfs.NewCrashableMem(), vfs.NewCrashableMem()
	c.start(2, 3)
	for _, id := range []uint64{2, 3} {
		c.eventually("member says that it cannot end", func() bool {
			quarantined := c.up[id].quarantine.Load()
			return quarantined != nil && quarantined.stuck && strings.Contains(quarantined.describe(id), "members 2, 3 are in quarantine")
		})
	}
	c.askedOn(2, 3)
	if _, err := c.create(2, "u"); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_QUARANTINED) {
		t.Fatalf("a write: %v", err)
	}
	view := c.up[1].running.Load().schema.replica.View()
	if _, ok := view.Model.TableByName("public", "t"); !ok {
		t.Fatal("the one that has it has lost it")
	}
	// An operator finds the disk of one of them: now there is a majority again.
	c.kill(2)
	c.disks[2] = kept
	c.start(2)
	c.sound()
	c.holds([]string{"t"})
}

// A bad look at the disk condemns two of three directories that have everything: nobody
// can offer, so nothing in them is set aside, and without the mark they are what they were.
func TestNothingIsSetAsideWithoutAnOffer(t *testing.T) {
	c := newCluster(t, 3, smallCheckpoints)
	c.start(1, 2, 3)
	var acknowledged []string
	for i := range 30 {
		name := fmt.Sprintf("t%d", i)
		c.mustCreate(1, name)
		acknowledged = append(acknowledged, name)
	}
	c.stop(3)
	c.stop(2)
	for _, id := range []uint64{2, 3} {
		writeFile(t, c.disks[id], "data/QUARANTINE", []byte("why: a bad look at it\n"))
	}
	c.start(2, 3)
	for _, id := range []uint64{2, 3} {
		c.eventually("the member says that it cannot end", func() bool {
			quarantined := c.up[id].quarantine.Load()
			return quarantined != nil && quarantined.stuck
		})
	}
	c.askedOn(2, 3)
	for _, id := range []uint64{2, 3} {
		c.kill(id)
		if c.rebuilt(id) {
			t.Fatalf("the directory of member %d was set aside", id)
		}
	}
	if err := c.disks[2].Remove("data/QUARANTINE"); err != nil {
		t.Fatal(err)
	}
	c.start(2, 3)
	c.sound()
	c.holds(acknowledged)
	if c.rebuilt(2) || !c.rebuilt(3) {
		t.Fatal("one was to start as it was, one to be rebuilt")
	}
}

// The leader that a member is rebuilt from dies in the middle of the transfer: another one
// takes over.
func TestTheLeaderDiesDuringARebuild(t *testing.T) {
	gated := &gatedStore{asked: make(chan struct{}, 1), gate: make(chan struct{})}
	c := newCluster(t, 5, func(c *Config) {
		smallCheckpoints(c)
		if c.ID == 5 {
			gated.Storage, c.Store = c.Store, gated
		}
	})
	open := sync.OnceFunc(func() { close(gated.gate) })
	t.Cleanup(open)
	c.start(1, 2, 3, 4, 5)
	var acknowledged []string
	for i := range 60 {
		name := fmt.Sprintf("t%d", i)
		c.mustCreate(uint64(i%5+1), name)
		acknowledged = append(acknowledged, name)
	}
	c.stop(5)
	c.disks[5] = vfs.NewCrashableMem()
	leader := c.leader(schemaStream)
	c.start(5)
	<-gated.asked // a transfer is under way, and does not get further
	c.kill(leader)
	if c.up[5].quarantine.Load() == nil {
		t.Fatal("it was rebuilt although no checkpoint got in")
	}
	open()
	acknowledged = append(acknowledged, "meanwhile")
	c.mustCreate(leader%4+1, "meanwhile")
	// The dead one had answered of what term it was: nobody has to wait for it.
	c.eventually("the member is rebuilt by the next leader", func() bool { return c.up[5].quarantine.Load() == nil })
	c.start(leader)
	c.sound()
	c.holds(acknowledged)
}

// One message condemns nobody, whoever sends it: here a follower who claims to lead the
// next term, and the leader itself, both with a commit index out of a broken memory, to both of the others.
func TestAMessageAloneCondemnsNobody(t *testing.T) {
	c := newCluster(t, 3, smallCheckpoints)
	c.start(1, 2, 3)
	c.mustCreate(1, "before")
	c.converged()
	leader := c.leader(schemaStream)
	liar := leader%3 + 1
	streams := make(map[uint64]*running)
	for id, m := range c.up {
		streams[id] = m.running.Load()
	}
	heartbeat := func(from, to, ahead uint64) {
		s := streams[to].schema
		s.step(from, &raftpb.Message{
			Type: new(raftpb.MsgHeartbeat), From: new(from), To: new(to), Term: new(s.soft.Load().Term + ahead), Commit: new(uint64(1 << 40)),
		})
	}
	for id := range c.up {
		if id != liar {
			heartbeat(liar, id, 1)
		}
	}
	for _, looking := range []bool{true, false} {
		c.eventually(fmt.Sprintf("the lie is looked into: %v", looking), func() bool {
			for id, m := range c.up {
				if id != liar && m.doubting.Load() != looking {
					return false
				}
			}
			return true
		})
	}
	for id := range c.up {
		if id != leader {
			heartbeat(leader, id, 0)
		}
	}
	stop := c.load(leader)
	for _, looking := range []bool{true, false} {
		c.eventually(fmt.Sprintf("the leader's lie is looked into: %v", looking), func() bool {
			for id, m := range c.up {
				if id != leader && m.doubting.Load() != looking {
					return false
				}
			}
			return true
		})
	}
	acknowledged := stop()
	for id, m := range c.up {
		if m.running.Load() != streams[id] || m.quarantine.Load() != nil {
			t.Errorf("member %d gave up its directory for a message", id)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was written meanwhile")
	}
	c.holds(acknowledged)
}

// A directory that was put back from an old copy has an old floor too: what it knows of
// votes is not trusted, and the member is rebuilt.
func TestAnOldCopyOfADirectoryIsRebuilt(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	c.mustCreate(1, "old")
	c.converged()
	c.stop(3)
	copied := c.disks[3].CrashClone(vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(1, 1))})
	c.start(3)
	var acknowledged []string
	for i := range 20 {
		name := fmt.Sprintf("t%d", i)
		c.mustCreate(3, name)
		acknowledged = append(acknowledged, name)
	}
	c.converged()
	c.kill(3)
	c.disks[3] = copied
	c.start(3)
	c.eventually("it was found out", func() bool { return c.rebuilt(3) })
	c.sound()
	c.holds(acknowledged)
}

// filesOf returns the bytes of each file below a directory, by path.
func filesOf(t *testing.T, disk *vfs.MemFS, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	names, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := disk.PathJoin(dir, name)
		if info, err := disk.Stat(path); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			maps.Copy(files, filesOf(t, disk, path))
		} else {
			files[path] = string(readFile(t, disk, path))
		}
	}
	return files
}

// Alone there is nobody to be rebuilt from: it refuses, says what is damaged, and leaves
// everything as it found it: what is still in there may be all that there is. That goes for what
// is read before the database is opened to be written to, such as this log; damage inside a
// checkpoint is found later.
func TestAloneDamageIsRefused(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	for i := range 20 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.stop(1)
	if n := c.spoil(1, "data/db", ".log", func(b []byte) []byte { return b[:len(b)/2] }); n == 0 {
		t.Fatal("nothing to cut")
	}
	before := filesOf(t, c.disks[1], "data")
	for range 2 { // trying again does not make it start
		_, err := c.open(1)
		_, short := errors.AsType[*raftlog.ShortError](err)
		_, damaged := errors.AsType[*raftlog.DamageError](err)
		if !short && !damaged {
			t.Fatalf("got %v", err)
		}
		if !maps.Equal(before, filesOf(t, c.disks[1], "data")) {
			t.Fatalf("refused with %v, but files have changed", err)
		}
	}
}

// Until it is filled in, what came before the checkpoint that a member was rebuilt from is not
// in its history, even if nothing came after: it says so and names who has it.
func TestARebuiltMemberNamesWhoHasItsHistory(t *testing.T) {
	for _, after := range []int{0, 3} {
		c := newCluster(t, 3, unfilled)
		c.start(1, 2, 3)
		for i := range 20 {
			c.mustCreate(1, fmt.Sprintf("t%d", i))
		}
		c.converged()
		c.eventually("all have a checkpoint", func() bool {
			for _, m := range c.up {
				if m.running.Load().schema.status.Load().Newest.Seq != 20 {
					return false
				}
			}
			return true
		})
		for i := range after {
			c.mustCreate(1, fmt.Sprintf("after%d", i))
		}
		c.kill(3)
		c.disks[3] = vfs.NewCrashableMem()
		c.start(3)
		c.sound()
		c.converged()
		err := c.up[3].Subscribe(t.Context(), &metadatav1.SubscribeRequest{
			Start:     &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{SchemaRevision: 1}},
			Filter:    &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
			FailOnGap: true,
		}, func(f feed.Frame) error { return fmt.Errorf("got %v", f.Message()) })
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
			t.Fatalf("with %d changes after the checkpoint: %v", after, err)
		}
		if holder := failure.As(err).Metadata["member"]; holder != "1" && holder != "2" {
			t.Fatalf("no member is named: %v", err)
		}
	}
}

// A member that gives up more often than the stream listens costs no memory.
func TestGivingUpIsBounded(t *testing.T) {
	s := &stream[*schema.Model]{inputs: newQueue[func()]()} // nobody listens
	for range maxInbox + 10 {
		s.givenUp(2, 0)
	}
	if n := len(s.inputs.take(nil)); n > maxInbox {
		t.Fatalf("%d inputs wait, over maxInbox of %d", n, maxInbox)
	}
}

// A pull that is slower than the leader's checkpoints ends all the same: what was offered is
// kept for it, and for the moment until raft has heard the rebuilt member, however long the
// leader has not heard it before.
func TestARebuildSlowerThanCheckpoints(t *testing.T) {
	for name, missed := range map[string]int{"after a moment": 0, "after checkpoints that it missed": 45} {
		t.Run(name, func(t *testing.T) {
			gated := &gatedStore{asked: make(chan struct{}, 1), gate: make(chan struct{})}
			staged, lost := make(chan raftlog.Descriptor, 16), false
			c := newCluster(t, 3, func(c *Config) {
				shortLogs(c)
				if c.ID == 3 && lost {
					gated.Storage = c.Store
					c.Store = &stagingStore{gated, staged}
				}
			})
			open := sync.OnceFunc(func() { close(gated.gate) })
			t.Cleanup(open)
			c.start(1, 2, 3)
			for i := range 45 {
				c.mustCreate(1, fmt.Sprintf("t%d", i))
			}
			c.converged()
			c.kill(3)
			c.disks[3], lost = vfs.NewCrashableMem(), true
			leader := c.leader(schemaStream)
			newest := c.newestCheckpoint(leader)
			for i := 0; i < missed || newest <= uint64(max(missed, 20)); i++ { // slow ones are left out
				c.mustCreate(1, fmt.Sprintf("m%d", i))
				newest = c.newestCheckpoint(leader)
			}
			term := c.schema(leader).soft.Load().Term
			c.start(3)
			<-gated.asked
			for i := range replica.MaxPinnedCuts - 1 {
				for j := range 20 {
					c.mustCreate(1, fmt.Sprintf("u%d_%d", i, j))
				}
				newest = c.checkpoint(leader, newest)
			}
			open()
			c.sound()
			c.converged()
			now := c.schema(leader).soft.Load()
			if n := len(staged); n != 1 && now.Role == raftlog.Leader && now.Term == term { // another leader keeps nothing
				t.Fatalf("%d checkpoints were pulled, the first one was to do", n)
			}
		})
	}
}

// stagingStore notes which checkpoints are staged.
type stagingStore struct {
	raftlog.Storage
	staged chan raftlog.Descriptor
}

func (s *stagingStore) StageCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	s.staged <- d
	return s.Storage.StageCheckpoint(g, d)
}

// What was found out while the member was about to stop is written before it has stopped.
func TestACondemnationSurvivesAStop(t *testing.T) {
	foundOut := func(c *cluster, m *Member, r *running) { m.condemn(r, "found out") }
	foundOutTwice := func(c *cluster, m *Member, r *running) {
		m.condemn(r, "found out")
		m.condemnAs(r, &condemnedError{"found out to be old", raftlog.VotesUnknown})
		m.condemn(r, "found out again")
	}
	late := func(condemn func(*cluster, *Member, *running)) func(*cluster, *Member, *running) {
		return func(c *cluster, m *Member, r *running) {
			r.jobs.Go(func() {
				<-r.ctx.Done()
				condemn(c, m, r)
			})
		}
	}
	for name, test := range map[string]struct {
		condemn func(*cluster, *Member, *running)
		votes   string
	}{
		"before the stop":               {foundOut, "known"},
		"before the stop, twice":        {foundOutTwice, "unknown"},
		"after the streams' end":        {late(foundOut), "known"},
		"after the streams' end, twice": {late(foundOutTwice), "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, nil)
			c.start(1, 2, 3)
			c.mustCreate(1, "t")
			c.converged()
			c.kill(1) // nobody can offer anything
			c.kill(2)
			m := c.up[3].Member
			test.condemn(c, m, m.running.Load())
			c.stop(3)
			if text := string(readFile(t, c.disks[3], "data/QUARANTINE")); !strings.Contains(text, "why: found out\n") || !strings.Contains(text, "votes: "+test.votes+"\n") {
				t.Fatalf("the directory says %q", text)
			}
			c.start(1, 2, 3)
			c.sound()
			if !c.rebuilt(3) {
				t.Fatal("it was not rebuilt")
			}
			c.holds([]string{"t"})
		})
	}
}

// Junk in one directory, before the first start of a cluster: its member is in quarantine,
// the others wait, say for whom, and begin when it is blank too.
func TestJunkInOneDirectoryCondemnsNoNewCluster(t *testing.T) {
	c := newCluster(t, 3, nil)
	if err := c.disks[3].MkdirAll("data/checkpoints", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, c.disks[3], "data/checkpoints/1-2.checkpoint", []byte("junk"))
	c.start(1, 2, 3)
	c.eventually("member 3 is in quarantine", func() bool { return c.up[3].quarantine.Load() != nil })
	for _, id := range []uint64{1, 2} {
		c.eventually("the others say for whom they wait", func() bool {
			why := *c.up[id].waitReason.Load()
			return strings.Contains(why, "is in quarantine, so it is not known whether the cluster has lived") && strings.Contains(why, "member 3 ")
		})
	}
	time.Sleep(3 * genesisRetry)
	for _, id := range []uint64{1, 2} {
		if c.up[id].quarantine.Load() != nil || c.up[id].running.Load() != nil {
			t.Fatalf("member %d condemned itself, or began, for a member in quarantine", id)
		}
	}
	c.kill(3)
	c.disks[3] = vfs.NewCrashableMem()
	c.start(3)
	c.sound()
	c.mustCreate(3, "t")
	c.holds([]string{"t"})
}

// An offer that only a newer build can read ends no member: it waits, and says for what.
func TestAnOfferOfANewerBuildIsWaitedOut(t *testing.T) {
	checkpoint, err := raftlog.GenesisDescriptor(groupOf(schemaStream), []uint64{1, 2, 3}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	r, err := raftlog.NewRebuild(raftlog.RebuildConfig{Group: groupOf(schemaStream), Member: 2, Voters: []uint64{1, 2, 3}, Known: true})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() uint64 {
		for {
			if out, _ := r.Ready(); len(out.Offers) > 0 {
				return out.Offers[0].Round
			}
			r.Tick()
		}
	}
	offered := func(format byte, round uint64) string {
		t.Helper()
		checkpoint[7] = format
		a, err := offerOf(&metadatav1.RebuildOfferAnswer{Round: round, Term: 2, Leader: 1, Offer: &metadatav1.RebuildOffer{
			Term: 2, Last: 5, Commit: 5, StartIndex: raftlog.GenesisIndex, StartTerm: raftlog.GenesisTerm, Checkpoint: checkpoint,
		}})
		if err == nil {
			err = r.Offered(1, a)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r.Status().Waiting
	}
	newer := byte(raftlog.DescriptorFormat + 1)
	round := ask()
	if said := offered(newer, round+1); strings.Contains(said, "format") {
		t.Errorf("it believes an answer to no question: %q", said)
	}
	if said := offered(newer, round); !strings.Contains(said, "what member 1 offers cannot be read: checkpoint format 2 is not known to this build (it knows 1)") || r.Found() {
		t.Errorf("it waits: %q", said)
	}
	if said := offered(newer-1, ask()); strings.Contains(said, "format") || !r.Found() {
		t.Errorf("offered what it can read, it waits: %q", said)
	}
}

// Only the leader's own word that it gives no entries ends an attempt.
func TestWhatCountsAsRefused(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&transport.RemoteError{Code: transport.CodeInternal, Reason: raftlog.ErrLogCut.Error()}, true},
		{fmt.Errorf("call: %w", &transport.RemoteError{Code: codeFailure}), true},
		{&transport.RemoteError{Code: transport.CodeBusy}, false},
		{&transport.RemoteError{Code: transport.CodeDeadline}, false},
		{&transport.RemoteError{Code: transport.CodeCancelled}, false},
		{context.DeadlineExceeded, false},
		{&transport.UnknownPeerError{Peer: 3}, false},
	} {
		if got := refused(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

// While fewer than a majority have the history from its beginning, an alarm names who has.
func TestAlarmWhenFewHaveTheWholeHistory(t *testing.T) {
	c := newCluster(t, 3, unfilled)
	c.start(1, 2, 3)
	for i := range 30 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
		if i%5 == 0 {
			c.converged() // who falls behind is given a checkpoint, and has no whole history either
		}
	}
	c.converged()
	alarm := func() string {
		status, err := c.up[1].Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range status.GetAlarms() {
			if strings.Contains(a.GetMessage(), "history of the schema stream") {
				return a.GetMessage()
			}
		}
		return ""
	}
	for _, step := range []struct {
		lost uint64
		want string // of the alarm afterwards
	}{{3, ""}, {2, "of 3 members only member 1 has"}, {1, "no member that answers has"}} {
		c.eventually("a checkpoint that brings back a member", func() bool {
			for _, m := range c.up {
				if m.running.Load().schema.status.Load().Newest.Seq < 20 {
					return false
				}
			}
			return true
		})
		c.kill(step.lost)
		c.disks[step.lost] = vfs.NewCrashableMem()
		c.start(step.lost)
		c.sound()
		c.converged()
		c.eventually(fmt.Sprintf("the alarm after member %d was rebuilt", step.lost), func() bool {
			said := alarm()
			return (said == "") == (step.want == "") && strings.Contains(said, step.want)
		})
	}
}
