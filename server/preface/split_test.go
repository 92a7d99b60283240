package preface

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = Limits{Opening: 300 * time.Millisecond, FirstCall: time.Second, HeaderBytes: 16 << 10, Conns: 64}

// pair serves one listener by two servers that say who they are: a gRPC server by
// serving health, an HTTP server by its answer "rest".
func pair(t *testing.T, limits Limits) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	split := New(listener, nil, limits)
	native := grpc.NewServer()
	healthv1.RegisterHealthServer(native, healthv1.UnimplementedHealthServer{})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	rest := &http.Server{Protocols: protocols, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte("rest "), body...))
	})}
	ran := make(chan error, 3)
	go func() { ran <- split.Run() }()
	go func() { ran <- native.Serve(split.GRPC()) }()
	go func() { ran <- rest.Serve(split.Rest()) }()
	t.Cleanup(func() {
		native.Stop()
		_ = rest.Close()
		split.Dismiss()
		for range 3 {
			<-ran
		}
	})
	return listener.Addr().String()
}

func TestStockClientsAreSorted(t *testing.T) {
	addr := pair(t, quick)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err == nil || !strings.Contains(err.Error(), "Check not implemented") {
		t.Fatalf("grpc-go was answered by another server: %v", err)
	}
	for name, set := range map[string]func(*http.Protocols){
		"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
		"HTTP/2":   func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		protocols := new(http.Protocols)
		set(protocols)
		transport := &http.Transport{Protocols: protocols}
		client := &http.Client{Transport: transport}
		large := strings.Repeat("x", 1<<20) // more than the first flow control window
		for range 3 {                       // the later ones on the same connection
			for media, by := range map[string]string{"application/proto": "rest ", "application/grpc-web+proto": "rest "} {
				response, err := client.Post("http://"+addr+"/x", media, strings.NewReader(large))
				if err != nil {
					t.Fatalf("%s, %s: %v", name, media, err)
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || string(body) != by+large {
					t.Fatalf("%s, %s: an answer of %d bytes, %v", name, media, len(body), err)
				}
			}
		}
		transport.CloseIdleConnections()
	}
}

// What comes through a proxy may be followed by other protocols.
func TestProxiedCallsGoToTheRest(t *testing.T) {
	addr := pair(t, quick)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/x", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("X-Forwarded-For", "192.0.2.1")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "rest x" {
		t.Fatalf("%q, %v", body, err)
	}
}

// A client that connects ahead of need is served by whoever understands everything.
func TestALateFirstCall(t *testing.T) {
	addr := pair(t, quick)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	framer := http2.NewFramer(conn, conn)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(framer.WriteSettings(), framer.WriteSettingsAck()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * quick.FirstCall)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/x"}, {"content-type", "application/grpc"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := frame.(*http2.DataFrame); ok {
			if string(data.Data()) != "rest " {
				t.Fatalf("the answer is %q", data.Data())
			}
			return
		}
	}
}

// Whatever a connection begins with, it is closed in time or handed out whole.
func TestWhatIsReadIsReadAgain(t *testing.T) {
	for name, first := range map[string]string{
		"HTTP/1.1":                "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"not quite a preface":     "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
		"frames against protocol": http2.ClientPreface + "\x00\x00\x05\x04\x00\x00\x00\x00\x00xxxxx" + "more",
		"noise":                   strings.Repeat("\x16\x03\x01", 100),
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer func() { _ = far.Close() }()
			s := New(nil, nil, quick)
			go func() {
				go func() { _, _ = io.Copy(io.Discard, far) }() // the settings that it is sent
				_, _ = io.WriteString(far, first)
				_ = far.Close()
			}()
			c := &Conn{Conn: near}
			to, err := s.choose(c)
			if err != nil || to != s.rest {
				t.Fatalf("handed to the rest: %v, %v", to == s.rest, err)
			}
			if got, err := io.ReadAll(c); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != first && !strings.HasPrefix(first, string(got)) {
				t.Fatalf("%q is read again, %v", got, err)
			} else if len(got) < len(first)-4 {
				t.Fatalf("%d of %d bytes are read again", len(got), len(first))
			}
		})
	}
}

// Exactly one acknowledgment is dropped, wherever reads are cut.
func TestOneAcknowledgmentIsDropped(t *testing.T) {
	var in, want bytes.Buffer
	both := io.MultiWriter(&in, &want)
	_, _ = io.WriteString(both, http2.ClientPreface)
	framer := http2.NewFramer(both, nil)
	extra := http2.NewFramer(&in, nil)
	payload := bytes.Repeat([]byte{4, 1}, 700) // looks like acknowledgments inside
	err := errors.Join(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}),
		framer.WriteData(1, false, payload), extra.WriteSettingsAck(), framer.WriteSettingsAck(), framer.WriteData(1, true, payload))
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]io.Reader{
		"whole": bytes.NewReader(in.Bytes()), "by byte": iotest.OneByteReader(bytes.NewReader(in.Bytes())),
		"by halves": iotest.HalfReader(bytes.NewReader(in.Bytes())),
	} {
		f := &frames{from: from.Read, preface: len(http2.ClientPreface)}
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%s: %d bytes of %d, %v", name, len(got), want.Len(), err)
		}
	}
}

func TestSilenceIsClosedInTime(t *testing.T) {
	addr := pair(t, quick)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, first := range []string{"", "PRI * HT", http2.ClientPreface} {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, first)
		begin := time.Now()
		_, _ = io.Copy(io.Discard, conn)
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("after %q the connection was open for %v", first, took)
		}
		_ = conn.Close()
	}
}

// flaky is a listener whose Accept fails some times first.
type flaky struct {
	net.Listener
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, syscall.EMFILE
	}
	return f.Listener.Accept()
}

// Out of file descriptors is no reason to end.
func TestAcceptIsTriedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(&flaky{listener, 3}, nil, quick)
	ran := make(chan error, 1)
	go func() { ran <- s.Run() }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	served, err := s.Rest().Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = served.Close()
	_ = s.Rest().Close()
	if err := <-ran; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("it ended with %v", err)
	}
}

// Frames ahead of a call that say nothing are held to a bound.
func TestAFloodOfContinuationsIsBounded(t *testing.T) {
	for name, fragment := range map[string][]byte{"empty": nil, "of size updates": bytes.Repeat([]byte{0x20}, 16<<10)} {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go func() {
			framer := http2.NewFramer(far, nil)
			_, err := io.WriteString(far, http2.ClientPreface)
			err = errors.Join(err, framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}))
			for err == nil {
				err = framer.WriteContinuation(1, false, fragment)
			}
		}()
		c := &Conn{Conn: near}
		s := New(nil, nil, Limits{Opening: time.Minute, FirstCall: time.Minute, HeaderBytes: quick.HeaderBytes, Conns: 1})
		if to, err := s.choose(c); err != nil || to != s.rest {
			t.Errorf("%s: handed to the rest: %v, %v", name, to == s.rest, err)
		}
		if len(c.first) > maxHeld+32<<10 {
			t.Errorf("%s: %d bytes are held", name, len(c.first))
		}
		_ = near.Close()
		_ = far.Close()
	}
}

// Who says nothing makes room for others.
func TestTheOldestMakesRoom(t *testing.T) {
	limits := quick
	limits.Conns, limits.Opening = 2, time.Minute
	addr := pair(t, limits)
	var silent []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		silent = append(silent, conn)
	}
	if err := silent[0].SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the oldest is still open: %v", err)
	}
}
