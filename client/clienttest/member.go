package clienttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/heliosdb/metadata/internal/loopback"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/member"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/server"
)

// Member is one of a Service's members.
type Member struct {
	service *Service
	id      uint64
	address string // of its API
	raft    string // for the other members
	disk    *vfs.MemFS
	running *running // nil: it is stopped
}

// running is a member between Start and Stop.
type running struct {
	member *member.Member
	server *server.Server
	wires  *wires
	cancel context.CancelFunc
	ended  chan error // of the member
	served chan error
}

func newMember(s *Service, id uint64) (*Member, error) {
	api, err := loopback.Address()
	if err != nil {
		return nil, err
	}
	raft, err := loopback.Address()
	if err != nil {
		return nil, err
	}
	return &Member{service: s, id: id, address: api, raft: raft, disk: vfs.NewCrashableMem()}, nil
}

// ID is the member's id in the cluster: 1 or more.
func (m *Member) ID() uint64 { return m.id }

// Endpoint is where the member listens: the same after each Start.
func (m *Member) Endpoint() string { return m.address }

// Start starts a member that was stopped or killed, with what it had. It returns when the member is
// ready for calls, or at once if no majority of the members runs: then none can be.
func (m *Member) Start() error {
	if m.running != nil {
		return fmt.Errorf("clienttest: member %d runs already", m.id)
	}
	if err := m.start(); err != nil {
		return err
	}
	if !m.service.hasMajority() {
		return nil
	}
	return m.awaitReady()
}

// Stop ends the member as an operator does: it hands over what it leads, calls in progress are
// answered, streams end, and it answers nobody until Start. What it has stays. It may be called
// more than once.
func (m *Member) Stop() error {
	r := m.running
	if r == nil {
		return nil
	}
	m.running = nil
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err := r.server.Stop(ctx)
	r.cancel()
	return errors.Join(err, <-r.served, <-r.ended)
}

// Kill ends the member as a power cut does: all its connections break at once, calls in progress are
// not answered, nothing is handed over, and what it had not yet synced to its disk, which nobody was
// told of, is gone. It may be called more than once.
func (m *Member) Kill() {
	r := m.running
	if r == nil {
		return
	}
	m.running = nil
	r.wires.cut()
	m.disk = m.disk.CrashClone(vfs.CrashCloneCfg{}) // what is written from now on is lost
	r.cancel()
	<-r.ended
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.server.Stop(ctx) // nobody is there to wait for
	<-r.served
}

// start runs the member and its server.
func (m *Member) start() error {
	wires := newWires()
	raft, err := wires.listen(m.raft)
	if err != nil {
		return m.failed(err)
	}
	api, err := wires.listen(m.address)
	if err != nil {
		return m.failed(err, raft.Close())
	}
	r, err := m.prepare(raft, wires)
	if err != nil {
		return m.failed(err, raft.Close(), api.Close())
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.ended <- r.member.Run(ctx) }()
	go func() { r.served <- r.server.Serve(api) }()
	m.running = r
	return nil
}

func (m *Member) failed(errs ...error) error {
	return fmt.Errorf("clienttest: member %d: %w", m.id, errors.Join(errs...))
}

// prepare makes a member, which does not run yet.
func (m *Member) prepare(raft net.Listener, wires *wires) (*running, error) {
	o := m.service.options
	store, err := pebblestore.Open("data", pebblestore.Options{
		FS: m.disk, ReserveBytes: 1, Quarantine: len(m.service.peers) > 1, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	r := &running{wires: wires, ended: make(chan error, 1), served: make(chan error, 1)}
	r.member, err = member.New(member.Config{
		ID: m.id, ClusterName: o.Name, Peers: m.service.peers, Store: store,
		RaftListener: raft, Dial: m.service.dial(wires), Advertise: m.address, Tick: tick,
		Leases: leases.Options{Lease: o.Lease, Interval: o.HeartbeatInterval}, Logger: o.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if r.server, err = server.New(r.member, server.Options{Log: o.Logger}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return r, nil
}

// awaitReady waits until the member is ready for calls, and stops it if that takes too long.
func (m *Member) awaitReady() error {
	for deadline := time.Now().Add(startLimit); ; time.Sleep(time.Millisecond) {
		err := m.running.member.Ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("clienttest: member %d is not ready within %v: %w", m.id, startLimit, err), m.Stop())
		}
	}
}

// leads reports whether the member takes itself for a stream's leader, and since which term.
func (m *Member) leads(stream metadatav1.Stream) (term uint64, leads bool) {
	if m.running == nil {
		return 0, false
	}
	for _, s := range m.running.member.Stats().Streams {
		if s.Stream == stream {
			return s.Term, s.Role == metadatav1.Role_ROLE_LEADER
		}
	}
	return 0, false
}
