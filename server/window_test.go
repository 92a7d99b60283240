package server

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	metadatav1connect "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// A lone call of a gRPC client is not answered with a ping that it would have to answer:
// that is how grpc-go measures windows that are not fixed.
func TestALoneCallIsNotPinged(t *testing.T) {
	w := start(t, Options{})
	conn, err := net.Dial("tcp", w.addr)
	must(0, err)(t)
	defer func() { _ = conn.Close() }()
	must(0, conn.SetDeadline(time.Now().Add(10*time.Second)))(t)
	must(io.WriteString(conn, http2.ClientPreface))(t)
	framer := http2.NewFramer(conn, conn)
	must(0, framer.WriteSettings())(t)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", http.MethodPost}, {":scheme", "http"}, {":authority", "x"},
		{":path", metadatav1connect.MetadataServiceCreateTableProcedure}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		must(0, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))(t)
	}
	must(0, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))(t)
	must(0, framer.WriteData(1, true, []byte{0, 0, 0, 0, 0}))(t) // an empty message
	for {
		frame, err := framer.ReadFrame()
		must(0, err)(t)
		switch f := frame.(type) {
		case *http2.PingFrame:
			t.Fatal("the server pings")
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return
			}
		}
	}
}
