package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// readiness is a member's readiness with short gaps left out, so that one
// election does not take every member out of a load balancer at once. A member
// that was never ready is not covered.
type readiness struct {
	ready    func() error
	debounce time.Duration
	now      func() time.Time

	mu    sync.Mutex
	was   bool      // ready at the last look, or covered since
	since time.Time // of the gap; zero: none
}

// look returns whether a gap is being covered, and why the member is not ready.
func (r *readiness) look() (covered bool, why error) {
	why = r.ready()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case why == nil:
		r.was, r.since = true, time.Time{}
		return false, nil
	case !r.was:
		return false, why
	case r.since.IsZero():
		r.since = r.now()
	}
	if r.now().Sub(r.since) < r.debounce {
		return true, why
	}
	r.was = false
	return false, why
}

// livez answers while the process serves at all.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "alive\n")
}

// readyz answers whether calls should be sent here, and shows how things are.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	var text strings.Builder
	status := http.StatusOK
	covered, why := s.ready.look()
	switch {
	case s.draining():
		status = http.StatusServiceUnavailable
		text.WriteString("not ready: stopping\n")
	case why == nil:
		text.WriteString("ready\n")
	case covered:
		fmt.Fprintf(&text, "ready (for less than %v not: %v)\n", s.ready.debounce, why)
	default:
		status = http.StatusServiceUnavailable
		fmt.Fprintf(&text, "not ready: %v\n", why)
	}
	stats := s.member.Stats()
	for _, st := range stats.Streams {
		fmt.Fprintf(&text, "%s: %s, leader %d, term %d, revision %d, applied %d of %d\n", events.StreamName(st.Stream),
			strings.ToLower(strings.TrimPrefix(st.Role.String(), "ROLE_")), st.Leader, st.Term, st.Revision,
			st.AppliedIndex, st.CommittedIndex)
	}
	plain(w, status, text.String())
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A probe that went away does not want its answer.
	_, _ = w.Write([]byte(text))
}

// checker answers the gRPC health protocol.
type checker struct {
	server *Server
}

// Check is of grpchealth.Checker.
func (c checker) Check(_ context.Context, request *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	status := grpchealth.StatusServing
	switch request.Service {
	case "", metadatav1connect.MetadataServiceName, metadatav1connect.ConsumerServiceName, metadatav1connect.HistoryServiceName:
		if c.server.draining() || c.server.member.Ready() != nil {
			status = grpchealth.StatusNotServing
		}
	case metadatav1connect.ClusterServiceName: // needs no leader
		if c.server.draining() {
			status = grpchealth.StatusNotServing
		}
	default:
		return nil, connect.NewError(connect.CodeNotFound, failure.New(
			metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "no service is called %q", request.Service))
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}
