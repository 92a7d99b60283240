package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// The limits of this package. Every queue, frame and wait is bounded by one of
// them.
const (
	// MaxFrame bounds a frame's payload, in bytes.
	MaxFrame = 8 << 20
	// MaxCallPayload bounds a call's request or answer, in bytes.
	MaxCallPayload = MaxFrame - 1024
	// MaxReasonBytes bounds the reason of a RemoteError and of a refusal.
	MaxReasonBytes = 512
	// MaxHelloBytes bounds a frame sent before the handshake is complete.
	MaxHelloBytes = 4096
	// MaxStringBytes bounds each string in a Hello.
	MaxStringBytes = 512
	// MaxQueuedMessages bounds the messages that wait for one peer.
	MaxQueuedMessages = 4096
	// MaxQueuedBytes bounds the entry bytes of the messages that wait for one peer.
	MaxQueuedBytes = 64 << 20
	// MaxMessageEntries bounds the entries of one message from the wire.
	MaxMessageEntries = 1 << 17
	// MaxCalls bounds the calls in flight to one peer; further callers wait.
	MaxCalls = 512
	// MaxServing bounds the calls served at once for one peer; further ones
	// are answered with CodeBusy.
	MaxServing = 2 * MaxCalls
	// MaxCallBytes bounds the encoded calls (or answers) that wait to be
	// written to one connection; further ones wait.
	MaxCallBytes = 4 * MaxFrame
	// MaxHandshakes bounds the accepted connections that have not finished
	// their handshake; one more closes the oldest of them.
	MaxHandshakes = 64
)

// Handler receives what peers send. Its methods are called from the
// transport's goroutines and must not call Close.
type Handler interface {
	// Message delivers a raft message. Messages of one peer come in the order
	// they were sent, one at a time; those of different peers concurrently.
	// The handler owns m. It must not block: the peer's connection stands
	// still meanwhile. The transport has checked only that m is well-formed,
	// that m.From is the connection's peer and that m.To is this member.
	Message(from uint64, group raftlog.GroupID, m *pb.Message)

	// Call serves one request; calls run concurrently. ctx ends at the
	// caller's deadline, when the caller gives up, when the connection breaks
	// or when the transport closes. The handler owns payload. Return a
	// *RemoteError to choose the code and payload that the caller sees.
	Call(ctx context.Context, from uint64, method uint8, payload []byte) ([]byte, error)

	// PeerUp says that a new connection for messages to the peer works. Any
	// message sent to it earlier may be lost, also when no PeerDown came in
	// between: report a snapshot in flight as failed. Calls of PeerUp and
	// PeerDown for one peer are serial.
	PeerUp(id uint64, hello Hello)

	// PeerDown says that the connection for messages broke and that dialling
	// again at once did not bring it back. refused is proof that the process
	// is gone: its port refuses connections, or another process answers there.
	// Without it the peer may be alive behind a broken link. It comes once for
	// each loss, after a PeerUp.
	PeerDown(id uint64, refused bool)
}

// Config configures a Transport. Member, Hello, Listener and Handler are
// required.
type Config struct {
	// Member is this member's id, not 0.
	Member uint64
	// ClusterName is the trust domain of SPIFFE names in certificates.
	ClusterName string
	// Hello is what this member says of itself. Member and Instance are
	// filled in by New; see also [Transport.SetHello].
	Hello Hello
	// Peers has the address of every other member; an entry for Member itself
	// is ignored.
	Peers map[uint64]string
	// Listener accepts the peers' connections. The transport owns it. It is a
	// plain listener also when TLS is set.
	Listener net.Listener
	// Dial opens a connection to a peer; nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS makes every connection mutual TLS, see [LoadTLS]; nil means plain TCP.
	TLS *tls.Config
	// Handler receives messages, calls and connection changes.
	Handler Handler
	// Logger gets connection changes and refusals; nil discards them.
	Logger *slog.Logger
	// Rand gives the jitter of reconnects and the Instance; nil means a
	// randomly seeded one. The transport serialises its use.
	Rand *rand.Rand
	// Timing overrides durations; zero fields have the defaults.
	Timing Timing
}

// Timing has the transport's durations.
type Timing struct {
	Handshake  time.Duration // dial, TLS and hello together; default 5s
	Redial     time.Duration // the one re-dial that verifies a broken connection; default 500ms
	Ping       time.Duration // between pings on each connection; default 1s
	Idle       time.Duration // a connection silent for so long, and for half as long again, is broken; default 4s
	Write      time.Duration // one write to a socket; default 5s
	BackoffMin time.Duration // first wait before another dial; default 20ms
	BackoffMax time.Duration // longest wait before another dial; default 1s
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Handshake, 5*time.Second)
	set(&t.Redial, 500*time.Millisecond)
	set(&t.Ping, time.Second)
	set(&t.Idle, 4*time.Second)
	set(&t.Write, 5*time.Second)
	set(&t.BackoffMin, 20*time.Millisecond)
	set(&t.BackoffMax, time.Second)
	return t
}

func (c *Config) validate() error {
	switch {
	case c.Member == 0:
		return errors.New("transport: Config.Member is 0: member ids start at 1")
	case c.Listener == nil:
		return errors.New("transport: Config.Listener is missing")
	case c.Handler == nil:
		return errors.New("transport: Config.Handler is missing")
	case c.Timing.Idle <= c.Timing.Ping:
		return fmt.Errorf("transport: Timing.Idle %v must be longer than Timing.Ping %v", c.Timing.Idle, c.Timing.Ping)
	}
	for id, addr := range c.Peers {
		if id == 0 || addr == "" {
			return fmt.Errorf("transport: peer %d has address %q: ids start at 1 and addresses are host:port", id, addr)
		}
	}
	if c.TLS != nil && (c.TLS.RootCAs == nil || c.TLS.ClientCAs == nil) {
		return errors.New("transport: Config.TLS needs RootCAs and ClientCAs: the system's authorities must not vouch for members")
	}
	return c.Hello.validate()
}
