package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
)

func TestKilledProcessIsNoticedAtOnce(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	peers, err := json.Marshal(map[uint64]string{1: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+string(peers))
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		_ = child.Process.Kill() // already dead when the test passes
		_ = child.Wait()
	}()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, Config{Member: 1, Hello: testHello(), Listener: l, Peers: map[uint64]string{2: strings.TrimSpace(addr)}})
	n.awaitChange(t, 2, true)

	killed := time.Now()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if c := n.awaitChange(t, 2, false); !c.refused {
		t.Error("PeerDown does not say that the process is gone")
	}
	took := time.Since(killed)
	t.Logf("noticed after %v", took)
	// A loaded machine may be slow; a transport that waits for a time-out is slower.
	if took > time.Second {
		t.Errorf("noticed after %v", took)
	}
}

// relay dials for a transport and can break what it dialled.
type relay struct {
	mu    sync.Mutex
	conns []net.Conn
	fail  error // what dials return, if set
}

func (r *relay) dial(ctx context.Context, addr string) (net.Conn, error) {
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.conns = append(r.conns, c)
	}
	return c, err
}

func (r *relay) cut(fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func TestBrokenConnectionIsReplaced(t *testing.T) {
	r := &relay{}
	nodes := startCluster(t, 2, func(c *Config) {
		if c.Member == 1 {
			c.Dial = r.dial
		}
	})
	awaitUp(t, nodes)
	r.cut(nil)
	nodes[1].awaitChange(t, 2, true) // up again, and no PeerDown in between
	nodes[1].Send(1, []*pb.Message{message(pb.MsgApp, 1, 2, 5)})
	if m := nodes[2].awaitMessage(t); m.m.GetIndex() != 5 {
		t.Errorf("got %v", m.m)
	}
}

func TestUnreachablePeerIsNotGone(t *testing.T) {
	r := &relay{}
	nodes := startCluster(t, 2, func(c *Config) {
		if c.Member == 1 {
			c.Dial = r.dial
		}
	})
	awaitUp(t, nodes)
	r.cut(errors.New("no route to host"))
	if c := nodes[1].awaitChange(t, 2, false); c.refused {
		t.Error("PeerDown takes an unreachable peer for a dead one")
	}
	if _, connected, _, ok := nodes[1].Peer(2); connected || !ok {
		t.Errorf("Peer: connected=%v ok=%v", connected, ok)
	}
	r.cut(nil)
	nodes[1].awaitChange(t, 2, true)
}

func TestFlappingPeerIsDown(t *testing.T) {
	r := &relay{}
	nodes := startCluster(t, 2, func(c *Config) {
		if c.Member == 1 {
			c.Dial = r.dial
		}
	})
	awaitUp(t, nodes)
	for range maxFlaps - 1 {
		r.cut(nil)
		nodes[1].awaitChange(t, 2, true)
	}
	r.cut(nil)
	if c := nodes[1].awaitChange(t, 2, false); c.refused {
		t.Error("a flapping peer is taken for a dead one")
	}
	nodes[1].awaitChange(t, 2, true)
}

func TestRestartedPeer(t *testing.T) {
	nodes := startCluster(t, 2, nil)
	awaitUp(t, nodes)
	first := nodes[2]
	first.Close()
	if c := nodes[1].awaitChange(t, 2, false); !c.refused {
		t.Error("a closed port does not count as refused")
	}
	cfg := first.cfg
	cfg.Listener = listen(t, first.addr)
	cfg.Hello.Build = "newer"
	second := startNode(t, cfg)
	up := nodes[1].awaitChange(t, 2, true)
	if up.hello.Build != "newer" {
		t.Errorf("PeerUp has the hello %+v", up.hello)
	}
	second.awaitChange(t, 1, true)
	nodes[1].Send(1, []*pb.Message{message(pb.MsgApp, 1, 2, 6)})
	if m := second.awaitMessage(t); m.m.GetIndex() != 6 {
		t.Errorf("got %v", m.m)
	}
}

// TestReplacedProcessIsGone restarts a peer behind an address that never stops
// answering, as behind a proxy.
func TestReplacedProcessIsGone(t *testing.T) {
	nodes := startCluster(t, 2, nil)
	var mu sync.Mutex
	target := nodes[2].addr
	r := &relay{}
	n := startNode(t, Config{
		Member: 3, Hello: testHello(), Listener: listen(t, "127.0.0.1:0"),
		Peers: map[uint64]string{4: "proxy"},
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			return r.dial(ctx, target)
		},
	})
	start := func() *node {
		return startNode(t, Config{Member: 4, Hello: testHello(), Listener: listen(t, "127.0.0.1:0"), Peers: map[uint64]string{3: n.addr}})
	}
	first := start()
	mu.Lock()
	target = first.addr
	mu.Unlock()
	old := n.awaitChange(t, 4, true)
	second := start()
	mu.Lock()
	target = second.addr
	mu.Unlock()
	r.cut(nil)
	if c := n.awaitChange(t, 4, false); !c.refused {
		t.Error("another process answers, and PeerDown does not say that the first is gone")
	}
	if c := n.awaitChange(t, 4, true); c.hello.Instance == old.hello.Instance {
		t.Error("two processes have the same instance")
	}
}

