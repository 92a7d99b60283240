package member

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// sizedStore knows exactly how large its history is.
type sizedStore struct{ raftlog.Storage }

func (s sizedStore) HistoryBytes(g raftlog.GroupID, from uint64) (bytes uint64, err error) {
	first, _, err := s.HistoryBounds(g)
	if err != nil {
		return 0, err
	}
	past, err := s.ReadHistory(g, max(from, first), math.MaxInt)
	for _, p := range past {
		bytes += uint64(len(p.Content))
	}
	return bytes, err
}

// keeper is a cluster whose clock the test moves.
type keeper struct {
	*cluster
	now  atomic.Int64                 // seconds
	skew [MaxMembers + 1]atomic.Int64 // of each member's clock, in seconds
}

func newKeeper(t *testing.T, n int, change func(*Config)) *keeper {
	k := new(keeper)
	k.now.Store(1_000_000)
	k.cluster = newCluster(t, n, func(c *Config) {
		smallCheckpoints(c)
		c.LogBytes = 1
		c.Store = sizedStore{c.Store}
		id := c.ID
		c.Now = func() time.Time { return time.Unix(k.now.Load()+k.skew[id].Load(), 0) }
		change(c)
	})
	for id := range uint64(n) {
		k.start(id + 1)
	}
	return k
}

// look has all members look at their histories.
func (k *keeper) look() {
	k.t.Helper()
	k.leader(metadatav1.Stream_STREAM_SERVICE)
	k.converged()
	for _, m := range k.up {
		m.lookAtHistories(m.running.Load())
	}
}

// begins waits until all members have a stream's history from a revision on, and no more.
func (k *keeper) begins(revision uint64) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("history begins at revision %d", revision), func() bool {
		for _, m := range k.up {
			if r := m.running.Load(); r == nil || r.schema.oldestKept() != revision || revision > 1 && r.floor(schemaStream).OldestRevision() != revision {
				return false
			}
		}
		return true
	})
}

// acknowledge moves a consumer on.
func (k *keeper) acknowledge(name string, epoch, revision uint64) {
	k.t.Helper()
	if _, err := k.up[1].Write(k.t.Context(), &metadatav1.AcknowledgeConsumerRequest{
		Name: name, Epoch: epoch, Position: &metadatav1.Position{ClusterId: k.up[1].cluster.String(), SchemaRevision: revision},
	}, "test"); err != nil {
		k.t.Fatalf("acknowledging: %v", err)
	}
}

func (k *keeper) open(name string) (epoch uint64) {
	k.t.Helper()
	reply, err := k.up[1].Write(k.t.Context(), &metadatav1.OpenConsumerRequest{Name: name}, "test")
	if err != nil {
		k.t.Fatalf("opening consumer %s: %v", name, err)
	}
	return reply.(*metadatav1.OpenConsumerResponse).GetConsumer().GetEpoch()
}

