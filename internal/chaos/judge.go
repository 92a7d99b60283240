package chaos

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const truthWait = 2 * time.Minute // for reading the whole history

// filters are what the subscribers ask for.
var filters = []*metadatav1.Filter{
	nil,
	{Streams: []metadatav1.Stream{metadatav1.Stream_STREAM_TOPOLOGY}},
	{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE}},
	nil,
}

// collect reads what happened, stops the members and looks at what they leave behind.
func (r *run) collect(ctx context.Context) (*consistency.Truth, error) {
	truth, err := r.truth(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range r.cluster.members {
		if err := r.cluster.stop(m); err != nil {
			r.violate("%v", err)
		}
	}
	return truth, r.checkDirectories(ctx)
}

// judge holds what was recorded against what the members say happened.
func (r *run) judge(truth consistency.Truth) {
	r.report.Changes = len(truth.Schema) + len(truth.Topology)
	r.say("judging %d operations by %d changes", r.operations.Load(), r.report.Changes)
	for i, v := range consistency.Check(r.history, truth) {
		r.violate("%v", v)
		if v.Diagram != nil {
			r.draw(i, v)
		}
	}
	r.say("judged")
	r.report.Checked = append(r.report.Checked, "the history against the log: package consistency")
}

// draw keeps the page that shows a violation.
func (r *run) draw(i int, v consistency.Violation) {
	f, err := os.Create(filepath.Join(r.opts.Dir, fmt.Sprintf("violation-%d.html", i)))
	if err == nil {
		err = errors.Join(v.Diagram(f), f.Close())
	}
	if err != nil {
		r.say("no diagram: %v", err)
	}
}

// truth reads the whole history from each member, which have to be the same.
func (r *run) truth(ctx context.Context) (*consistency.Truth, error) {
	truth := &consistency.Truth{Patience: checkWait, Decided: func(c *events.Change) (time.Duration, bool) {
		return c.Time().Sub(r.began), true // one machine, one clock
	}}
	status, err := r.cluster.status(ctx, r.cluster.members[0])
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(status.GetClusterId())
	if err != nil || len(id) != len(truth.Cluster) {
		return nil, fmt.Errorf("cluster id %q cannot be read: %w", status.GetClusterId(), err)
	}
	truth.Cluster = events.ClusterID(id)
	for _, m := range r.cluster.members {
		schema, topology, err := r.changes(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("the history of member %d: %w", m.index+1, err)
		}
		if m.index == 0 {
			truth.Schema, truth.Topology = schema, topology
			continue
		}
		for _, both := range [][2][]*events.Change{{truth.Schema, schema}, {truth.Topology, topology}} {
			if at := differAt(both[0], both[1]); at >= 0 {
				r.violate("the histories of members 1 and %d differ from revision %d on", m.index+1, at+1)
			}
		}
	}
	r.report.Checked = append(r.report.Checked, "digests and whole histories of the members: compared")
	return truth, nil
}

// differAt returns the index of the first difference; -1: none.
func differAt(a, b []*events.Change) int {
	for i := range min(len(a), len(b)) {
		if string(a[i].Raw()) != string(b[i].Raw()) {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// changes reads a member's history from its beginning.
func (r *run) changes(ctx context.Context, m *member) (schema, topology []*events.Change, err error) {
	ctx, cancel := context.WithTimeout(ctx, truthWait)
	defer cancel()
	for frame, err := range r.pinned[m.index].Watch(ctx, &metadatav1.SubscribeRequest{
		Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}}, FailOnGap: true,
	}) {
		if err != nil {
			return nil, nil, err
		}
		if frame.GetBookmark() != nil {
			return schema, topology, nil // all that was committed has been sent
		}
		for _, message := range frame.GetChanges().GetChanges() {
			raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
			if err != nil {
				return nil, nil, err
			}
			c, err := events.DecodeChange(raw)
			if err != nil {
				return nil, nil, err
			}
			if frame.GetChanges().GetStream() == metadatav1.Stream_STREAM_SCHEMA {
				schema = append(schema, c)
			} else {
				topology = append(topology, c)
			}
		}
	}
	return nil, nil, errors.New("the subscription ended without a bookmark")
}

// checkDirectories lets the binary verify what the members left on disk.
func (r *run) checkDirectories(ctx context.Context) error {
	if err := exec.CommandContext(ctx, r.opts.Binary, "check", "--help").Run(); err != nil {
		r.report.LeftOut = append(r.report.LeftOut, LeftOut{"check --data", "this binary has no such command"})
		return nil //nolint:nilerr // an older binary is judged without it
	}
	for _, m := range r.cluster.members {
		out, err := exec.CommandContext(ctx, r.opts.Binary, "check", "--data", m.disk.data()).CombinedOutput()
		if err != nil {
			r.violate("check of member %d's directory: %v\n%s", m.index+1, err, strings.TrimSpace(string(out)))
		}
	}
	r.report.Checked = append(r.report.Checked, "the directory of each stopped member: heliosmeta check --data")
	return nil
}