func TestSilentPeerIsBroken(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	var served sync.WaitGroup
	defer func() { l.Close(); served.Wait() }()
	served.Go(func() { // answers hellos and then says nothing
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				frames := newFrameReader(c, MaxFrame)
				f, err := frames.next()
				if err != nil {
					return
				}
				g, err := parseGreeting(f.payload)
				if err != nil {
					return
				}
				hello := testHello()
				hello.Member = 2
				_, _ = c.Write(appendFrame(nil, frameHello, greeting{Format: Format, Purpose: g.Purpose, Recipient: 1, Hello: hello}.append(nil)))
				for err == nil {
					_, err = frames.next()
				}
			})
		}
	})
	n := startNode(t, Config{
		Member: 1, Hello: testHello(), Listener: listen(t, "127.0.0.1:0"),
		Peers:  map[uint64]string{2: l.Addr().String()},
		Timing: Timing{Ping: 10 * time.Millisecond, Idle: 60 * time.Millisecond},
	})
	n.awaitChange(t, 2, true)
	n.awaitChange(t, 2, true) // broken, dialled again, and answered by the same process
	n.Close()
}

// stalling is a connection whose reads can find their deadline passed.
type stalling struct {
	net.Conn
	stalls *atomic.Int32
}

func (s stalling) Read(p []byte) (int, error) {
	if s.stalls.Add(-1) >= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return s.Conn.Read(p)
}

func TestStalledProcessLooksAgain(t *testing.T) {
	var stalls atomic.Int32
	nodes := startCluster(t, 2, func(c *Config) {
		if c.Member == 1 {
			c.Timing.Ping = 5 * time.Millisecond
			c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
				return stalling{raw, &stalls}, err
			}
		}
	})
	awaitUp(t, nodes)
	if _, err := nodes[1].Call(t.Context(), 2, 0, nil); err != nil {
		t.Fatal(err)
	}
	stalls.Store(1)
	eventually(t, "a read past its deadline", func() bool { return stalls.Load() < 0 })
	time.Sleep(quietTime)
	if got := nodes[1].Stats().Dialled; got != 2 || len(nodes[1].heard.changes) > 0 {
		t.Errorf("a late read broke the connection: dialled %d times", got)
	}
}

func TestReconnectBacksOff(t *testing.T) {
	var mu sync.Mutex
	var dials []time.Time
	n := startNode(t, Config{
		Member: 1, Hello: testHello(), Listener: listen(t, "127.0.0.1:0"),
		Peers: map[uint64]string{2: "nowhere"},
		Dial: func(context.Context, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials = append(dials, time.Now())
			return nil, errors.New("nothing there")
		},
		Timing: Timing{BackoffMin: time.Millisecond, BackoffMax: 40 * time.Millisecond},
	})
	time.Sleep(400 * time.Millisecond)
	n.Close()
	// Two links, each with half of 1+2+4+...+40ms at least between its dials.
	if count := len(dials); count < 6 || count > 2*(6+400/20) {
		t.Errorf("%d dials in 400ms", count)
	}
	if n.Stats().DialFailures != uint64(len(dials)) {
		t.Errorf("counted %d failures of %d", n.Stats().DialFailures, len(dials))
	}
}
