package member

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/hashwatch"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// The driver of a hashwatch.Watch: members compare the hashes of their checkpoints.

// compareTicks is how long a round of the watch is.
const compareTicks = 50

// HashOf describes a checkpoint for comparison. Its bytes depend on the versions of the file
// and of the model, so only equal ones are compared.
func HashOf(s metadatav1.Stream, d raftlog.Descriptor, level uint32) *metadatav1.CheckpointHash {
	return &metadatav1.CheckpointHash{
		Stream: s, Revision: d.Seq, Index: d.Index, Hash: d.Hash[:],
		Format: fmt.Sprintf("file %d, records %d, level %d", d.Format, projections.CheckpointFormat, level),
	}
}

// wroteCheckpoint takes a checkpoint that this member has written.
func (m *Member) wroteCheckpoint(r *running, c *metadatav1.CheckpointHash) {
	m.compared(r, m.hashes.Wrote(c))
}

// watchConsistency compares checkpoints with the other members' until the streams end.
func (m *Member) watchConsistency(r *running) {
	ticker := time.NewTicker(compareTicks * m.config.Tick)
	defer ticker.Stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		out := m.hashes.Tick()
		for _, id := range out.Ask {
			calls.Go(func() { m.askHashes(r, id) })
		}
		m.compared(r, out)
	}
}

// askHashes asks one member what it has written.
func (m *Member) askHashes(r *running, id uint64) {
	ctx, cancel := context.WithTimeout(r.ctx, statusTimeout)
	defer cancel()
	var report metadatav1.CheckpointHashes
	payload, err := m.transport.Call(ctx, id, methodHashes, nil)
	if err == nil {
		err = proto.Unmarshal(payload, &report)
	}
	if err != nil {
		m.hashes.Failed(id)
		return
	}
	out, err := m.hashes.Reported(id, &report)
	if err != nil {
		m.log.Warn("checkpoints of a member cannot be compared", "peer", id, "error", err)
	}
	m.compared(r, out)
}

// compared carries out what follows from a comparison.
func (m *Member) compared(r *running, out hashwatch.Output) {
	for _, d := range out.Alarms {
		m.log.Error("checkpoints of members differ", "stream", events.StreamName(d.GetStream()), "revision", d.GetRevision(),
			"differing", d.GetMemberId(), "hashes", d.GetDescription())
	}
	if out.Condemned != "" {
		m.condemn(r, out.Condemned)
	}
}

// maxAlarmText bounds what another member's description adds to an alarm.
const maxAlarmText = 1 << 10

// divergenceAlarms says of each member once for each stream that it differs, at the newest
// revision, whoever saw it. What other members report beyond that adds nothing.
func divergenceAlarms(members []*metadatav1.MemberStatus) []*metadatav1.Alarm {
	known := []uint64{0}
	for _, m := range members {
		known = append(known, m.GetMemberId())
	}
	var alarms []*metadatav1.Alarm
	for _, s := range streamIDs {
		for _, id := range known {
			if d, revisions := newestDivergence(members, s, id); d != nil {
				alarms = append(alarms, divergenceAlarm(d, revisions))
			}
		}
	}
	return alarms
}

// newestDivergence returns the newest difference of a member in a stream and in how many
// revisions it differs.
func newestDivergence(members []*metadatav1.MemberStatus, s metadatav1.Stream, id uint64) (newest *metadatav1.Divergence, revisions int) {
	told := make(map[uint64]bool)
	for _, m := range members {
		for _, d := range m.GetDivergences() {
			if d.GetStream() != s || d.GetMemberId() != id {
				continue
			}
			told[d.GetRevision()] = true
			if newest == nil || d.GetRevision() > newest.GetRevision() {
				newest = d
			}
		}
	}
	return newest, len(told)
}

func divergenceAlarm(d *metadatav1.Divergence, revisions int) *metadatav1.Alarm {
	a := &metadatav1.Alarm{Severity: metadatav1.Severity_SEVERITY_CRITICAL, MemberId: d.GetMemberId()}
	where := fmt.Sprintf("checkpoints of the %s stream at revision %d", events.StreamName(d.GetStream()), d.GetRevision())
	if revisions > 1 {
		where += fmt.Sprintf(" (and at %d earlier ones)", revisions-1)
	}
	description := d.GetDescription()[:min(len(d.GetDescription()), maxAlarmText)]
	if d.GetMemberId() == 0 {
		a.Message = fmt.Sprintf("the members' %s differ, and none has a majority of its own build: %s", where, description)
		a.Advice = "nobody was stopped; if the builds differ, finish or take back the upgrade and report this; if not, compare the members with `heliosmeta check` and test their memory, then give the wrong one an empty directory"
		return a
	}
	a.Message = fmt.Sprintf("the %s differ, member %d from a majority: %s", where, d.GetMemberId(), description)
	a.Advice = fmt.Sprintf("member %d is rebuilt from the others; test the memory of its machine, and report this with its log if that is sound", d.GetMemberId())
	return a
}
