package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	// lagTimeout bounds asking the service how far it is, when somebody looks.
	lagTimeout = 2 * time.Second
	// headerTimeout bounds reading the head of a request for metrics.
	headerTimeout = 5 * time.Second
)

var lagDesc = prometheus.NewDesc("heliosmeta_cdc_lag_changes",
	"Changes that the service has and the consumer has not acknowledged, those included that its filter leaves out.", []string{"stream"}, nil)

// lag is how far the consumer is behind the service, of which it asks when somebody looks.
type lag struct {
	client   *client.Client
	consumer string // empty: the service does not know it
	filter   *metadatav1.Filter
	position atomic.Pointer[metadatav1.Position] // what was acknowledged last
}

func newLag(c *client.Client, consumer string, filter *metadatav1.Filter) *lag {
	return &lag{client: c, consumer: consumer, filter: filter}
}

// acknowledged notes how far the consumer is.
func (l *lag) acknowledged(p *metadatav1.Position) { l.position.Store(p) }

// Describe implements prometheus.Collector.
func (l *lag) Describe(to chan<- *prometheus.Desc) { to <- lagDesc }

// Collect implements prometheus.Collector. While the service does not answer there is no
// lag to show.
func (l *lag) Collect(to chan<- prometheus.Metric) {
	at := l.position.Load()
	if at == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
	defer cancel()
	filter := l.filter
	if l.consumer != "" {
		res, err := l.client.GetConsumer(ctx, &metadatav1.GetConsumerRequest{Name: l.consumer})
		if err != nil {
			return
		}
		filter = res.GetConsumer().GetFilter()
	}
	status, err := l.client.Status(ctx, &metadatav1.StatusRequest{})
	if err != nil {
		return
	}
	matching := events.NewFilter(filter)
	for _, s := range follow.Streams {
		if !matching.MatchStream(s) {
			continue
		}
		head, acked := follow.RevisionOf(status.GetPosition(), s), follow.RevisionOf(at, s)
		to <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(head-min(head, acked)), events.StreamName(s))
	}
}

// listen shows a registry's metrics at an address until stop is called.
func listen(address string, registry *prometheus.Registry) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until stop
	}()
	return func() {
		_ = server.Close()
		<-ended
	}, nil
}
