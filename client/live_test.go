package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/loopback"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/member"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is members with their servers in one process, on memory file systems
// and loopback. The addresses outlive restarts.
type cluster struct {
	fatalf func(format string, args ...any)
	leases leases.Options
	// configure changes a member's configuration before it starts; nil: nothing.
	configure func(*member.Config)
	peers     []raftlog.Peer
	api       map[uint64]string
	disks     map[uint64]vfs.FS
	up        map[uint64]*live
}

// live is a member that runs.
type live struct {
	member *member.Member
	server *server.Server
	wires  *wires // to clients
	raft   *wires // to other members
	cancel context.CancelFunc
	ended  chan error
	served chan error
}

// startCluster runs members until the test ends.
func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := newCluster(n, func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) })
	t.Cleanup(c.close)
	c.startAll()
	return c
}

func newCluster(n int, fatalf func(string, ...any)) *cluster {
	c := &cluster{fatalf: fatalf, api: make(map[uint64]string), disks: make(map[uint64]vfs.FS), up: make(map[uint64]*live)}
	for id := uint64(1); id <= uint64(n); id++ {
		c.peers = append(c.peers, raftlog.Peer{ID: id, Addr: c.address()})
		c.api[id], c.disks[id] = c.address(), vfs.NewMem()
	}
	return c
}

func (c *cluster) address() string {
	address, err := loopback.Address()
	if err != nil {
		c.fatalf("%v", err)
	}
	return address
}

func (c *cluster) listen(address string) net.Listener {
	l, err := net.Listen("tcp", address)
	if err != nil {
		c.fatalf("%v", err)
	}
	return l
}

// endpoints are the API addresses of all members, running or not.
func (c *cluster) endpoints() (all []string) {
	for _, p := range c.peers {
		all = append(all, c.api[p.ID])
	}
	return all
}

func (c *cluster) startAll() {
	for _, p := range c.peers {
		c.start(p.ID)
	}
	for _, p := range c.peers {
		c.awaitReady(p.ID)
	}
}

// awaitReady waits as an operator does before the next member's turn.
func (c *cluster) awaitReady(id uint64) {
	for deadline := time.Now().Add(20 * time.Second); c.up[id].member.Ready() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.fatalf("member %d is not ready: %v", id, c.up[id].member.Ready())
		}
	}
}

func (c *cluster) start(id uint64) {
	store, err := pebblestore.Open("data", pebblestore.Options{
		FS: c.disks[id], ReserveBytes: 1, Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		c.fatalf("member %d: %v", id, err)
	}
	w := &wires{open: make(map[net.Conn]struct{})}
	quiet := slog.New(slog.DiscardHandler)
	raft := &wires{open: make(map[net.Conn]struct{})}
	config := member.Config{
		ID: id, ClusterName: "live", Peers: c.peers, Store: store, Dial: raft.dial,
		RaftListener: raft.tap(c.listen(c.peers[id-1].Addr)), Advertise: c.api[id],
		Tick: 10 * time.Millisecond, Leases: c.leases, Logger: quiet,
	}
	if c.configure != nil {
		c.configure(&config)
	}
	m, err := member.New(config)
	if err != nil {
		c.fatalf("member %d: %v", id, err)
	}
	s, err := server.New(m, server.Options{Log: quiet})
	if err != nil {
		c.fatalf("server %d: %v", id, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &live{member: m, server: s, wires: w, raft: raft, cancel: cancel, ended: make(chan error, 1), served: make(chan error, 1)}
	api := w.tap(c.listen(c.api[id]))
	go func() { l.ended <- m.Run(ctx) }()
	go func() { l.served <- s.Serve(api) }()
	c.up[id] = l
}

// stop ends a member the way an operator does.
func (c *cluster) stop(id uint64) {
	l := c.up[id]
	delete(c.up, id)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.server.Stop(ctx); err != nil {
		c.fatalf("stopping server %d: %v", id, err)
	}
	l.cancel()
	if err := errors.Join(<-l.served, <-l.ended); err != nil {
		c.fatalf("stopping member %d: %v", id, err)
	}
}

// kill cuts all connections of a member at once, then ends it: to the others and
// to its clients it looks like a crash.
func (c *cluster) kill(id uint64) {
	l := c.up[id]
	delete(c.up, id)
	l.wires.cut()
	l.raft.cut()
	l.cancel()
	<-l.ended
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = l.server.Stop(ctx) // its listener is gone already
	<-l.served
}

func (c *cluster) close() {
	for id := range c.up {
		c.kill(id)
	}
}

// leader waits for a stream's leader.
func (c *cluster) leader(s metadatav1.Stream) uint64 {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for id, l := range c.up {
			status, err := l.member.Status(context.Background())
			if err != nil {
				continue
			}
			for _, m := range status.GetMembers() {
				for _, stream := range m.GetStreams() {
					if m.GetMemberId() == id && stream.GetStream() == s && stream.GetRole() == metadatav1.Role_ROLE_LEADER {
						return id
					}
				}
			}
		}
	}
	c.fatalf("%v has no leader", s)
	return 0
}

// dial returns a client of all members.
func (c *cluster) dial(t *testing.T) *client.Client {
	t.Helper()
	all, err := client.New(client.Options{Endpoints: c.endpoints(), Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(all.Close)
	return all
}

// wires are the connections of one member, to be cut all at once.
type wires struct {
	mu        sync.Mutex
	gone      bool
	muted     bool // connections close at once
	listeners []net.Listener
	open      map[net.Conn]struct{}
}

var errCut = errors.New("the wires are cut")

func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	for _, l := range w.listeners {
		_ = l.Close()
	}
	for conn := range w.open {
		_ = conn.Close()
	}
}

// mute closes all connections and every new one until it is taken back.
func (w *wires) mute(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted = on
	for conn := range w.open {
		if on {
			_ = conn.Close()
		}
	}
}

func (w *wires) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return w.track(conn)
}

func (w *wires) track(conn net.Conn) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone || w.muted {
		return nil, errors.Join(errCut, conn.Close())
	}
	w.open[conn] = struct{}{}
	return conn, nil
}

func (w *wires) tap(l net.Listener) net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, l)
	return tapped{l, w}
}

type tapped struct {
	net.Listener
	wires *wires
}

func (t tapped) Accept() (net.Conn, error) {
	for {
		conn, err := t.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn, err = t.wires.track(conn); err == nil {
			return conn, nil
		}
	}
}

// within returns a context for calls that have to succeed soon.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func newTable(name string) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		Name: name,
		Columns: []*metadatav1.ColumnSchema{
			{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
		},
		PrimaryKey: []string{"id"},
	}
}

func createTable(name string) *metadatav1.CreateTableRequest {
	return &metadatav1.CreateTableRequest{Table: newTable(name)}
}

func storageNode(id string, port int) *metadatav1.RegisterNodeRequest {
	return &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: id, Addr: fmt.Sprintf("127.0.0.1:%d", port), NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: id,
	}}
}

// must fails the test on an error.
func must[V any](v V, err error) func(*testing.T) V {
	return func(t *testing.T) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