// alarm returns the alarms of a member that contain a text.
func (k *keeper) alarm(id uint64, text string) string {
	k.t.Helper()
	status, err := k.up[id].Status(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	var found []string
	for _, a := range status.GetAlarms() {
		if strings.Contains(a.GetMessage(), text) {
			found = append(found, a.GetMessage())
		}
	}
	return strings.Join(found, "\n")
}

// advice returns the advice of a member's alarms whose message contains a text.
func (k *keeper) advice(id uint64, text string) string {
	k.t.Helper()
	status, err := k.up[id].Status(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	var found []string
	for _, a := range status.GetAlarms() {
		if strings.Contains(a.GetMessage(), text) {
			found = append(found, a.GetAdvice())
		}
	}
	return strings.Join(found, "\n")
}

// Changes that are too old go on all members, and those who ask for them hear where the
// history begins; what consumers need stays until they have acknowledged it.
func TestHistoryIsTrimmedByAge(t *testing.T) {
	k := newKeeper(t, 3, func(c *Config) { c.HistoryMaxAge = time.Hour })
	k.createConsumer(1, "slow")
	k.createTables(1, "old", 20)
	k.now.Add(1800)
	k.createTables(1, "young", 10)
	k.look()
	k.begins(1)
	k.now.Add(1801)
	k.look()
	k.begins(1)
	for id := range k.up {
		if held := k.alarm(id, "hold back"); !strings.Contains(held, "slow (at 0)") || !strings.Contains(held, "schema stream") {
			t.Errorf("member %d does not say who holds trimming back: %q", id, held)
		}
		if advice := k.advice(id, "hold back"); !strings.Contains(advice, "--history-hard-bytes is not set") || strings.Contains(advice, "they lose changes") {
			t.Errorf("member %d, which has no hard limit, advises: %s", id, advice)
		}
	}
	epoch := k.open("slow")
	k.acknowledge("slow", epoch, 10)
	k.look()
	k.begins(11)
	k.acknowledge("slow", epoch, 30)
	k.look()
	k.begins(21)
	for id, m := range k.up {
		if held := k.alarm(id, "hold back"); held != "" {
			t.Errorf("member %d says that consumers hold trimming back: %s", id, held)
		}
		if alarm := k.alarm(id, "history of the schema stream"); alarm != "" {
			t.Errorf("member %d misses what was trimmed: %s", id, alarm)
		}
		err := m.Subscribe(t.Context(), &metadatav1.SubscribeRequest{
			Start:     &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{SchemaRevision: 19}},
			Filter:    &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
			FailOnGap: true,
		}, func(f feed.Frame) error { return fmt.Errorf("got %v", f.Message()) })
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || failure.As(err).Metadata["oldest_revision"] != "21" {
			t.Errorf("member %d, revision 20: %v", id, err)
		}
	}
	// A member that comes later fills in what is kept, and nothing before it.
	k.replace(3)
	k.begins(21)
	k.now.Add(7200)
	k.look() // all is too old: the newest record stays
	k.begins(30)
}

// One clock that is wrong trims nothing: not that of the member that decides, and not that of
// another while the third is silent. An alarm says whose it is.
func TestAWrongClockTrimsNothing(t *testing.T) {
	const year = 365 * 24 * 3600
	k := newKeeper(t, 3, func(c *Config) { c.HistoryMaxAge = time.Hour })
	k.createTables(1, "t", 20)
	if alarm := k.alarm(1, "clocks"); alarm != "" {
		t.Errorf("all clocks are the same: %s", alarm)
	}
	leader := k.leader(metadatav1.Stream_STREAM_SERVICE)
	k.skew[leader].Store(year)
	k.look()
	k.begins(1)
	for id := range k.up {
		if alarm := k.alarm(id, "clocks"); !strings.Contains(alarm, fmt.Sprintf("member %d: 1971-01", leader)) {
			t.Errorf("member %d does not say whose clock is wrong: %q", id, alarm)
		}
	}
	k.stop(leader%3 + 1)
	k.look()
	k.begins(1)
	k.start(leader%3 + 1)
	for id := range k.up {
		k.skew[id].Store(3601)
	}
	k.look() // now they agree
	k.begins(20)
}

// Over the size, the oldest changes go; consumers are passed over the hard limit only, and an
// alarm names them.
func TestHistoryIsTrimmedBySize(t *testing.T) {
	k := newKeeper(t, 3, func(c *Config) { c.HistoryMaxBytes = 4000 })
	k.createConsumer(1, "slow")
	k.createTables(1, "t", 30)
	size := k.size()
	if size < 4500 || size > 8000 {
		t.Fatalf("30 changes have %d bytes: adapt the limits of this test", size)
	}
	k.look()
	k.begins(1)
	if advice := k.advice(2, "hold back"); !strings.Contains(advice, "over --history-hard-bytes, 8000 bytes, they lose changes") {
		t.Errorf("a member with a hard limit advises: %s", advice)
	}
	if passed := k.alarm(2, "were trimmed"); passed != "" {
		t.Errorf("nobody was passed, yet: %s", passed)
	}
	for i := 0; k.size() <= 9500; i++ {
		k.createTables(1, fmt.Sprintf("u%d_", i), 5)
	}
	k.eventually("the size is kept, but for a tenth: who was passed holds nothing back", func() bool {
		k.look()
		return k.size() <= 4600 && k.size() > 3000
	})
	first := k.up[1].floor(schemaStream)
	k.begins(first)
	for id := range k.up {
		if passed := k.alarm(id, "were trimmed"); !strings.Contains(passed, "slow (at 0)") || !strings.Contains(passed, fmt.Sprintf("revision %d", first)) {
			t.Errorf("member %d does not say who was passed: %q", id, passed)
		}
		if advice := k.advice(id, "were trimmed"); !strings.Contains(advice, "more than 8000") {
			t.Errorf("member %d advises: %s", id, advice)
		}
	}
	if _, err := k.up[1].Write(t.Context(), &metadatav1.DeleteConsumerRequest{Name: "slow"}, "test"); err != nil {
		t.Fatal(err)
	}
	k.eventually("nobody is left who was passed", func() bool { return k.alarm(1, "were trimmed") == "" })
}

// While members were told to keep different histories nothing is trimmed, whoever leads, and each says so.
func TestMembersThatKeepDifferentHistories(t *testing.T) {
	const large = 1 << 40
	most := uint64(large)
	k := newKeeper(t, 3, func(c *Config) {
		if c.HistoryMaxBytes = 4000; c.ID == 3 {
			c.HistoryMaxBytes = most
		}
		c.HistoryHardBytes = large
	})
	k.createTables(1, "t", 40)
	for id, m := range k.up {
		alarm := k.alarm(id, "different histories")
		if !strings.Contains(alarm, "member 1: 0s, 4000 bytes") || !strings.Contains(alarm, fmt.Sprintf("member 3: 0s, %d bytes", most)) {
			t.Errorf("member %d does not say who differs: %q", id, alarm)
		}
		k.eventually("it leads the service stream", func() bool {
			s := k.up[k.leader(metadatav1.Stream_STREAM_SERVICE)].running.Load().service
			do(s, func() { s.replica.TransferLeader(id) })
			return m.running.Load().service.soft.Load().Role == raftlog.Leader
		})
		k.look()
		k.begins(1)
	}
	k.stop(3)
	most = 4000
	k.start(3)
	k.look()
	k.eventually("the history is trimmed", func() bool { return k.up[1].floor(schemaStream) > 1 })
	if alarm := k.alarm(2, "different histories"); alarm != "" {
		t.Errorf("all are the same: %s", alarm)
	}
}

// fullStore is on a disk that can be filled up to its reserve: what may not use that finds no room.
type fullStore struct {
	sizedStore
	full *atomic.Bool
}

func (s fullStore) Space() (free, used uint64, err error) {
	if free, used, err = s.sizedStore.Space(); s.full.Load() {
		free = 0
	}
	return free, used, err
}

func (s fullStore) CreateCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	if s.full.Load() {
		return nil, raftlog.ErrFull
	}
	return s.sizedStore.CreateCheckpoint(g, d)
}

