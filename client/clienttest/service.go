package clienttest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/member"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

const (
	// MaxMembers is the size of the largest cluster.
	MaxMembers = member.MaxMembers
	// tick makes members elect a leader in a tenth of the time that real ones take.
	tick = 10 * time.Millisecond
	// startLimit is how long members may take to be ready, or to elect a leader, and stopLimit one
	// to end calls in progress.
	startLimit = 30 * time.Second
	stopLimit  = 5 * time.Second
)

// Options configure a Service. The zero value works.
type Options struct {
	// Members is how many members the cluster has, MaxMembers at most. 0: one.
	Members int
	// Name is the cluster's. Services of one name and number of members are of one cluster to a
	// client. "": one that no other service has.
	Name string
	// Lease and HeartbeatInterval are for the service's nodes. 0: the service's defaults, 5
	// seconds and 1 second; a test that waits for leases to expire wants less.
	Lease, HeartbeatInterval time.Duration
	// Logger gets what the service logs; nil: nobody does.
	Logger *slog.Logger
}

// Service is a cluster.
type Service struct {
	options Options
	peers   []raftlog.Peer
	members []*Member
}

// Test is what New needs of a *testing.T or *testing.B.
type Test interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
}

// New returns a service that runs until the test ends, and a client of all its members. It takes
// one Options at most.
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
	c, err := client.New(client.Options{Endpoints: s.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

// Run returns a service that is ready for calls. Stop it.
func Run(o Options) (*Service, error) {
	if o.Members < 0 || o.Members > MaxMembers {
		return nil, fmt.Errorf("clienttest: %d members; have 1 to %d", o.Members, MaxMembers)
	}
	if o.Name == "" {
		o.Name = "clienttest-" + uuid.NewString()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{options: o}
	for i := range max(1, o.Members) {
		m, err := newMember(s, uint64(i)+1)
		if err != nil {
			return nil, fmt.Errorf("clienttest: %w", err)
		}
		s.peers = append(s.peers, raftlog.Peer{ID: m.id, Addr: nominal(m.id)})
		s.members = append(s.members, m)
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Endpoints are where the members listen, running or not, for client.Options.Endpoints: the same
// after each Start.
func (s *Service) Endpoints() (all []string) {
	for _, m := range s.members {
		all = append(all, m.Endpoint())
	}
	return all
}

// Members are those of the cluster, running or not: the first has id 1, and so on.
func (s *Service) Members() []*Member { return append([]*Member(nil), s.members...) }

// Start starts all members that do not run, with all that they had, and returns when all are
// ready for calls.
func (s *Service) Start() error {
	for _, m := range s.members {
		if m.running != nil {
			continue
		}
		if err := m.start(); err != nil {
			return err
		}
	}
	for _, m := range s.members {
		if err := m.awaitReady(); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the service: calls in progress are answered, streams end, and nobody answers
// until Start. What it has stays. It may be called more than once.
func (s *Service) Stop() error {
	var errs []error
	for _, m := range s.members {
		errs = append(errs, m.Stop())
	}
	return errors.Join(errs...)
}

// Leader returns the member that leads a stream. While there is none, as during an election, it
// waits; that is an error if no majority runs, or after half a minute.
func (s *Service) Leader(stream metadatav1.Stream) (*Member, error) {
	if !s.hasMajority() {
		return nil, fmt.Errorf("clienttest: %v has no leader: no majority of the %d members runs", stream, len(s.members))
	}
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var leader *Member
		newest := uint64(0) // one that was cut off may take itself for the leader yet
		for _, m := range s.members {
			if term, leads := m.leads(stream); leads && term > newest {
				leader, newest = m, term
			}
		}
		if leader != nil {
			return leader, nil
		}
	}
	return nil, fmt.Errorf("clienttest: %v has no leader within %v", stream, startLimit)
}

// nominal is the address by which members know one another. The id of a cluster is made from it, so
// it says nothing of where they really listen.
func nominal(id uint64) string { return fmt.Sprintf("127.0.0.1:%d", id) }

// dial connects a member to the one of a nominal address.
func (s *Service) dial(w *wires) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		for _, m := range s.members {
			if nominal(m.id) == address {
				return w.dial(ctx, m.raft)
			}
		}
		return nil, fmt.Errorf("clienttest: nobody is at %s", address)
	}
}

// hasMajority reports whether enough members run to elect a leader.
func (s *Service) hasMajority() bool {
	running := 0
	for _, m := range s.members {
		if m.running != nil {
			running++
		}
	}
	return 2*running > len(s.members)
}
