package client

import (
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
)

// codeOK is the code of a call without an error.
const codeOK = "ok"

// latency is how long calls took, retries included, by method and code.
type latency struct {
	all     *prometheus.HistogramVec
	methods sync.Map // *methodLatency by descriptor of the request
}

// methodLatency is how long calls of one method took.
type methodLatency struct {
	byCode prometheus.ObserverVec
	ok     prometheus.Observer
}

func newLatency(name string) *latency {
	return &latency{all: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricPrefix + "call_seconds", Help: "Time that calls took, retries included.",
		ConstLabels: prometheus.Labels{"client": name}, Buckets: prometheus.ExponentialBuckets(0.0001, 2, 19),
	}, []string{"method", "code"})}
}

// of returns where the calls of a request's method are noted. Requests are named after methods.
func (l *latency) of(request proto.Message) *methodLatency {
	descriptor := request.ProtoReflect().Descriptor()
	if m, ok := l.methods.Load(descriptor); ok {
		return m.(*methodLatency)
	}
	method := strings.TrimSuffix(string(descriptor.Name()), "Request")
	byCode := l.all.MustCurryWith(prometheus.Labels{"method": method})
	m, _ := l.methods.LoadOrStore(descriptor, &methodLatency{byCode: byCode, ok: byCode.WithLabelValues(codeOK)})
	return m.(*methodLatency)
}

// note notes a call that began at a time and has ended.
func (m *methodLatency) note(began time.Time, err error) {
	to := m.ok
	if err != nil {
		to = m.byCode.WithLabelValues(connect.CodeOf(err).String())
	}
	to.Observe(time.Since(began).Seconds())
}
