package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/heliosdb/metadata/server"
)

// bombBytes is what a bomb unpacks to: far more than any message may be.
const bombBytes = 256 << 20

// bomb is a gzip of zeros.
func bomb(t testing.TB) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range bombBytes / len(zeros) {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// TestBombs sends a bomb to every rpc in every protocol. Each is refused at the limit
// for one message, and costs memory of that order, not of the bomb's.
func TestBombs(t *testing.T) {
	s := start(t, server.Options{})
	defer s.stop()
	packed := bomb(t)
	// Up to the limit a buffer doubles as it grows, and the client's own share counts too.
	const most = 16 * server.ReadMaxBytes
	for _, m := range methods() {
		for _, p := range protocols {
			streaming := p.family == connectStream
			if p.family == connectGet || streaming != m.streams() && (streaming || p.family == connectUnary) {
				continue // no place for a bomb: an address is short, and kinds of calls differ
			}
			before := allocated()
			end, err := s.send(p, m, packed)
			if err != nil {
				t.Errorf("%s of %s: %v", p.name, m.path, err)
				continue
			}
			if end.code != codes.ResourceExhausted || end.reason != "LIMIT_REACHED" {
				t.Errorf("%s of %s: %v %s: %s", p.name, m.path, end.code, end.reason, end.message)
			}
			if cost := allocated() - before; cost > most {
				t.Errorf("%s of %s: %d bytes were allocated for a bomb of %d", p.name, m.path, cost, bombBytes)
			}
		}
	}
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// send makes a call whose message is these bytes, said to be gzip.
func (s *service) send(p protocol, m method, packed []byte) (ending, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	body, header := packed, "Content-Encoding"
	if p.family != connectUnary {
		body = append(binary.BigEndian.AppendUint32([]byte{1}, uint32(len(packed))), packed...)
		header = map[family]string{connectStream: "Connect-Content-Encoding", grpc: "Grpc-Encoding", grpcWeb: "Grpc-Encoding"}[p.family]
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+m.path, bytes.NewReader(body))
	if err != nil {
		return ending{}, err
	}
	request.Header.Set("Content-Type", p.type_)
	request.Header.Set(header, "gzip")
	response, err := s.over2(p).Do(request)
	if err != nil {
		return ending{}, err
	}
	defer func() { _, _ = io.Copy(io.Discard, response.Body); _ = response.Body.Close() }()
	return p.read(response, m)
}
