package client

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var (
	sessionRegistered = replies(&metadatav1.RegisterNodeResponse{
		Node:          &metadatav1.NodeInfo{NodeId: "n", Epoch: 7},
		LeaseDuration: durationpb.New(time.Minute), HeartbeatInterval: durationpb.New(20 * time.Millisecond),
	})
	sessionGranted = replies(&metadatav1.HeartbeatResponse{NodeId: "n", LeaseDuration: durationpb.New(time.Minute)})
)

// A node that has served registers again, whatever a proxy or a token in between says at
// first.
func TestASessionGetsOverWhatPasses(t *testing.T) {
	nobody := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	_, c := startFakes(t, 1, sessionRegistered, sessionGranted,
		fails(connect.CodeFailedPrecondition, metadatav1.ErrorReason_ERROR_REASON_STALE_EPOCH), nobody, sessionRegistered, sessionGranted)
	s, err := c.JoinAsNode(t.Context(), JoinOptions{Node: &metadatav1.NodeInfo{NodeId: "n"}, Departure: StayOnClose})
	if err != nil {
		t.Fatal(err)
	}
	if got := gathered(t, c)["heliosmeta_client_session_epoch"]; got != 7 {
		t.Fatalf("the metrics show epoch %v", got)
	}
	<-s.Done()
	if err := s.Joined(soon(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Ended():
		t.Fatal("a session that goes on has ended")
	default:
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	got := gathered(t, c)
	if _, shown := got["heliosmeta_client_session_epoch"]; shown || c.Stats().LeasesLost != 2 {
		t.Fatalf("after it has ended the metrics show %v", got)
	}
	c.Close()
	if _, err := c.JoinAsNode(t.Context(), JoinOptions{Node: &metadatav1.NodeInfo{NodeId: "n"}}); !errors.Is(err, errClientClosed) {
		t.Fatalf("joined by a closed client: %v", err)
	}
}

// On a machine that was suspended for longer than its lease a node may not act, from the first
// moment on.
func TestANodeThatSleptHoldsNoLease(t *testing.T) {
	f, c := startFakes(t, 1, sessionRegistered, sessionGranted)
	var slept atomic.Int64
	begin := time.Now()
	clock := newAwake(func() (monotonic, wall time.Duration) {
		monotonic = time.Since(begin)
		return monotonic, monotonic + time.Duration(slept.Load())
	})
	s, err := c.join(t.Context(), JoinOptions{Node: &metadatav1.NodeInfo{NodeId: "n"}, Departure: StayOnClose}, clock)
	if err != nil {
		t.Fatal(err)
	}
	if s.Epoch() != 7 {
		t.Fatalf("joined with epoch %d", s.Epoch())
	}
	if n := testing.AllocsPerRun(100, func() { s.Epoch() }); n > 0 {
		t.Errorf("to look at the epoch takes %v allocations", n)
	}
	done := s.Done()
	byServer(f, hangs) // nobody grants it another one
	slept.Store(int64(time.Hour))
	if got := s.Epoch(); got != 0 {
		t.Fatalf("after an hour of sleep it goes on under epoch %d", got)
	}
	<-done
	c.Close() // and with it what hangs
	_ = s.Close()
}

// What a session says to the service: who it is, how busy, and what its cache shows.
func TestBeatsSayWhatTheNodeHasSeen(t *testing.T) {
	f, c := startFakes(t, 1, fails(connect.CodeUnavailable, noLeader), sessionRegistered, sessionGranted)
	cache := &Cache{client: c}
	cache.state.Store(&cacheState{view: &View{position: frames.At(1, 8, 9)}})
	s, err := c.JoinAsNode(t.Context(), JoinOptions{
		Node: &metadatav1.NodeInfo{NodeId: "n"}, Cache: cache, Departure: StayOnClose,
		Load: func() *metadatav1.NodeLoad { return &metadatav1.NodeLoad{CpuMillis: 42} },
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Epoch() != 7 {
		t.Fatalf("joined with epoch %d", s.Epoch())
	}
	for deadline := time.Now().Add(10 * time.Second); len(f.all()) < 4 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	calls := f.all()
	if len(calls) < 4 {
		t.Fatalf("there were only %d calls", len(calls))
	}
	first, second := calls[0].request.(*metadatav1.RegisterNodeRequest), calls[1].request.(*metadatav1.RegisterNodeRequest)
	if first.GetNode().GetIncarnation() == "" || first.GetWrite().GetRequestId() == "" || !proto.Equal(first, second) {
		t.Fatalf("it registers by %v, then by %v", first, second)
	}
	for _, call := range calls[3:] {
		b, beat := call.request.(*metadatav1.HeartbeatRequest)
		if !beat || b.GetEpoch() != 7 || b.GetLoad().GetCpuMillis() != 42 || !proto.Equal(b.GetAcknowledged(), frames.At(1, 8, 9)) {
			t.Fatalf("it says %v", call.request)
		}
	}
}
