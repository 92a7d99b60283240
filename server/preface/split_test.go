package preface

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
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

var quick = Limits{Opening: 300 * time.Millisecond, FirstCall: 300 * time.Millisecond, HeaderBytes: 16 << 10}

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
			to, err := s.sort(c)
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
