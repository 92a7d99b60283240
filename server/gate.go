package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// places is a number of calls that may go on at once.
type places struct {
	name  string
	limit int64
	taken atomic.Int64
}

func (p *places) take() bool {
	if p.taken.Add(1) > p.limit {
		p.taken.Add(-1)
		return false
	}
	return true
}

func (p *places) release() { p.taken.Add(-1) }

// call is one http request on its way to an rpc handler. The gate takes its
// place, since only there a refusal can be sent in the client's protocol; the
// middleware around the handler gives it back, since only that always runs.
type call struct {
	tls     *tls.ConnectionState
	control *http.ResponseController
	mu      sync.Mutex // guards place, and control against use after the end
	place   *places
	ended   bool
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.place != nil {
		c.place.release()
		c.place = nil
	}
}

// stopReading makes the pending and every later read of the request fail.
func (c *call) stopReading() { c.deadline((*http.ResponseController).SetReadDeadline, time.Unix(1, 0)) }

// stopWriting bounds how long the answer may still take.
func (c *call) stopWriting(by time.Time) {
	c.deadline((*http.ResponseController).SetWriteDeadline, by)
}

func (c *call) deadline(set func(*http.ResponseController, time.Time) error, by time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		// A transport without deadlines ends the call with its connection instead.
		_ = set(c.control, by)
	}
}

// gate admits calls before anything of their message is read.
type gate struct {
	requests, streams, subscriptions, pipelines places
	historyReads, historyStreams, verifications places

	rates    *peerRates
	metrics  *Metrics
	draining func() bool
	cluster  func() string // the id of the member's cluster
}

func newGate(l Limits, m *Metrics, now func() time.Time, draining func() bool, cluster func() string) *gate {
	g := &gate{metrics: m, draining: draining, cluster: cluster}
	g.requests.name, g.requests.limit = "concurrent_requests", int64(l.Requests)
	g.streams.name, g.streams.limit = "heartbeat_streams", int64(l.Streams)
	g.subscriptions.name, g.subscriptions.limit = "subscriptions", int64(l.Subscriptions)
	g.pipelines.name, g.pipelines.limit = "pipelines", int64(l.Pipelines)
	g.historyReads.name, g.historyReads.limit = "history_reads", int64(l.HistoryReads)
	g.historyStreams.name, g.historyStreams.limit = "history_streams", int64(l.HistoryStreams)
	g.verifications.name, g.verifications.limit = "verifications", int64(l.Verifications)
	if l.PeerRate > 0 {
		g.rates = newPeerRates(rate.Limit(l.PeerRate), l.PeerBurst, now)
	}
	return g
}

// unaryCalls returns how many calls are in progress that are no streams.
func (g *gate) unaryCalls() int64 { return g.requests.taken.Load() + g.historyReads.taken.Load() }

// admit is a connect.RequestGateFunc.
func (g *gate) admit(ctx context.Context, spec connect.Spec, peer connect.Peer, header http.Header) (context.Context, error) {
	c := callOf(ctx)
	if err := g.enter(c, spec, peer, header); err != nil {
		return nil, err
	}
	return context.WithValue(ctx, callerKey{}, identify(c.tls, peer, header)), nil
}

// enter gives a call its place or returns why it is refused. header may be nil.
func (g *gate) enter(c *call, spec connect.Spec, peer connect.Peer, header http.Header) error {
	if err := g.refusal(c, spec, peer, header); err != nil {
		g.metrics.refused.WithLabelValues(spec.Procedure, failure.Name(err.Reason)).Inc()
		return encode(err)
	}
	return nil
}

func (g *gate) refusal(c *call, spec connect.Spec, peer connect.Peer, header http.Header) *failure.Error {
	if g.draining() {
		return errStopping
	}
	if err := g.foreign(spec, header); err != nil {
		return err
	}
	if spec.StreamType == connect.StreamTypeUnary {
		if size, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err == nil && size > ReadMaxBytes {
			return tooLarge("the request")
		}
	}
	if g.rates != nil {
		if wait := g.rates.take(host(peer.Addr)); wait > 0 {
			f := failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
				"%s makes more than %v calls a second; wait %v", host(peer.Addr), g.rates.limit, wait).
				With("limit", "peer_rate")
			f.RetryAfter = wait
			return f
		}
	}
	return c.takePlace(g.placesOf(spec))
}

// foreign refuses a caller that means another cluster, whatever it asks; but every caller may ask
// of which one the member is.
func (g *gate) foreign(spec connect.Spec, header http.Header) *failure.Error {
	meant := header.Get(ClusterHeader)
	if meant == "" || spec.Procedure == metadatav1connect.ClusterServiceStatusProcedure {
		return nil
	}
	own := g.cluster()
	if meant == own {
		return nil
	}
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_FOREIGN_CLUSTER,
		"this member is of cluster %s, and the call is for cluster %q: name endpoints of that one; nothing was done", own, clean(meant)).
		With("cluster_id", own)
}

func (g *gate) placesOf(spec connect.Spec) *places {
	switch {
	case spec.Procedure == metadatav1connect.MetadataServiceSubscribeProcedure:
		return &g.subscriptions
	case spec.Procedure == metadatav1connect.MetadataServicePipelineProcedure:
		return &g.pipelines
	case spec.Procedure == metadatav1connect.HistoryServiceStreamChangesProcedure, spec.Procedure == metadatav1connect.HistoryServiceStreamBaseProcedure:
		return &g.historyStreams
	case spec.Procedure == metadatav1connect.HistoryServiceVerifyHistoryProcedure:
		return &g.verifications
	case strings.HasPrefix(spec.Procedure, historyPrefix):
		return &g.historyReads
	case spec.StreamType == connect.StreamTypeUnary:
		return &g.requests
	}
	return &g.streams
}

func (c *call) takePlace(p *places) *failure.Error {
	if !p.take() {
		f := failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
			"this member serves %d %s already; ask another member or wait", p.limit, p.name).
			With("limit", p.name).With("max", fmt.Sprint(p.limit))
		f.RetryAfter = 100 * time.Millisecond
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.place = p
	return nil
}

// peerRates remembers how fast the most recent peers call.
type peerRates struct {
	limit rate.Limit
	burst int
	now   func() time.Time

	mu    sync.Mutex
	order *list.List // of *peerRate, most recent first
	peers map[string]*list.Element
}

type peerRate struct {
	peer    string
	limiter *rate.Limiter
}

func newPeerRates(limit rate.Limit, burst int, now func() time.Time) *peerRates {
	return &peerRates{limit: limit, burst: burst, now: now, order: list.New(), peers: make(map[string]*list.Element)}
}

// take counts one call and returns 0, or returns how long to wait for one.
func (r *peerRates) take(peer string) time.Duration {
	now := r.now()
	reservation := r.of(peer).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (r *peerRates) of(peer string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.peers[peer]; ok {
		r.order.MoveToFront(e)
		return e.Value.(*peerRate).limiter
	}
	p := &peerRate{peer: peer, limiter: rate.NewLimiter(r.limit, r.burst)}
	r.peers[peer] = r.order.PushFront(p)
	if r.order.Len() > maxPeers {
		oldest := r.order.Remove(r.order.Back()).(*peerRate)
		delete(r.peers, oldest.peer)
	}
	return p.limiter
}
