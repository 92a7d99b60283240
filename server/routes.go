package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	connectcors "connectrpc.com/cors"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/cors"
	"google.golang.org/protobuf/reflect/protoreflect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
	"github.com/heliosdb/metadata/server/preface"
)

// newHTTPServer speaks HTTP/1.1 and HTTP/2 on connections whose TLS, if they have any,
// is in place already.
func newHTTPServer(handler http.Handler, o Options) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ConnContext:       withTLS,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreamsPerConn,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
		},
		// What net/http logs is what clients did wrong.
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
}

type tlsKey struct{}

// withTLS keeps what a connection's TLS says about the client.
func withTLS(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*preface.Conn); ok && c.TLS() != nil {
		return context.WithValue(ctx, tlsKey{}, c.TLS())
	}
	return ctx
}

func tlsOf(r *http.Request) *tls.ConnectionState {
	if state, ok := r.Context().Value(tlsKey{}).(*tls.ConnectionState); ok {
		return state
	}
	return r.TLS
}

// routes is everything that the port serves.
func (s *Server) routes(o Options) http.Handler {
	rpcs := http.NewServeMux()
	common := []connect.HandlerOption{
		connect.WithReadMaxBytes(ReadMaxBytes),
		connect.WithSendMaxBytes(SendMaxBytes),
		connect.WithCompressMinBytes(compressMinBytes),
		connect.WithCompression("gzip", newBoundedGzip, newGzipWriter),
		connect.WithCodec(binaryCodec{}),
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithInterceptors(s.edge),
	}
	gated := append(slices.Clone(common), connect.WithRequestGate(s.gate.admit))
	rpcs.Handle(metadatav1connect.NewMetadataServiceHandler(service{s}, gated...))
	rpcs.Handle(metadatav1connect.NewClusterServiceHandler(service{s}, gated...))
	rpcs.Handle(metadatav1connect.NewHistoryServiceHandler(service{s}, gated...))
	rpcs.Handle(metadatav1connect.NewConsumerServiceHandler(service{s}, gated...))
	rpcs.Handle(grpchealth.NewHandler(checker{s}, common...))
	reflector := grpcreflect.NewStaticReflector(append(contract(), grpchealth.HealthV1ServiceName)...)
	rpcs.Handle(grpcreflect.NewHandlerV1(reflector, common...))
	rpcs.Handle(grpcreflect.NewHandlerV1Alpha(reflector, common...))

	handler := s.track(rpcs)
	if len(o.CORSOrigins) > 0 || o.PageOrigins != nil {
		handler = allowOrigins(o, handler)
	}
	all := http.NewServeMux()
	for _, name := range append(contract(), grpchealth.HealthV1ServiceName,
		grpcreflect.ReflectV1ServiceName, grpcreflect.ReflectV1AlphaServiceName) {
		all.Handle("/"+name+"/", handler)
	}
	all.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{
		Registry: s.metrics.registry, MaxRequestsInFlight: 8, Timeout: 10 * time.Second,
	}))
	all.HandleFunc("GET /livez", s.livez)
	all.HandleFunc("GET /readyz", s.readyz)
	if o.Home != nil {
		all.Handle("/", o.Home)
	}
	if o.Hosts != nil {
		return onlyHosts(o.Hosts, all)
	}
	return all
}

// allowOrigins lets pages of other origins call, without cookies and the like.
func allowOrigins(o Options, next http.Handler) http.Handler {
	options := cors.Options{
		AllowedOrigins: o.CORSOrigins,
		AllowedMethods: connectcors.AllowedMethods(),
		AllowedHeaders: append(connectcors.AllowedHeaders(), ActorHeader, ClusterHeader, "Authorization", "If-None-Match"),
		ExposedHeaders: append(connectcors.ExposedHeaders(), "Etag"),
		MaxAge:         int((2 * time.Hour).Seconds()),
	}
	if o.PageOrigins != nil {
		configured := cors.New(options)
		options.AllowOriginVaryRequestFunc = func(r *http.Request, origin string) (bool, []string) {
			return slices.Contains(o.PageOrigins(), origin) || len(o.CORSOrigins) > 0 && configured.OriginAllowed(r), nil
		}
	}
	return cors.New(options).Handler(next)
}

// track gives each call its record and its time limits: a request that is one message
// arrives in time, unary calls end within the limit, streams soon after the server begins
// to drain.
func (s *Server) track(next http.Handler) http.Handler {
	unary, single := pathsOf(isUnary), pathsOf(isSingle)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{tls: tlsOf(r), control: http.NewResponseController(w)}
		defer c.end()
		ctx := context.WithValue(r.Context(), callKey{}, c)
		body := newBoundedBody(r, unary[r.URL.Path])
		if single[r.URL.Path] && r.Body != http.NoBody {
			// net/http lifts it when the body has been read. Without a body, it waits for the
			// client to go away already, and would take a deadline for that.
			c.deadline((*http.ResponseController).SetReadDeadline, time.Now().Add(s.times.arrival.after))
			body.late = s.late
		}
		if unary[r.URL.Path] {
			var cancel context.CancelFunc
			ctx, cancel = s.times.of(r.URL.Path).begin(ctx)
			defer cancel()
		} else if r.URL.Path != metadatav1connect.MetadataServicePipelineProcedure {
			stop := context.AfterFunc(s.life, func() {
				c.stopReading()
				c.stopWriting(time.Now().Add(drainWrites))
			})
			defer stop()
		}
		// A copy: by the original, net/http sees that its body was not read to its end.
		r = r.WithContext(ctx)
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// endsWithServer reports whether a call is a stream that ends soon after the server begins
// to drain, whatever its client reads. Pipelines end by themselves when the calls on them
// have, as unary calls do.
func endsWithServer(spec connect.Spec) bool {
	return spec.StreamType != connect.StreamTypeUnary && spec.Procedure != metadatav1connect.MetadataServicePipelineProcedure
}

// contractFiles are the files of the contract that have services.
var contractFiles = [...]protoreflect.FileDescriptor{
	metadatav1.File_heliosdb_metadata_v1_metadata_service_proto,
	metadatav1.File_heliosdb_metadata_v1_cluster_service_proto,
	metadatav1.File_heliosdb_metadata_v1_history_service_proto,
	metadatav1.File_heliosdb_metadata_v1_consumer_service_proto,
}

// contract are the names of the contract's services.
func contract() (names []string) {
	for _, file := range contractFiles {
		for i := range file.Services().Len() {
			names = append(names, string(file.Services().Get(i).FullName()))
		}
	}
	return names
}

// isUnary reports whether an rpc is no stream.
func isUnary(m protoreflect.MethodDescriptor) bool {
	return !m.IsStreamingClient() && !m.IsStreamingServer()
}

// isSingle reports whether the request of an rpc is one message, whatever its answer is.
func isSingle(m protoreflect.MethodDescriptor) bool { return !m.IsStreamingClient() }

// healthCheck is the one call beside the contract that is no stream.
const healthCheck = "/" + grpchealth.HealthV1ServiceName + "/Check"

// pathsOf has the paths of those of the contract's rpcs that are meant, and of healthCheck.
func pathsOf(meant func(protoreflect.MethodDescriptor) bool) map[string]bool {
	paths := map[string]bool{healthCheck: true}
	for _, file := range contractFiles {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				paths[fmt.Sprintf("/%s/%s", service.FullName(), m.Name())] = meant(m)
			}
		}
	}
	return paths
}
