package workload

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/fleet"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Clients are the kinds of callers.
const (
	GoClient   = "go"   // this module's client package
	GRPCClient = "grpc" // stock grpc-go
)

// Connection defaults: one Go client opens as many connections as it needs; a stock gRPC
// connection is one, and several callers are given a few, as etcd's own tool gives them.
const (
	MaxConnections         = 1024
	defaultGRPCConnections = 4
)

// Dial says how to reach the service.
type Dial struct {
	Endpoints []string
	Client    string // GoClient or GRPCClient
	// Connections is how many clients or connections the callers share; 0: the default.
	Connections int
	Callers     int // how many will call at a time
	// Spread gives each connection another member to ask first; otherwise all ask the
	// leader.
	Spread  bool
	TLS     *tls.Config
	Actor   string
	Timeout time.Duration
}

// Target is the service as a Work reaches it.
type Target struct {
	Endpoints []string       // the one that is asked first comes first
	Control   *client.Client // for what is not measured
	Callers   []Caller       // client i uses Callers[i%len]
	TLS       *tls.Config    // of connections
	Cluster   *fleet.Cluster // nil: the members are not ours
	dial      Dial           // for further callers
	stream    metadatav1.Stream
}

// Connect reaches the service for work on a stream. Close the target; its cluster, if it
// gets one, is the caller's.
func (d Dial) Connect(ctx context.Context, stream metadatav1.Stream) (*Target, error) {
	control, err := client.New(client.Options{Endpoints: d.Endpoints, InOrder: true, Timeout: d.Timeout, TLS: d.TLS, Actor: d.Actor})
	if err != nil {
		return nil, err
	}
	t := &Target{Control: control, TLS: d.TLS, dial: d, stream: stream}
	if t.Endpoints, err = leaderFirst(ctx, control, d.Endpoints, stream); err != nil {
		t.Close()
		return nil, err
	}
	n := d.Connections
	if n == 0 {
		n = 1
		if d.Client == GRPCClient && d.Callers > 1 {
			n = defaultGRPCConnections
		}
	}
	for i := range n {
		c, err := t.newCaller(i)
		if err != nil {
			t.Close()
			return nil, err
		}
		t.Callers = append(t.Callers, c)
	}
	return t, nil
}

// newCaller makes the caller with a number.
func (t *Target) newCaller(i int) (Caller, error) {
	endpoints := t.Endpoints
	if t.dial.Spread {
		at := i % len(endpoints)
		endpoints = slices.Concat(endpoints[at:], endpoints[:at])
	}
	switch t.dial.Client {
	case GRPCClient:
		return newGRPCCaller(endpoints[0], t.dial.TLS, t.dial.Actor, t.dial.Timeout)
	case GoClient:
		c, err := client.New(client.Options{Endpoints: endpoints, InOrder: true, Timeout: t.dial.Timeout, TLS: t.dial.TLS, Actor: t.dial.Actor})
		if err != nil {
			return nil, err
		}
		return goCaller{c}, nil
	}
	return nil, fmt.Errorf("there is no client %q; there are %s and %s", t.dial.Client, GoClient, GRPCClient)
}

// Close ends all connections.
func (t *Target) Close() {
	for _, c := range t.Callers {
		c.Close()
	}
	t.Control.Close()
}

// caller is the one that a client uses.
func (t *Target) caller(client int) Caller { return t.Callers[client%len(t.Callers)] }

// leaderFirst moves the endpoint of a stream's leader to the front. An endpoint under
// another name than the one that the member advertises stays where it is.
func leaderFirst(ctx context.Context, c *client.Client, endpoints []string, stream metadatav1.Stream) ([]string, error) {
	status, err := c.Status(ctx, &metadatav1.StatusRequest{})
	if err != nil {
		return nil, err
	}
	sorted := slices.Clone(endpoints)
	for _, m := range status.GetMembers() {
		for _, s := range m.GetStreams() {
			if s.GetStream() != stream || s.GetRole() != metadatav1.Role_ROLE_LEADER {
				continue
			}
			if i := slices.IndexFunc(sorted, func(e string) bool { return hostOf(e) == m.GetApiAddress() }); i >= 0 {
				sorted[0], sorted[i] = sorted[i], sorted[0]
			}
		}
	}
	return sorted, nil
}
