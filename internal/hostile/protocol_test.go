package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// family is how a protocol frames messages and says how a call ended.
type family int

const (
	connectUnary family = iota
	connectGet
	connectStream
	grpc
	grpcWeb
)

// protocol is one way to make a call.
type protocol struct {
	name   string
	family family
	json   bool
	type_  string // content type
}

var protocols = []protocol{
	{"connect proto", connectUnary, false, "application/proto"},
	{"connect json", connectUnary, true, "application/json"},
	{"connect get proto", connectGet, false, ""},
	{"connect get json", connectGet, true, ""},
	{"connect stream proto", connectStream, false, "application/connect+proto"},
	{"connect stream json", connectStream, true, "application/connect+json"},
	{"grpc", grpc, false, "application/grpc"},
	{"grpc json", grpc, true, "application/grpc+json"},
	{"grpc-web", grpcWeb, false, "application/grpc-web"},
	{"grpc-web json", grpcWeb, true, "application/grpc-web+json"},
}

// How the bytes of a call are packed.
const (
	plain       = iota // as the protocol wants it
	zipped             // compressed, and said so
	claimed            // said to be compressed, but not
	unenveloped        // the bytes are all of the body
	otherZip           // compressed by what the server does not know
	packings
)

// method is an rpc of the contract.
type method struct {
	descriptor protoreflect.MethodDescriptor
	path       string
}

func (m method) streams() bool {
	return m.descriptor.IsStreamingClient() || m.descriptor.IsStreamingServer()
}

func methods() (all []method) {
	for _, file := range []protoreflect.FileDescriptor{
		metadatav1.File_heliosdb_metadata_v1_metadata_service_proto,
		metadatav1.File_heliosdb_metadata_v1_cluster_service_proto,
		metadatav1.File_heliosdb_metadata_v1_history_service_proto,
		metadatav1.File_heliosdb_metadata_v1_consumer_service_proto,
	} {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				all = append(all, method{m, "/" + string(s.FullName()) + "/" + string(m.Name())})
			}
		}
	}
	return all
}

// request makes the http request of a call with these bytes for its message.
func (p protocol) request(ctx context.Context, base string, m method, packing int, message []byte) *http.Request {
	enveloped := p.family != connectUnary && p.family != connectGet
	compression, flag := "", byte(0)
	switch packing {
	case zipped:
		message, compression, flag = zip(message), "gzip", 1
	case claimed:
		compression, flag = "gzip", 1
	case otherZip:
		compression, flag = "br", 1
	}
	if enveloped && packing != unenveloped {
		message = append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
	}
	if p.family == connectGet {
		return p.get(ctx, base, m, compression, message)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+m.path, bytes.NewReader(message))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", p.type_)
	r.Header.Set("Te", "trailers")
	if compression != "" {
		r.Header.Set(map[family]string{
			connectUnary: "Content-Encoding", connectStream: "Connect-Content-Encoding", grpc: "Grpc-Encoding", grpcWeb: "Grpc-Encoding",
		}[p.family], compression)
	}
	return r
}

func (p protocol) get(ctx context.Context, base string, m method, compression string, message []byte) *http.Request {
	query := url.Values{"connect": {"v1"}, "encoding": {"proto"}, "base64": {"1"}, "message": {base64.RawURLEncoding.EncodeToString(message)}}
	if p.json {
		query.Set("encoding", "json")
	}
	if compression != "" {
		query.Set("compression", compression)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+m.path+"?"+query.Encode(), nil)
	if err != nil {
		panic(err)
	}
	return r
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b) // to memory
	_ = z.Close()
	return out.Bytes()
}

func unzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// decodes reports whether bytes are an answer of a method.
func (p protocol) decodes(m method, raw []byte) error {
	answer := dynamicpb.NewMessage(m.descriptor.Output())
	if p.json {
		return protojson.Unmarshal(raw, answer)
	}
	return proto.Unmarshal(raw, answer)
}

// isProtocolError reports answers that http gives before a protocol is chosen.
func isProtocolError(status int, m method, major int) bool {
	switch status {
	case http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return true
	case http.StatusHTTPVersionNotSupported: // both ways at once is more than HTTP/1 can do
		return major == 1 && m.descriptor.IsStreamingClient()
	}
	return false
}

func sameMedia(got, want string) bool {
	media, _, _ := strings.Cut(got, ";")
	return media == want
}
