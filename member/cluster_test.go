package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/heliosdb/metadata/internal/loopback"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is some members in one process, on memory file systems and loopback.
type cluster struct {
	t      testing.TB
	name   string
	peers  []raftlog.Peer
	disks  map[uint64]*vfs.MemFS
	up     map[uint64]*live
	change func(*Config)
}

// live is a member that runs.
type live struct {
	*Member
	cancel context.CancelFunc
	ended  chan error
}

var errKilled = errors.New("killed by the test")

func newCluster(t testing.TB, n int, change func(*Config)) *cluster {
	t.Helper()
	c := &cluster{
		t: t, name: "test", disks: make(map[uint64]*vfs.MemFS), up: make(map[uint64]*live), change: change,
	}
	for id := uint64(1); id <= uint64(n); id++ {
		address, err := loopback.Address()
		if err != nil {
			t.Fatal(err)
		}
		c.peers = append(c.peers, raftlog.Peer{ID: id, Addr: address})
		c.disks[id] = vfs.NewCrashableMem()
	}
	t.Cleanup(func() {
		for id := range c.up {
			c.kill(id)
		}
	})
	return c
}

// open makes a member without running it.
func (c *cluster) open(id uint64) (*Member, error) {
	c.t.Helper()
	store, err := pebblestore.Open("data", pebblestore.Options{
		FS: c.disks[id], ReserveBytes: 1, Quarantine: len(c.peers) > 1, Fatal: func(err error) { c.t.Errorf("storage of member %d: %v", id, err) },
	})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", c.peers[id-1].Addr)
	if err != nil {
		c.t.Fatal(err)
	}
	config := Config{
		ID: id, ClusterName: c.name, Peers: c.peers, Store: store, RaftListener: listener,
		Advertise: fmt.Sprintf("127.0.0.1:%d", 9000+id), Tick: 10 * time.Millisecond, Logger: testLogger(), Build: "test",
	}
	if c.change != nil {
		c.change(&config)
	}
	m, err := New(config)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), store.Close())
	}
	return m, nil
}

func testLogger() *slog.Logger {
	if os.Getenv("MEMBER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start runs members.
func (c *cluster) start(ids ...uint64) {
	c.t.Helper()
	for _, id := range ids {
		m, err := c.open(id)
		if err != nil {
			c.t.Fatalf("member %d: %v", id, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		l := &live{Member: m, cancel: cancel, ended: make(chan error, 1)}
		go func() { l.ended <- m.Run(ctx) }()
		c.up[id] = l
	}
}

// stop ends a member the way an operator does.
func (c *cluster) stop(id uint64) {
	c.t.Helper()
	l := c.up[id]
	delete(c.up, id)
	l.cancel()
	if err := <-l.ended; err != nil {
		c.t.Errorf("member %d: stopping: %v", id, err)
	}
}

// kill ends a member without a chance to hand anything over.
func (c *cluster) kill(id uint64) {
	c.t.Helper()
	l := c.up[id]
	delete(c.up, id)
	l.fail(errKilled)
	if err := <-l.ended; !errors.Is(err, errKilled) {
		c.t.Errorf("member %d: ended with %v", id, err)
	}
	l.cancel()
}

// losePower ends all members at once. Their disks keep what was synced, and of the
// rest as much as chance wants.
func (c *cluster) losePower(rng *rand.Rand) {
	c.t.Helper()
	for id, disk := range c.disks {
		c.disks[id] = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	}
	for id := range c.up {
		c.kill(id)
	}
}

// leader waits until all members that run agree on a stream's leader.
func (c *cluster) leader(id metadatav1.Stream) uint64 {
	c.t.Helper()
	var leader uint64
	c.eventually("a leader", func() bool {
		leader = 0
		for _, m := range c.up {
			r := m.running.Load()
			if r == nil || r.of(id).leader() == 0 || (leader != 0 && r.of(id).leader() != leader) {
				return false
			}
			leader = r.of(id).leader()
		}
		return c.up[leader] != nil
	})
	return leader
}

// eventually waits until something holds.
func (c *cluster) eventually(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("never: %s", what)
		}
	}
}

// create creates a table through a member.
func (c *cluster) create(id uint64, name string) (*metadatav1.CreateTableResponse, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	reply, err := c.up[id].Write(ctx, createTable(name), "test")
	if err != nil {
		return nil, err
	}
	return reply.(*metadatav1.CreateTableResponse), nil
}

func (c *cluster) mustCreate(id uint64, name string) *metadatav1.CreateTableResponse {
	c.t.Helper()
	reply, err := c.create(id, name)
	if err != nil {
		c.t.Fatalf("creating %s through member %d: %v", name, id, err)
	}
	return reply
}

func createTable(name string) *metadatav1.CreateTableRequest {
	return &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{
		Name: name,
		Columns: []*metadatav1.ColumnSchema{{
			Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64},
		}},
		PrimaryKey: []string{"id"},
	}}
}

// converged waits until all members that run have the same model, with everything
// that was acknowledged before, and returns the number of its tables.
func (c *cluster) converged() int {
	c.t.Helper()
	for _, m := range c.up {
		// Equal models alone could lack what a new leader has yet to commit.
		c.eventually("a linearizable read", func() bool {
			_, err := m.Schema(c.t.Context(), nil)
			return err == nil
		})
	}
	tables := 0
	c.eventually("equal models", func() bool {
		var hash *[32]byte
		for _, m := range c.up {
			r := m.running.Load()
			if r == nil {
				return false
			}
			view := r.schema.replica.View()
			h := view.Hash()
			if hash != nil && *hash != h {
				return false
			}
			hash, tables = &h, view.Model.TableCount()
		}
		return true
	})
	return tables
}

// quickLeases make nodes go offline fast.
func quickLeases(c *Config) {
	c.Leases = leases.Options{Lease: 300 * time.Millisecond, Interval: 50 * time.Millisecond}
}
