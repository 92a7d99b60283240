package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/measure"
	"github.com/heliosdb/metadata/internal/workload"
)

// benchRun is one measurement.
type benchRun struct {
	session   *session
	flags     *benchFlags
	name      workload.Name
	endpoints []string
	cluster   *fleet.Cluster // nil: the members are not ours
}

// benchReport is what a benchmark says; its JSON names are part of the interface.
type benchReport struct {
	Workload    string   `json:"workload"`
	Version     string   `json:"version"`
	Go          string   `json:"go"`
	Platform    string   `json:"platform"`
	CPUs        int      `json:"cpus"`
	Members     int      `json:"local_members"` // 0: not the benchmark's own
	Endpoints   []string `json:"endpoints"`
	Client      string   `json:"client"`
	Connections int      `json:"connections"`
	Loop        string   `json:"loop"` // closed or open
	Clients     int      `json:"clients"`
	Rate        float64  `json:"rate"`
	WarmUp      string   `json:"warm_up"`
	Duration    string   `json:"duration"`

	Tables      int    `json:"tables,omitempty"`
	Changes     int    `json:"changes,omitempty"`
	Batch       int    `json:"batch,omitempty"`
	Nodes       int    `json:"nodes,omitempty"`
	Pipeline    int    `json:"pipeline,omitempty"`
	Subscribers int    `json:"subscribers,omitempty"`
	Fault       string `json:"fault,omitempty"`

	workload.Report
}

// measure prepares, runs and cleans up.
func (b *benchRun) measure(ctx context.Context) (report benchReport, err error) {
	config, err := b.session.tls.Load(b.endpoints)
	if err != nil {
		return report, err
	}
	f := b.flags
	target, err := workload.Dial{
		Endpoints: b.endpoints, Client: f.client, Connections: f.connections, Callers: f.settings.Clients,
		Spread: f.spread, TLS: config, Actor: cmp.Or(b.session.actor, "bench"), Timeout: b.session.timeout,
	}.Connect(ctx, b.name.Stream)
	if err != nil {
		return report, err
	}
	defer target.Close()
	target.Cluster = b.cluster
	work, err := b.name.New(target, f.settings)
	if err != nil {
		return report, err
	}
	if b.cluster == nil && !f.keep {
		defer func() { err = errors.Join(err, b.clean(ctx, work)) }()
	}
	if err := work.Prepare(ctx); err != nil {
		return report, err
	}
	b.session.say("measuring %s for %v after a warm-up of %v", b.name.Name, f.duration, f.warmUp)
	result, err := work.Run(ctx, f.plan(b.progress))
	if err != nil {
		return report, err
	}
	if b.cluster != nil {
		if err := b.cluster.Lost(); err != nil {
			return report, err
		}
	}
	return b.report(target, result), nil
}

// clean removes what was made, even if the benchmark was broken off.
func (b *benchRun) clean(ctx context.Context, work workload.Work) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchCleanUp)
	defer cancel()
	if err := work.Clean(ctx); err != nil {
		return fmt.Errorf("removing what the benchmark made (its names begin with bench_): %w", err)
	}
	return nil
}

// progress tells people how it goes.
func (b *benchRun) progress(p measure.Progress) {
	what := ""
	if p.WarmingUp {
		what = ", warming up"
	}
	b.session.say("%4.0fs of %v: %s/s, errors: %d%s", p.Elapsed.Seconds(), p.Total, thousands(p.Rate), p.Errors, what)
}

func (b *benchRun) report(target *workload.Target, result workload.Report) benchReport {
	f := b.flags
	report := benchReport{
		Workload: b.name.Name, Version: buildVersion(), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Members: f.local, Endpoints: target.Endpoints, Client: f.client, Connections: len(target.Callers),
		Loop: "closed", Clients: f.settings.Clients, Rate: f.rate, WarmUp: f.warmUp.String(), Duration: f.duration.String(),
		Report: result,
	}
	if f.rate > 0 {
		report.Loop = "open"
	}
	for _, setting := range b.name.Uses {
		switch setting {
		case "tables":
			report.Tables = f.settings.Tables
		case "changes":
			report.Changes = f.settings.Changes
		case "batch":
			report.Batch = f.settings.Batch
		case "nodes":
			report.Nodes = f.settings.Nodes
		case "pipeline":
			report.Pipeline = f.settings.Pipeline
		case "subscribers":
			report.Subscribers = f.settings.Subscribers
		case "fault":
			report.Fault = f.fault
		}
	}
	return report
}

// benchRows is a report for people.
func benchRows(r *output.Rows, b benchReport) {
	loop := fmt.Sprintf("clients: %d, one call after the other", b.Clients)
	if b.Loop == "open" {
		loop = fmt.Sprintf("%s calls a second, clients: %d at most", thousands(b.Rate), b.Clients)
	}
	r.Text("%s, %s, for %s", b.Workload, loop, b.Duration)
	r.Text("")
	r.Row("PART", "OPS", "OPS/S", "MEAN", "P50", "P90", "P99", "P99.9", "MAX")
	r.Row("all", b.Count, thousands(b.OpsPerSec), span(b.MeanUS), span(b.P50US), span(b.P90US), span(b.P99US), span(b.P999US), span(b.MaxUS))
	for _, part := range slices.Sorted(maps.Keys(b.Parts)) {
		l := b.Parts[part]
		r.Row(part, l.Count, "", span(l.MeanUS), span(l.P50US), span(l.P90US), span(l.P99US), span(l.P999US), span(l.MaxUS))
	}
	r.Text("")
	if b.ObjectsPerSec > 0 {
		r.Text("objects/s: %s", thousands(b.ObjectsPerSec))
	}
	if b.ChangesPerSec > 0 {
		r.Text("changes/s: %s", thousands(b.ChangesPerSec))
	}
	if b.AllocsPerOp != nil {
		r.Text("allocations per operation: %v", *b.AllocsPerOp)
	}
	if b.Unsent > 0 {
		r.Text("not sent in time: %d; the service did not keep up, and the latencies are the least that they can be", b.Unsent)
	}
	r.Text("errors: %d", b.Errors)
	for _, kind := range slices.Sorted(maps.Keys(b.ErrorsByKind)) {
		r.Text("  %s: %d, such as: %s", kind, b.ErrorsByKind[kind], b.ErrorSamples[kind])
	}
}

// span shows microseconds with three digits.
func span(micros float64) string {
	d := time.Duration(micros * float64(time.Microsecond))
	unit := time.Nanosecond
	for unit*1000 <= d {
		unit *= 10
	}
	return d.Round(unit).String()
}

// thousands shows a number as people read it.
func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
