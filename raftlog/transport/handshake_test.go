package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// stranger is a connection that the test speaks on itself.
type stranger struct {
	net.Conn
	frames *frameReader
}

func connectTo(t *testing.T, n *node) *stranger {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	return &stranger{Conn: c, frames: newFrameReader(c, MaxFrame)}
}

func (s *stranger) write(t *testing.T, b []byte) {
	t.Helper()
	if _, err := s.Write(b); err != nil {
		t.Fatal(err)
	}
}

// greet sends a hello and returns the answer.
func (s *stranger) greet(t *testing.T, g greeting) frame {
	t.Helper()
	s.write(t, appendFrame(nil, frameHello, g.append(nil)))
	f, err := s.frames.next()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// awaitEnd checks that the other side closes the connection.
func (s *stranger) awaitEnd(t *testing.T) {
	t.Helper()
	for {
		if _, err := s.frames.next(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timeout") {
				t.Fatalf("the connection is still open: %v", err)
			}
			return
		}
	}
}

// asMember2 is the hello of a member 2 that talks to member 1.
func asMember2(use purpose) greeting {
	g := greeting{Format: Format, Purpose: use, Recipient: 1, Hello: testHello()}
	g.Hello.Member, g.Hello.Instance = 2, 77
	return g
}

// refuseToDial is Config.Dial of a member that reaches nobody.
func refuseToDial(context.Context, string) (net.Conn, error) { return nil, errors.New("nothing there") }

// lonely starts member 1 with a peer 2 that is not there.
func lonely(t *testing.T, configure func(*Config)) *node {
	t.Helper()
	return startCluster(t, 1, func(c *Config) {
		c.Peers = map[uint64]string{2: "nowhere"}
		c.Dial = refuseToDial
		if configure != nil {
			configure(c)
		}
	})[1]
}

func TestRefusals(t *testing.T) {
	n := lonely(t, nil)
	for _, test := range []struct {
		name   string
		change func(*greeting)
		code   RefusalCode
		reason string // what the reason must mention
	}{
		{"format", func(g *greeting) { g.Format = 2 }, RefusedFormat, "format 2"},
		{"cluster", func(g *greeting) { g.Hello.ClusterID[0] = 9 }, RefusedCluster, "0902030"},
		{"epoch", func(g *greeting) { g.Hello.RecoveryEpoch = 3 }, RefusedEpoch, "epoch 3"},
		{"recipient", func(g *greeting) { g.Recipient = 5 }, RefusedRecipient, "member 5"},
		{"recipient of a probe", func(g *greeting) { g.Recipient, g.Purpose = 5, forProbe }, RefusedRecipient, "member 5"},
		{"unknown", func(g *greeting) { g.Hello.Member = 8 }, RefusedUnknownMember, "member 8"},
		{"own id", func(g *greeting) { g.Hello.Member = 1 }, RefusedDuplicate, "id 1"},
		{"blank", func(g *greeting) { g.Hello.Claim = raftlog.StateBlank }, RefusedBlank, "blank"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := n.Stats().Refused
			g := asMember2(forMessages)
			test.change(&g)
			s := connectTo(t, n)
			f := s.greet(t, g)
			if f.typ != frameRefusal {
				t.Fatalf("answered with frame type %d", f.typ)
			}
			r, err := parseRefusal(f.payload)
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != test.code || !strings.Contains(r.Reason, test.reason) || !r.Remote {
				t.Errorf("refused with %v, want code %v and a reason with %q", r, test.code, test.reason)
			}
			s.awaitEnd(t)
			if got := n.Stats().Refused; got != before+1 {
				t.Errorf("%d refusals counted, want %d", got, before+1)
			}
		})
	}
	if s := connectTo(t, n); s.greet(t, asMember2(forMessages)).typ != frameHello {
		t.Error("the greeting that the others are variants of is refused too")
	}
}

func TestSameMemberTwice(t *testing.T) {
	n := lonely(t, func(c *Config) { c.Timing = Timing{Ping: 50 * time.Millisecond, Idle: waitLimit} })
	first := connectTo(t, n)
	if f := first.greet(t, asMember2(forMessages)); f.typ != frameHello {
		t.Fatalf("answered with frame type %d", f.typ)
	}
	other := asMember2(forCalls)
	other.Hello.Instance++
	f := connectTo(t, n).greet(t, other)
	if f.typ != frameRefusal {
		t.Fatalf("a second process with the same id is answered with frame type %d", f.typ)
	}
	if r, err := parseRefusal(f.payload); err != nil || r.Code != RefusedDuplicate || !strings.Contains(r.Reason, first.LocalAddr().String()) {
		t.Errorf("refused with %v, %v", r, err)
	}
	// The same process may replace its own connection.
	again := connectTo(t, n)
	if f := again.greet(t, asMember2(forMessages)); f.typ != frameHello {
		t.Fatalf("answered with frame type %d", f.typ)
	}
	first.awaitEnd(t)
	// And once it has gone silent, another process may take over.
	eventually(t, "the silent process to lose its place", func() bool {
		return connectTo(t, n).greet(t, other).typ == frameHello
	})
}

