package hostile

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/heliosdb/metadata/member"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	"github.com/heliosdb/metadata/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a cluster of one with a real edge on a loopback port.
type service struct {
	addr, raftAddr string
	member         *member.Member
	server         *server.Server
	http1, http2   *http.Client
	native         *http.Client // HTTP/2 too, for nothing but gRPC: its connection is served by grpc-go
	faults         *faults
	stop           func()
}

// faults are what the service logged as errors: what a client must not bring about.
type faults struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (f *faults) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (f *faults) WithAttrs([]slog.Attr) slog.Handler           { return f }
func (f *faults) WithGroup(string) slog.Handler                { return f }

func (f *faults) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line)
	return nil
}

// take returns what was logged since the last call.
func (f *faults) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := slices.Clone(f.lines)
	f.lines = nil
	return lines
}

// start runs a service until stop is called.
func start(t testing.TB, o server.Options) *service {
	t.Helper()
	raft, api := listen(t), listen(t)
	s := &service{addr: api.Addr().String(), raftAddr: raft.Addr().String(), faults: &faults{Handler: slog.DiscardHandler}}
	log := slog.New(s.faults)
	var err error
	s.member, err = member.New(member.Config{
		ID: 1, ClusterName: "hostile", Peers: []raftlog.Peer{{ID: 1, Addr: s.raftAddr}}, Store: memstore.New("memory"),
		RaftListener: raft, Advertise: s.addr, Tick: member.MinTick, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Log = log
	if s.server, err = server.New(s.member, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var memberErr, serverErr error
	running.Go(func() { memberErr = s.member.Run(ctx) })
	running.Go(func() { serverErr = s.server.Serve(api) })
	s.http1 = client(func(p *http.Protocols) { p.SetHTTP1(true) })
	s.http2 = client(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	s.native = client(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	s.stop = func() {
		s.native.CloseIdleConnections()
		s.http1.CloseIdleConnections()
		s.http2.CloseIdleConnections()
		stopping, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		_ = s.server.Stop(stopping) // a connection that a test left half open is cut off
		cancel()
		running.Wait()
		if memberErr != nil || serverErr != nil {
			t.Errorf("the service ended with %v, %v", memberErr, serverErr)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); s.member.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", s.member.Ready())
		}
	}
	return s
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func client(set func(*http.Protocols)) *http.Client {
	protocols := new(http.Protocols)
	set(protocols)
	return &http.Client{Transport: &http.Transport{Protocols: protocols, DisableCompression: true}}
}