func (s fullStore) CreateArchived(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	if s.full.Load() {
		return nil, raftlog.ErrFull
	}
	return s.sizedStore.CreateArchived(g, d)
}

// On a full disk nothing new is taken, but what makes room is: a consumer that holds trimming back is
// deleted, the history is trimmed, and what was trimmed is deleted.
func TestAFullDiskIsTrimmed(t *testing.T) {
	var full atomic.Bool
	k := newKeeper(t, 1, func(c *Config) {
		c.HistoryMaxBytes, c.HistoryHardBytes = 4000, math.MaxUint64
		c.Store = fullStore{c.Store.(sizedStore), &full}
	})
	k.createConsumer(1, "slow")
	k.createTables(1, "t", 40)
	k.checkpointed(1, 40)
	full.Store(true)
	create := &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: "another"}}
	k.eventually("the disk is full", func() bool {
		_, err := k.up[1].Write(t.Context(), create, "test")
		return failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DISK_FULL)
	})
	k.look()
	k.begins(1)
	if _, err := k.up[1].Write(t.Context(), &metadatav1.DeleteConsumerRequest{Name: "slow"}, "test"); err != nil {
		t.Fatalf("deleting a consumer on a full disk: %v", err)
	}
	k.look()
	var floor uint64
	k.eventually("the history is trimmed", func() bool {
		floor = k.up[1].floor(schemaStream)
		return floor > 1
	})
	nearest, newest := k.checkpointsAround(floor)
	if nearest == floor-1 || newest < floor {
		t.Fatalf("checkpoints at %d and %d, and the history begins at %d: the model before that need not be folded; adapt this test", nearest, newest, floor)
	}
	k.eventually("what was trimmed is deleted", func() bool {
		first, _, err := k.up[1].store.HistoryBounds(groupOf(schemaStream))
		return err == nil && first == floor
	})
	if _, err := k.up[1].Write(t.Context(), create, "test"); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DISK_FULL) {
		t.Errorf("creating a consumer on a full disk: %v", err)
	}
}

