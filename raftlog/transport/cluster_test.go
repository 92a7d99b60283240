package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"

	"github.com/heliosdb/metadata/raftlog"
)

const (
	waitLimit = 10 * time.Second // after which something that must happen has not
	quietTime = 50 * time.Millisecond
	childEnv  = "HELIOSMETA_TRANSPORT_TEST_CHILD"
)

func TestMain(m *testing.M) {
	if peers := os.Getenv(childEnv); peers != "" {
		runChild(peers)
		return
	}
	goleak.VerifyTestMain(m)
}

// received is a message and how it came.
type received struct {
	from  uint64
	group raftlog.GroupID
	m     *pb.Message
}

// change is a PeerUp or a PeerDown.
type change struct {
	peer    uint64
	up      bool
	refused bool
	hello   Hello
}

// recorder is a Handler that hands everything to the test.
type recorder struct {
	messages chan received
	changes  chan change
	call     func(ctx context.Context, from uint64, method uint8, payload []byte) ([]byte, error)
	block    chan struct{} // if set, Message waits for it to be closed
}

func newRecorder() *recorder {
	return &recorder{messages: make(chan received, 1<<16), changes: make(chan change, 1<<10)}
}

func (r *recorder) Message(from uint64, group raftlog.GroupID, m *pb.Message) {
	if r.block != nil {
		<-r.block
	}
	r.messages <- received{from, group, m}
}

func (r *recorder) Call(ctx context.Context, from uint64, method uint8, payload []byte) ([]byte, error) {
	if r.call == nil {
		return payload, nil
	}
	return r.call(ctx, from, method, payload)
}

func (r *recorder) PeerUp(id uint64, hello Hello) {
	r.changes <- change{peer: id, up: true, hello: hello}
}

func (r *recorder) PeerDown(id uint64, refused bool) {
	r.changes <- change{peer: id, refused: refused}
}

// node is a transport under test with what it heard.
type node struct {
	*Transport
	heard *recorder
	addr  string
	cfg   Config
}

func testHello() Hello {
	return Hello{
		ClusterID:    [16]byte{1, 2, 3},
		Claim:        raftlog.StateLived,
		FeatureLevel: 1,
		Advertise:    "127.0.0.1:9000",
		Build:        "test",
	}
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startNode makes and starts one transport, and closes it at the test's end.
func startNode(t testing.TB, cfg Config) *node {
	t.Helper()
	n := &node{heard: newRecorder(), addr: cfg.Listener.Addr().String(), cfg: cfg}
	if r, ok := cfg.Handler.(*recorder); ok {
		n.heard = r
	}
	cfg.Handler = n.heard
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)).With("self", cfg.Member)
	var err error
	if n.Transport, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(func() { n.Close() })
	return n
}

// startCluster starts members 1 to size, all peers of each other. configure may change
// each configuration; members it leaves without a listener are not started.
func startCluster(t testing.TB, size int, configure func(*Config)) map[uint64]*node {
	t.Helper()
	listeners, peers := map[uint64]net.Listener{}, map[uint64]string{}
	for id := uint64(1); id <= uint64(size); id++ {
		listeners[id] = listen(t, "127.0.0.1:0")
		peers[id] = listeners[id].Addr().String()
	}
	nodes := map[uint64]*node{}
	for id := uint64(1); id <= uint64(size); id++ {
		cfg := Config{Member: id, ClusterName: "prod", Hello: testHello(), Peers: peers, Listener: listeners[id]}
		if configure != nil {
			configure(&cfg)
		}
		nodes[id] = startNode(t, cfg)
	}
	return nodes
}

// awaitUp waits until each node has a connection to every other.
func awaitUp(t testing.TB, nodes map[uint64]*node) {
	t.Helper()
	for id, n := range nodes {
		for other := range nodes {
			if id != other {
				n.awaitChange(t, other, true)
			}
		}
	}
}

// awaitChange waits for the next change of a peer and checks its direction;
// changes of other peers are kept for later.
func (n *node) awaitChange(t testing.TB, peer uint64, up bool) change {
	t.Helper()
	limit := time.After(waitLimit)
	var others []change
	defer func() {
		for _, c := range others {
			n.heard.changes <- c
		}
	}()
	for {
		select {
		case c := <-n.heard.changes:
			if c.peer != peer {
				others = append(others, c)
				continue
			}
			if c.up != up {
				t.Fatalf("peer %d: got %+v, want up=%v", peer, c, up)
			}
			return c
		case <-limit:
			t.Fatalf("peer %d: no change after %v, want up=%v", peer, waitLimit, up)
		}
	}
}

func (n *node) awaitMessage(t testing.TB) received {
	t.Helper()
	select {
	case r := <-n.heard.messages:
		return r
	case <-time.After(waitLimit):
		t.Fatalf("no message after %v; %+v", waitLimit, n.Stats())
		return received{}
	}
}

// eventually waits for a condition that only time can bring.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", waitLimit, what)
		}
	}
}

func message(typ pb.MessageType, from, to, index uint64, data ...[]byte) *pb.Message {
	m := &pb.Message{Type: typ.Enum(), From: &from, To: &to, Index: &index}
	for _, d := range data {
		m.Entries = append(m.Entries, &pb.Entry{Data: d})
	}
	return m
}

// runChild is member 2 in a process of its own: it listens, prints its address,
// and runs until it is killed.
func runChild(peers string) {
	cfg := Config{Member: 2, Hello: testHello(), Handler: newRecorder()}
	if err := json.Unmarshal([]byte(peers), &cfg.Peers); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	cfg.Listener = l
	t, err := New(cfg)
	if err != nil {
		panic(err)
	}
	t.Start()
	fmt.Println(l.Addr())
	// The parent's end of standard input closes when the parent goes away.
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	t.Close()
}