// fakePeer answers one connection after the other as told.
func fakePeer(t *testing.T, answer func(c net.Conn, g greeting)) string {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(waitLimit))
			if f, err := newFrameReader(c, MaxHelloBytes).next(); err == nil {
				if g, err := parseGreeting(f.payload); err == nil {
					answer(c, g)
				}
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestDiallerChecksTheAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*greeting)
		code   RefusalCode
	}{
		{"other member", func(g *greeting) { g.Hello.Member = 3 }, RefusedRecipient},
		{"other cluster", func(g *greeting) { g.Hello.ClusterID[15] = 1 }, RefusedCluster},
		{"other epoch", func(g *greeting) { g.Hello.RecoveryEpoch = 1 }, RefusedEpoch},
		{"other format", func(g *greeting) { g.Format = 9 }, RefusedFormat},
		{"blank", func(g *greeting) { g.Hello.Claim = raftlog.StateBlank }, RefusedBlank},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := fakePeer(t, func(c net.Conn, g greeting) {
				g.Recipient, g.Hello.Member, g.Hello.Instance = g.Hello.Member, 2, 5
				test.change(&g)
				_, _ = c.Write(appendFrame(nil, frameHello, g.append(nil)))
			})
			n := startCluster(t, 1, func(c *Config) { c.Peers = map[uint64]string{2: addr, 3: "nowhere"} })[1]
			_, err := n.Call(t.Context(), 2, 0, nil)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Code != test.code || refused.Remote {
				t.Errorf("got %v, want a refusal of our own with code %v", err, test.code)
			}
			if len(n.heard.changes) > 0 {
				t.Error("a refused peer came up")
			}
			n.Close()
		})
	}
}

func TestDiallerHearsTheReason(t *testing.T) {
	nodes := startCluster(t, 2, func(c *Config) {
		if c.Member == 2 {
			c.Hello.ClusterID[3] = 200
		}
	})
	_, err := nodes[1].Call(t.Context(), 2, 0, nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != RefusedCluster || !refused.Remote || !strings.Contains(err.Error(), "c8") {
		t.Errorf("got %v", err)
	}
}

func TestProbeBetweenBlankMembers(t *testing.T) {
	nodes := startCluster(t, 2, func(c *Config) {
		c.Hello.Claim = raftlog.StateBlank
		if c.Member == 2 {
			c.Hello.ClusterID[0] = 200 // configured differently: the prober has to see that
		}
	})
	hello, err := nodes[1].Probe(t.Context(), 2)
	if err != nil || hello.Claim != raftlog.StateBlank || hello.Member != 2 || hello.ClusterID[0] != 200 {
		t.Errorf("got %+v, %v", hello, err)
	}
	if _, err := nodes[1].Probe(t.Context(), 9); !errors.As(err, new(*UnknownPeerError)) {
		t.Errorf("probing an unknown member: %v", err)
	}
	if _, err := nodes[1].Call(t.Context(), 2, 0, nil); !errors.Is(err, errBlank) {
		t.Errorf("a blank member called: %v", err)
	}
	time.Sleep(quietTime)
	if len(nodes[1].heard.changes)+len(nodes[2].heard.changes) > 0 {
		t.Error("blank members connected")
	}
	// Genesis: both claim it, and connect.
	for _, n := range nodes {
		if err := n.SetHello(func(h *Hello) { h.Claim, h.ClusterID[0], h.Member = raftlog.StateGenesis, 1, 99 }); err != nil {
			t.Fatal(err)
		}
	}
	awaitUp(t, nodes)
	if hello, err = nodes[2].Probe(t.Context(), 1); err != nil || hello.Claim != raftlog.StateGenesis || hello.Member != 1 {
		t.Errorf("after genesis: %+v, %v", hello, err)
	}
	if err := nodes[1].SetHello(func(h *Hello) { h.Build = strings.Repeat("b", MaxStringBytes+1) }); !errors.As(err, new(*TooLargeError)) {
		t.Errorf("a hello over its limit: %v", err)
	}
	nodes[1].Close()
	if _, err := nodes[1].Probe(t.Context(), 2); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed transport probed: %v", err)
	}
}

func TestProbeFails(t *testing.T) {
	l := listen(t, "127.0.0.1:0") // accepts in the kernel, never answers
	defer l.Close()
	n := startCluster(t, 1, func(c *Config) {
		c.Hello.Claim = raftlog.StateBlank
		c.Peers = map[uint64]string{2: l.Addr().String()}
	})[1]
	ctx, cancel := context.WithTimeout(t.Context(), quietTime)
	defer cancel()
	if _, err := n.Probe(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("probing a port that never answers: %v", err)
	}
	l.Close()
	if _, err := n.Probe(t.Context(), 2); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("probing a closed port: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	good := Config{Member: 1, Hello: testHello(), Listener: l, Handler: newRecorder()}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"Config.Member":   func(c *Config) { c.Member = 0 },
		"Config.Listener": func(c *Config) { c.Listener = nil },
		"Config.Handler":  func(c *Config) { c.Handler = nil },
		"Timing.Idle":     func(c *Config) { c.Timing.Ping = time.Hour },
		"peer 4":          func(c *Config) { c.Peers = map[uint64]string{4: ""} },
		"Hello.Claim":     func(c *Config) { c.Hello.Claim = 0 },
		"MaxStringBytes":  func(c *Config) { c.Hello.Advertise = strings.Repeat("a", MaxStringBytes+1) },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