// checkpointsAround returns the revisions of the last current checkpoint of the schema before a floor, 0 for
// genesis, and of the newest one.
func (k *keeper) checkpointsAround(floor uint64) (before, newest uint64) {
	k.t.Helper()
	current, err := k.up[1].store.Checkpoints(groupOf(schemaStream))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, d := range current {
		if newest = d.Seq; d.Seq < floor {
			before = d.Seq
		}
	}
	return before, newest
}

// size returns how large the schema's history is on the first member, without what is about to be
// deleted.
func (k *keeper) size() uint64 {
	k.t.Helper()
	size, err := k.up[1].store.HistoryBytes(groupOf(schemaStream), max(k.up[1].floor(schemaStream), 1))
	if err != nil {
		k.t.Fatal(err)
	}
	return size
}

// The service stream keeps its newest changes only, and members look by themselves.
func TestTheServiceStreamIsTrimmed(t *testing.T) {
	k := newKeeper(t, 1, func(c *Config) { c.HistoryServiceChanges, c.Tick = 20, MinTick })
	for i := range 30 {
		k.createConsumer(1, fmt.Sprintf("c%d", i))
	}
	k.eventually("it is trimmed", func() bool { return k.up[1].running.Load().service.oldestKept() == 11 })
	if head := k.up[1].running.Load().service.replica.View().Head.Revision; head != 31 {
		t.Errorf("the service stream is at revision %d", head)
	}
}

// A floor is decided by the leader that has seen the history, and never forwarded.
func TestTrimsAreNotForwarded(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	leader := c.leader(metadatav1.Stream_STREAM_SERVICE)
	for id, m := range c.up {
		if id == leader {
			continue
		}
		_, err := m.Write(t.Context(), &metadatav1.TrimHistory{Floor: &metadatav1.HistoryFloor{
			Stream: schemaStream, OldestRevision: 2, PreviousDigest: make([]byte, 32),
		}}, "test")
		if err == nil || !strings.Contains(err.Error(), "never forwarded") {
			t.Errorf("member %d: %v", id, err)
		}
	}
}

func TestConfigOfHistory(t *testing.T) {
	c := Config{HistoryMaxBytes: 10}
	c.setDefaults()
	if c.HistoryHardBytes != 20 || c.HistoryServiceChanges != 0 {
		t.Errorf("defaults %d and %d", c.HistoryHardBytes, c.HistoryServiceChanges)
	}
	for says, change := range map[string]func(*Config){
		"HistoryHardBytes is 9": func(c *Config) { c.HistoryMaxBytes, c.HistoryHardBytes = 10, 9 },
		"a history of -1s":      func(c *Config) { c.HistoryMaxAge = -time.Second },
	} {
		c := Config{ID: 1, ClusterName: "c", Peers: []raftlog.Peer{{ID: 1, Addr: "127.0.0.1:1"}}, Tick: DefaultTick}
		change(&c)
		c.setDefaults()
		if err := c.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
