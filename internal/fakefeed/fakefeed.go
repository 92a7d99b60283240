// Package fakefeed is a service of nothing but changes and consumers, in memory, for tests
// of those who follow changes: they can have it break, fail, trim and stand still. It
// serves Subscribe, ConsumerService, GetHead and Status on a loopback port, and understands of
// filters only the streams. Its methods may be called by any goroutine.
package fakefeed

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
)

// ClusterID is the cluster that the service says it is.
const ClusterID = "0123456789abcdef0123456789abcdef"

// Service is the service. Set its hooks before the first call.
type Service struct {
	metadatav1connect.UnimplementedMetadataServiceHandler

	// Fail is asked before each unary call, with the name of its method; an error is the
	// answer. nil: none fails.
	Fail func(method string) error
	// Broken is asked after each frame whether the subscription breaks; nil: none does.
	Broken func() bool
	// FrameChanges is how many changes a frame has at most; 0: 3.
	FrameChanges int

	listener net.Listener
	server   *http.Server
	served   chan struct{}

	mu        sync.Mutex
	changes   map[metadatav1.Stream][]*metadatav1.Change
	oldest    map[metadatav1.Stream]uint64
	consumers map[string]*metadatav1.Consumer
	acked     []*metadatav1.Position
	epoch     uint64        // recovery epoch
	wake      chan struct{} // closed when something has changed
}

// Start starts a service. Close it.
func Start() (*Service, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Service{
		listener: listener, served: make(chan struct{}), epoch: 1,
		changes: make(map[metadatav1.Stream][]*metadatav1.Change), oldest: make(map[metadatav1.Stream]uint64),
		consumers: make(map[string]*metadatav1.Consumer), wake: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewMetadataServiceHandler(s))
	mux.Handle(metadatav1connect.NewConsumerServiceHandler(consumers{s}))
	mux.Handle(metadatav1connect.NewClusterServiceHandler(cluster{Service: s}))
	mux.Handle(metadatav1connect.NewHistoryServiceHandler(past{Service: s}))
	s.server = &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	s.server.Protocols.SetHTTP1(true)
	s.server.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		defer close(s.served)
		_ = s.server.Serve(listener) // until Close
	}()
	return s, nil
}

// Addr is where it listens.
func (s *Service) Addr() string { return s.listener.Addr().String() }

// Close ends the service and its subscriptions.
func (s *Service) Close() {
	_ = s.server.Close()
	<-s.served
}

// Append appends changes to a stream: the schema's create the table, the topology's
// register the node of their revision's number.
func (s *Service) Append(stream metadatav1.Stream, changes int) {
	for range changes {
		s.AppendChange(stream, func(revision uint64) *metadatav1.Change {
			return &metadatav1.Change{Actor: "tester", RequestId: fmt.Sprint("r", revision), FeatureLevel: 1, Events: []*metadatav1.Event{Event(stream, revision)}}
		})
	}
}

// Event is the event of a change that Append appends.
func Event(stream metadatav1.Stream, revision uint64) *metadatav1.Event {
	if stream == topologyStream {
		return &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{
			Node: &metadatav1.NodeInfo{NodeId: fmt.Sprint("n", revision), Epoch: revision},
		}}}
	}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
		Table: &metadatav1.TableSchema{TableId: revision, Namespace: "public", Name: fmt.Sprint("t", revision), Version: 1},
	}}}
}

// AppendChange appends the change that is built for the next revision, with that revision
// and, unless it has one, a time of so many seconds since 1970.
func (s *Service) AppendChange(stream metadatav1.Stream, build func(revision uint64) *metadatav1.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision := uint64(len(s.changes[stream])) + 1
	change := build(revision)
	change.Revision = revision
	if change.Time == nil {
		change.Time = &timestamppb.Timestamp{Seconds: int64(revision)}
	}
	s.changes[stream] = append(s.changes[stream], change)
	s.notify()
}

// notify wakes the subscriptions. The lock is held.
func (s *Service) notify() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// Trim forgets the changes of a stream before a revision.
func (s *Service) Trim(stream metadatav1.Stream, oldest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest[stream] = oldest
	s.notify()
}

// Restore begins another recovery epoch, in which everything is as it was.
func (s *Service) Restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.notify()
}

// Consumer returns a consumer; nil: there is none of the name.
func (s *Service) Consumer(name string) *metadatav1.Consumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.CloneOf(s.consumers[name])
}

// Acknowledged returns the positions that consumers have moved to, in order.
func (s *Service) Acknowledged() []*metadatav1.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*metadatav1.Position(nil), s.acked...)
}

// head is the newest position. The lock is held.
func (s *Service) head() *metadatav1.Position {
	return &metadatav1.Position{
		ClusterId: ClusterID, RecoveryEpoch: s.epoch,
		SchemaRevision: uint64(len(s.changes[schemaStream])), TopologyRevision: uint64(len(s.changes[topologyStream])),
	}
}

// cluster serves Status.
type cluster struct {
	metadatav1connect.UnimplementedClusterServiceHandler
	*Service
}

// Status says which cluster it is, and where.
func (c cluster) Status(context.Context, *metadatav1.StatusRequest) (*metadatav1.StatusResponse, error) {
	if err := c.failing("Status"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &metadatav1.StatusResponse{ClusterId: ClusterID, RecoveryEpoch: c.epoch, MemberId: 1, Position: c.head()}, nil
}

func (s *Service) failing(method string) error {
	if s.Fail == nil {
		return nil
	}
	return s.Fail(method)
}
