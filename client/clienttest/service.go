package clienttest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/loopback"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/member"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/server"
)

const (
	// tick makes the member elect itself in a tenth of the time that a real one takes.
	tick = 10 * time.Millisecond
	// startLimit is how long the member may take to be ready, and stopLimit to end calls in
	// progress.
	startLimit = 30 * time.Second
	stopLimit  = 5 * time.Second
	// raftAddress is nobody's: a cluster of one has no other members.
	raftAddress = "127.0.0.1:1"
)

// Options configure a Service. The zero value works.
type Options struct {
	// Name is the cluster's. Services of one name are of one cluster to a client. "": one that no
	// other service has.
	Name string
	// Lease and HeartbeatInterval are for the service's nodes. 0: the service's defaults, 5
	// seconds and 1 second; a test that waits for leases to expire wants less.
	Lease, HeartbeatInterval time.Duration
	// Logger gets what the service logs; nil: nobody does.
	Logger *slog.Logger
}

// Service is a cluster of one.
type Service struct {
	options Options
	address string
	disk    vfs.FS
	running *running // nil: it is stopped
}

// running is a service between Start and Stop.
type running struct {
	server *server.Server
	cancel context.CancelFunc
	ended  chan error // of the member
	served chan error
}

// Test is what New needs of a *testing.T or *testing.B.
type Test interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
}

// New returns a service that runs until the test ends, and a client of it. It takes one
// Options at most.
func New(t Test, options ...Options) (*Service, *client.Client) {
	t.Helper()
	if len(options) > 1 {
		t.Fatal(fmt.Sprintf("clienttest: %d Options; give one at most", len(options)))
	}
	s, err := Run(append(options, Options{})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() }) // the test is over
	c, err := client.New(client.Options{Endpoints: []string{s.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

// Run returns a service that is ready for calls. Stop it.
func Run(o Options) (*Service, error) {
	address, err := loopback.Address()
	if err != nil {
		return nil, fmt.Errorf("clienttest: %w", err)
	}
	if o.Name == "" {
		o.Name = "clienttest-" + uuid.NewString()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{options: o, address: address, disk: vfs.NewMem()}
	if err := s.Start(); err != nil {
		return nil, err
	}
	return s, nil
}

// Endpoint is where the service listens, for client.Options.Endpoints: the same after each
// Start.
func (s *Service) Endpoint() string { return s.address }

// Start starts a service that was stopped, with all that it had, and returns when it is
// ready for calls.
func (s *Service) Start() error {
	if s.running != nil {
		return errors.New("clienttest: the service runs already")
	}
	store, err := pebblestore.Open("data", pebblestore.Options{FS: s.disk, ReserveBytes: 1, Logger: s.options.Logger})
	if err != nil {
		return fmt.Errorf("clienttest: %w", err)
	}
	m, err := s.start(store)
	if err != nil {
		return fmt.Errorf("clienttest: %w", errors.Join(err, store.Close()))
	}
	for deadline := time.Now().Add(startLimit); m.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("clienttest: the service is not ready within %v: %w", startLimit, m.Ready()), s.Stop())
		}
	}
	return nil
}

// start runs a member and its server. If it fails, the store is the caller's.
func (s *Service) start(store *pebblestore.Store) (*member.Member, error) {
	m, err := member.New(member.Config{
		ID: 1, ClusterName: s.options.Name, Peers: []raftlog.Peer{{ID: 1, Addr: raftAddress}},
		Store: store, RaftListener: newUncalled(), Advertise: s.address, Tick: tick,
		Leases: leases.Options{Lease: s.options.Lease, Interval: s.options.HeartbeatInterval},
		Logger: s.options.Logger,
	})
	if err != nil {
		return nil, err
	}
	api, err := net.Listen("tcp", s.address)
	if err != nil {
		return nil, err
	}
	r := &running{ended: make(chan error, 1), served: make(chan error, 1)}
	if r.server, err = server.New(m, server.Options{Log: s.options.Logger}); err != nil {
		return nil, errors.Join(err, api.Close())
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.ended <- m.Run(ctx) }()
	go func() { r.served <- r.server.Serve(api) }()
	s.running = r
	return m, nil
}

// Stop ends the service: calls in progress are answered, streams end, and nobody answers
// until Start. What it has stays. It may be called more than once.
func (s *Service) Stop() error {
	r := s.running
	if r == nil {
		return nil
	}
	s.running = nil
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err := r.server.Stop(ctx)
	r.cancel()
	return errors.Join(err, <-r.served, <-r.ended)
}

// uncalled is a listener that nobody connects to.
type uncalled struct {
	closed chan struct{}
	once   sync.Once
}

func newUncalled() *uncalled { return &uncalled{closed: make(chan struct{})} }

// Accept waits until Close.
func (u *uncalled) Accept() (net.Conn, error) {
	<-u.closed
	return nil, net.ErrClosed
}

// Close ends Accept.
func (u *uncalled) Close() error {
	u.once.Do(func() { close(u.closed) })
	return nil
}

// Addr is raftAddress.
func (u *uncalled) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
}
