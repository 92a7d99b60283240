// Package transport carries raft messages and calls between the members of one
// cluster over TCP, on the Raft port.
//
// Messages to one peer keep their order but may be lost; calls are concurrent
// requests with one answer each. It never trusts what it reads: every
// connection starts with a handshake, every frame has a checksum, and bad bytes
// close the connection that carried them and nothing else. It refuses to decide
// anything about consensus: messages are not judged beyond sender and recipient.
package transport

import (
	"context"
	"crypto/tls"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Transport connects one member with its peers. Its methods are safe for
// concurrent use.
type Transport struct{ cfg Config }

// New checks cfg and returns a transport that does nothing until Start.
func New(cfg Config) (*Transport, error) {
	cfg.Timing = cfg.Timing.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Transport{cfg: cfg}, nil
}

// Start begins to accept and to dial. Call it once.
func (t *Transport) Start() {}

// Close ends all connections and waits for all goroutines, handlers included.
// What is queued is written first where that takes no more than a moment.
func (t *Transport) Close() error { return t.cfg.Listener.Close() }

// SetHello changes what this member says of itself in later handshakes, for
// example after genesis. Member and Instance cannot be changed.
func (t *Transport) SetHello(change func(*Hello)) error { return nil }

// Send queues messages to their To and returns those it dropped: the peer is
// unknown or not connected, or its queue is full. It never blocks. The
// transport owns the messages; the caller should report the receivers of the
// dropped ones as unreachable, and a dropped MsgSnap as failed.
func (t *Transport) Send(group GroupID, msgs []*pb.Message) (dropped []*pb.Message) { return msgs }

// Call sends a request to a peer and waits for its answer, at most until ctx
// ends. The deadline travels along. Errors: *UnavailableError (not sent),
// *LostError (outcome unknown), *RemoteError (answered by the peer),
// *TooLargeError, *UnknownPeerError. The payload must not be changed until Call returns.
func (t *Transport) Call(ctx context.Context, to uint64, method uint8, payload []byte) ([]byte, error) {
	return nil, &UnavailableError{Peer: to, Err: ErrClosed}
}

// Probe asks a peer for its hello on a connection of its own. It works between
// members that would refuse each other anything else: blank ones, and ones of
// another cluster id or recovery epoch.
func (t *Transport) Probe(ctx context.Context, id uint64) (Hello, error) {
	return Hello{}, &UnknownPeerError{Peer: id}
}

// Peer returns what is known of a peer: its newest hello, whether messages can
// be sent to it now, and the smoothed round-trip time (0 until measured). ok is
// false when there has been no handshake with it yet.
func (t *Transport) Peer(id uint64) (hello Hello, connected bool, rtt time.Duration, ok bool) {
	return Hello{}, false, 0, false
}

// Stats returns the counters.
func (t *Transport) Stats() Stats { return Stats{} }

// LoadTLS builds the configuration for mutual TLS 1.3 from PEM files.
func LoadTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	_, err := tls.LoadX509KeyPair(certFile, keyFile)
	return nil, err
}
