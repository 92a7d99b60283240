package sink

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/heliosdb/metadata/cdc/record"
)

// Metrics count what a Courier does. The methods of a nil Metrics do nothing.
type Metrics struct {
	changes *prometheus.CounterVec
	last    *prometheus.GaugeVec
	retries prometheus.Counter
	dead    prometheus.Counter
}

// NewMetrics returns Metrics that a registry shows.
func NewMetrics(to prometheus.Registerer) *Metrics {
	m := &Metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "heliosmeta_cdc_delivered_total", Help: "Changes that were delivered, those that came again included.",
		}, []string{"stream"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "heliosmeta_cdc_delivered_change_timestamp_seconds", Help: "Time of the change that was delivered last.",
		}, []string{"stream"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "heliosmeta_cdc_retries_total", Help: "Attempts of deliveries that failed and were made again.",
		}),
		dead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "heliosmeta_cdc_dead_letters_total", Help: "Changes that were rejected and went to the dead letters.",
		}),
	}
	to.MustRegister(m.changes, m.last, m.retries, m.dead)
	return m
}

func (m *Metrics) delivered(records []record.Record) {
	if m == nil {
		return
	}
	for _, r := range records {
		m.changes.WithLabelValues(r.Stream).Inc()
		m.last.WithLabelValues(r.Stream).Set(float64(r.Time.UnixNano()) / 1e9)
	}
}

func (m *Metrics) retried() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *Metrics) buried() {
	if m != nil {
		m.dead.Inc()
	}
}
