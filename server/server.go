package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"github.com/google/uuid"
	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/server/preface"
)

// sampleEvery is how often readiness is looked at and old pages are let go.
const sampleEvery = 250 * time.Millisecond

// newcomerGrace is how long a connection may still begin its first call when the
// server stops.
const newcomerGrace = 250 * time.Millisecond

// defaultReadyDebounce is for how long a gap in readiness is covered.
const defaultReadyDebounce = 10 * time.Second

// Options are what a server can be told. The zero value works.
type Options struct {
	// Metrics to add to and to show. Default: new ones.
	Metrics *Metrics
	// Log for what went wrong inside. Default: slog.Default().
	Log *slog.Logger
	// TLS to speak on the listener; nil: plain text. To know callers by their
	// certificates, set ClientAuth and ClientCAs.
	TLS *tls.Config
	// Limits of what is carried at once.
	Limits Limits
	// CORSOrigins are the origins whose pages may call, "*" for all. Default:
	// none, CORS is off.
	CORSOrigins []string
	// PageOrigins, unless nil, returns further origins whose pages may call: those of the
	// members, so that a console whose own member has died goes on at another one. It is
	// asked at each call of a page, by any goroutine.
	PageOrigins func() []string
	// Hosts, unless nil, are the names beside loopback's own that a request's Host may
	// have, "*" for any; others are refused with 403. For listeners on loopback without
	// TLS, which web pages could reach by DNS rebinding. Default: nil, no check.
	Hosts []string
	// ReadyDebounce is for how long /readyz covers a gap in readiness. Default 10
	// seconds.
	ReadyDebounce time.Duration
	// Home serves what is not the service's own, such as a console at "/".
	// Default: not found.
	Home http.Handler
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// NewRequestID names writes that came without a request id. Default: a UUID of
	// version 7.
	NewRequestID func() string
}

// Server is the edge of one member. Begin with New, then Serve on one or more
// listeners; end with Stop.
type Server struct {
	member       Member
	metrics      *Metrics
	log          *slog.Logger
	times        timeLimits
	newRequestID func() string
	ready        *readiness
	gate         *gate
	edge         *edge
	rpcs         map[string]unaryRPC // of MetadataService, by method
	schema       *source[*projections.Schema]
	topology     *source[*projections.Topology]
	hashing      map[metadatav1.Stream]chan struct{} // each holds a token while a model is hashed
	http         *http.Server
	grpc         *grpc.Server
	tls          *tls.Config

	mu     sync.Mutex
	splits []*preface.Split // one for each listener

	life context.Context // ends when the server drains
	die  context.CancelFunc
	work sync.WaitGroup
}

// New prepares a server. It starts one small goroutine, which ends with Stop.
func New(member Member, o Options) (*Server, error) {
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewRequestID == nil {
		o.NewRequestID = newUUID
	}
	o.Limits = o.Limits.withDefaults()
	o.ReadyDebounce = positive(o.ReadyDebounce, defaultReadyDebounce)
	if err := o.Metrics.registry.Register(memberCollector{member}); err != nil {
		return nil, fmt.Errorf("registering the member's metrics (does another server use them?): %w", err)
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("compiling the rules of the contract: %w", err)
	}
	s := &Server{
		member: member, metrics: o.Metrics, log: o.Log, times: newTimeLimits(o.Limits), newRequestID: o.NewRequestID,
		ready: &readiness{ready: member.Ready, debounce: o.ReadyDebounce, now: o.Now},
		tls:   withALPN(o.TLS),
	}
	s.life, s.die = context.WithCancel(context.Background())
	s.gate = newGate(o.Limits, o.Metrics, o.Now, s.draining, func() string { return s.member.Position().GetClusterId() })
	s.schema = schemaSource(member, o)
	s.topology = topologySource(member, o)
	s.hashing = make(map[metadatav1.Stream]chan struct{})
	for number := range metadatav1.Stream_name {
		s.hashing[metadatav1.Stream(number)] = make(chan struct{}, 1)
	}
	s.edge = &edge{validator: validator, metrics: s.metrics, log: s.log, now: o.Now}
	s.rpcs = lo.KeyBy(service{s}.unaryRPCs(), func(rpc unaryRPC) string { return path.Base(rpc.spec.Procedure) })
	s.http = newHTTPServer(s.routes(o), o)
	s.grpc = newNative(s)
	s.work.Go(func() { s.sample() })
	return s, nil
}

func newUUID() string {
	id, err := uuid.NewV7()
	if err != nil { // the system has no randomness
		panic(err)
	}
	return id.String()
}

// sample looks at what changes without a call, until the server drains.
func (s *Server) sample() {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		_, _ = s.ready.look() // for what it remembers
		s.schema.pins.sweep()
		s.topology.pins.sweep()
		select {
		case <-s.life.Done():
			return
		case <-ticker.C:
		}
	}
}

// Handler returns the whole of what the server serves, for use without Serve.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers on a listener until Stop, and returns nil then; otherwise what
// ended it. It closes the listener.
func (s *Server) Serve(listener net.Listener) error {
	split := preface.New(listener, s.tls, preface.Limits{
		Opening: s.http.ReadHeaderTimeout, FirstCall: firstCallTimeout, HeaderBytes: maxHeaderBytes, Conns: maxOpening,
	})
	s.mu.Lock()
	s.splits = append(s.splits, split)
	s.mu.Unlock()
	var both errgroup.Group
	both.Go(func() error { return s.grpc.Serve(split.GRPC()) })
	both.Go(func() error { return s.http.Serve(split.Rest()) })
	err := split.Run()
	_ = both.Wait() // they end with the split
	if s.draining() {
		return nil
	}
	return fmt.Errorf("serving on %v: %w", listener.Addr(), err)
}

// withALPN names the protocols of the port in a TLS configuration of their own.
func withALPN(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	return config
}

// Drain makes room for the end: new calls are refused with STOPPING, streams
// end with it, so that clients go on elsewhere; unary calls in progress go on.
// It returns at once and may be called again.
func (s *Server) Drain() { s.die() }

func (s *Server) draining() bool { return s.life.Err() != nil }

// Stop drains, closes the listeners and waits for the calls in progress: unary ones, reads of
// the past among them, until they are answered, in whatever protocol; streams, which have
// ended, until their clients have read that, but for no longer than 2 seconds. When ctx ends
// before they do, it closes their connections and returns the context's error.
func (s *Server) Stop(ctx context.Context) error {
	s.Drain()
	s.work.Wait()
	time.AfterFunc(newcomerGrace, s.dismiss) // Serve ends with the last of them
	native := make(chan error)
	go func() { native <- s.stopNative(ctx) }()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("waiting for calls in progress: %w", err), s.http.Close())
	}
	return errors.Join(err, <-native)
}

// stopNative ends the connections of gRPC clients: each when its calls have ended, and
// all when no unary call is left and streams have had their time. What a client does
// not read would hold its connection open.
func (s *Server) stopNative(ctx context.Context) error {
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		s.grpc.GracefulStop()
	}()
	patience := time.NewTimer(drainWrites)
	defer patience.Stop()
	for {
		select {
		case <-graceful:
			return nil
		case <-ctx.Done():
			s.grpc.Stop()
			return fmt.Errorf("waiting for gRPC calls in progress: %w", ctx.Err())
		case <-patience.C:
			if s.gate.unaryCalls() == 0 {
				s.grpc.Stop()
			}
			patience.Reset(sampleEvery)
		}
	}
}

// dismiss closes connections on which nothing has been asked yet.
func (s *Server) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, split := range s.splits {
		split.Dismiss()
	}
}
