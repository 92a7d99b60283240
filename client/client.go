package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// Defaults and limits of Options.
const (
	DefaultTimeout = 10 * time.Second
	// DefaultHistoryTimeout is less than what members work on one call for, by default: the caller says
	// when it is too long.
	DefaultHistoryTimeout = time.Minute
	// MaxEndpoints bounds Options.Endpoints.
	MaxEndpoints = 64
	// maxReceiveBytes is above the largest message the service sends.
	maxReceiveBytes = 4 << 20
	// streamWindow and connWindow are how much a member may send that has not been read
	// yet, on a stream and on its connection. They are fixed: finding them out, as grpc-go
	// does otherwise, costs a ping and its answer for nearly every lone call.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// dialTimeout bounds the making of a connection.
	dialTimeout = 3 * time.Second
	// maxConnections is how many connections to one member carry calls that share no stream,
	// and are kept for the next calls. Further calls wait for one of them.
	maxConnections = 256
)

// Options configure a Client. Endpoints are required.
type Options struct {
	// Endpoints are API addresses of members: HOST:PORT or http(s)://HOST:PORT.
	// Name several; the client moves on when one does not answer.
	Endpoints []string
	// InOrder makes the client begin with the first endpoint. Without it reads and
	// subscriptions begin at any, so that many clients spread over the members. Writes
	// go to leaders.
	InOrder bool
	// Timeout bounds a call whose context has no deadline, retries included.
	// 0: DefaultTimeout.
	Timeout time.Duration
	// HistoryTimeout is Timeout for the reads of HistoryService, on which a member may work
	// long: it may have to fold all that has changed. As long as it answers other calls, it is
	// waited for; only when no member has answered anything for Timeout, nobody is. 0:
	// DefaultHistoryTimeout, or Timeout if that is more.
	HistoryTimeout time.Duration
	// TLS makes connections to HOST:PORT endpoints TLS; nil: plain text.
	TLS *tls.Config
	// ClusterID is the cluster that the client is for: 32 hexadecimal digits, as status shows
	// it. Members of another one refuse its calls; none takes effect there. Empty: the cluster of
	// the first answer. Until that has come, nothing tells an endpoint of another cluster from
	// one of the client's own, so that what is asked first may be done there.
	ClusterID string
	// Name tells the metrics of several clients of one process apart, see Client.Collector.
	Name string
	// Actor names the caller in the history where TLS does not.
	Actor string
	// Consistency is that of reads that do not ask for one. 0: LINEARIZABLE. With AT_LEAST
	// they show at least what this client has seen before, its own writes included, and spare
	// the members the round among themselves that LINEARIZABLE takes.
	Consistency metadatav1.Consistency
	// HedgeAfter is when a read that nobody has answered yet is made at a second endpoint
	// besides; the first answer counts. 0: never. The 99th percentile of answers is a good
	// choice: then about one read in a hundred costs twice. Where many are late, at most
	// one read in ten costs twice. Reads of HistoryService are not made twice.
	HedgeAfter time.Duration
	// Token gives the token to show as "Authorization: Bearer", to whoever wants one, such as a proxy
	// before the members; nil or an empty one: none. It is asked by each stream that is opened, and by each call
	// that shares none: calls on a shared stream go under the token that it was opened with, for as long as it
	// lasts. It may be called by several goroutines at once and should answer from memory. If it
	// fails, that is a TokenError; if the token is refused, IsRefused is true of the call's error. Use it with TLS only: whoever sees the
	// bytes has the token.
	Token func(context.Context) (string, error)
	// Interceptors are put around each attempt of a call and around each stream, the first
	// outermost: for tracing (connectrpc.com/otelconnect has one). They want to see each call, so with any
	// calls are made one by one, each over a connection of its own while it lasts, and share no
	// stream: they cost about twice as much. Token costs nothing of the kind.
	Interceptors []connect.Interceptor
	// Logger gets, for debugging, retries and reconnects; and warnings of endpoints that are silent, of another
	// cluster, too old or refuse the client, of caches that are not kept fresh, leases that were lost and positions
	// that were not acknowledged. nil: silent.
	Logger *slog.Logger
}

// Client calls the service. Create it with New; Close it.
type Client struct {
	opts      Options
	log       *slog.Logger
	endpoints []*endpoint
	preferred atomic.Uint32 // index of the endpoint that answered last
	leaders   leaders
	known     known
	seen      follow.Seen            // in all answers
	wrote     follow.Seen            // in answers to writes
	cluster   atomic.Pointer[string] // whose client this is; nil: not known yet
	hedging   hedging
	metrics   metrics
	patience  patience

	// Unary calls that no stream carries go by the first, or by the second where HTTP/1.1 is not spoken.
	transportHTTP1, transportHTTP2 *http.Transport

	life context.Context // ends with Close
	end  context.CancelFunc

	mu         sync.Mutex     // held to add to background, and to end life
	background sync.WaitGroup // look-ups, hedged reads, caches and sessions
	caches     map[*Cache]struct{}
	sessions   map[*Session]struct{}
}

// endpoint is one member as the client reaches it.
type endpoint struct {
	address string // HOST:PORT
	grpc    *connection
	health  health

	serviceHTTP1, serviceHTTP2 service     // see unaryService
	prefersHTTP2               atomic.Bool // which of them is used
	speaksHTTP1, speaksHTTP2   atomic.Bool // it has answered so

	warned     atomic.Pointer[warning]
	identified atomic.Bool            // it has said of which cluster it is
	foreign    atomic.Pointer[string] // that of which it is, if it is not the client's
}

// service is the unary calls of all services of the contract.
type service struct {
	metadatav1connect.MetadataServiceClient
	metadatav1connect.ClusterServiceClient
	metadatav1connect.ConsumerServiceClient
	metadatav1connect.HistoryServiceClient
}

// New returns a client. It does not connect: the first call does.
func New(opts Options) (*Client, error) {
	if n := len(opts.Endpoints); n == 0 || n > MaxEndpoints {
		return nil, fmt.Errorf("client: %d endpoints; name 1 to %d", n, MaxEndpoints)
	}
	if opts.Timeout < 0 || opts.HistoryTimeout < 0 || opts.HedgeAfter < 0 {
		return nil, fmt.Errorf("client: timeout %v, of history %v, hedge after %v; none may be negative", opts.Timeout, opts.HistoryTimeout, opts.HedgeAfter)
	}
	if _, known := metadatav1.Consistency_name[int32(opts.Consistency)]; !known {
		return nil, fmt.Errorf("client: there is no consistency %d", opts.Consistency)
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.HistoryTimeout == 0 {
		opts.HistoryTimeout = max(DefaultHistoryTimeout, opts.Timeout)
	}
	c := &Client{
		opts: opts, log: opts.Logger, patience: defaultPatience,
		caches: make(map[*Cache]struct{}), sessions: make(map[*Session]struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if opts.ClusterID != "" {
		id, err := events.ParseClusterID(opts.ClusterID)
		if err != nil {
			return nil, fmt.Errorf("client: Options.ClusterID: %w", err)
		}
		c.cluster.Store(new(id.String()))
	}
	c.metrics.latency = newLatency(opts.Name)
	c.life, c.end = context.WithCancel(context.Background())
	c.transportHTTP1, c.transportHTTP2 = newTransportHTTP1(opts.TLS), newTransportHTTP2(opts.TLS)
	for _, text := range opts.Endpoints {
		base, err := baseURL(text, opts.TLS != nil)
		if err != nil {
			return nil, err
		}
		e, err := c.newEndpoint(base)
		if err != nil {
			return nil, fmt.Errorf("client: endpoint %q: %w", text, err)
		}
		c.endpoints = append(c.endpoints, e)
	}
	if !opts.InOrder {
		c.preferred.Store(rand.Uint32N(uint32(len(c.endpoints))))
	}
	return c, nil
}

// Close ends the client's caches and its connections. Calls, Watches, consumers and streams
// that are under way end, as a rule with an error, and later ones are refused. Sessions end
// without leaving: their nodes go offline when their leases have run out.
func (c *Client) Close() {
	c.mu.Lock()
	c.end()
	clear(c.caches) // they show nothing any more
	c.mu.Unlock()
	c.background.Wait()
	c.transportHTTP1.CloseIdleConnections()
	c.transportHTTP2.CloseIdleConnections()
	for _, e := range c.endpoints {
		_ = e.grpc.conn.Close() // fails if it was closed before
	}
}

// inBackground starts a job that Close waits for; false if the client is closed.
func (c *Client) inBackground(job func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return false
	}
	c.background.Go(job)
	return true
}

func (c *Client) newEndpoint(base *url.URL) (*endpoint, error) {
	e := &endpoint{address: base.Host}
	var err error
	if e.grpc, err = c.newConnection(e, base); err != nil {
		return nil, err
	}
	e.serviceHTTP1 = c.newService(e, base, c.transportHTTP1, false)
	e.serviceHTTP2 = c.newService(e, base, c.transportHTTP2, true, connect.WithGRPC())
	return e, nil
}

// newService makes the calls to an endpoint that go by one transport.
func (c *Client) newService(e *endpoint, base *url.URL, over *http.Transport, isHTTP2 bool, options ...connect.ClientOption) service {
	options = append(options,
		connect.WithReadMaxBytes(maxReceiveBytes),
		connect.WithInterceptors(c.opts.Interceptors...),
		connect.WithInterceptors(callInterceptor{c, e, isHTTP2}),
		// Members are to spend no time on packing answers that are read in a moment.
		connect.WithAcceptCompression("gzip", nil, nil),
	)
	unary, address := &http.Client{Transport: over}, base.String()
	return service{
		metadatav1connect.NewMetadataServiceClient(unary, address, options...),
		metadatav1connect.NewClusterServiceClient(unary, address, options...),
		metadatav1connect.NewConsumerServiceClient(unary, address, options...),
		metadatav1connect.NewHistoryServiceClient(unary, address, options...),
	}
}

// newTransportHTTP1 speaks HTTP/1.1, the cheapest way to make single calls with net/http, and
// the one that nearly every proxy carries.
func newTransportHTTP1(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config.Clone(),
		TLSHandshakeTimeout: 5 * time.Second,
		MaxConnsPerHost:     maxConnections,
		MaxIdleConnsPerHost: maxConnections,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // see newEndpoint
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// baseURL reads an endpoint as the user wrote it.
func baseURL(text string, secure bool) (*url.URL, error) {
	full := text
	if !strings.Contains(text, "://") {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		full = scheme + "://" + text
	}
	u, err := url.Parse(full)
	if err != nil {
		return nil, fmt.Errorf("client: endpoint %q: %w", text, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("client: endpoint %q: scheme %q; use http or https", text, u.Scheme)
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("client: endpoint %q; write HOST:PORT or http(s)://HOST:PORT", text)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}
