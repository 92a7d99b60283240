package member

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// auditActor is the actor of signed heads in the history.
const auditActor = "heliosmeta/audit"

const (
	// signTicks is how often it is looked whether a head is to be signed.
	signTicks = 10
	// signTimeout is how long keeping a signed head may take; then it is signed again.
	signTimeout = 5 * time.Second
	// overdueTicks is for how long a head may be due before it is worth a warning.
	overdueTicks = 300
)

// signHeads has the heads of the streams that positions cover signed and kept, as the policy
// says, while this member leads the service stream. Those of the service stream are not: each
// signature would cause the next one. All members follow the schedule, with a key or without, so
// that a new leader knows since when changes have been unsigned, and all know when nobody signs.
func (m *Member) signHeads(r *running) {
	schedules := make(map[metadatav1.Stream]*audit.Schedule)
	for _, id := range positioned {
		schedules[id] = audit.NewSchedule(m.config.Audit)
	}
	ticker := time.NewTicker(signTicks * m.config.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, id := range positioned {
			head, now := r.headOf(id), time.Now()
			due, _ := schedules[id].Due(r.signed(id), head.Revision, now)
			r.overdue.of(id).Store(schedules[id].Overdue(now) > overdueTicks*m.config.Tick)
			if due && m.config.AuditKey != nil && r.service.leader() == m.identity.Member {
				m.signHead(r, head)
			}
		}
	}
}

// overdue says, by stream, whether a head should have been signed a while ago.
type overdue [len(streamIDs)]atomic.Bool

func (o *overdue) of(id metadatav1.Stream) *atomic.Bool { return &o[slices.Index(streamIDs[:], id)] }

// signingAlarms says which streams' heads are not signed, although some member has a key.
func (r *running) signingAlarms(members []*metadatav1.MemberStatus) (alarms []*metadatav1.Alarm) {
	leader := r.service.leader()
	keys, why, advice := 0, "", "look into the log of the member that leads the service stream"
	for _, other := range members {
		switch {
		case other.GetSignsHeads():
			keys++
		case other.GetReachable() && other.GetMemberId() == leader:
			why = fmt.Sprintf(": member %d, which leads the service stream, has no key", leader)
			advice = "start all members with --audit-key; their keys may differ"
		}
	}
	for _, id := range positioned {
		if keys > 0 && r.overdue.of(id).Load() {
			alarms = append(alarms, &metadatav1.Alarm{
				Severity: metadatav1.Severity_SEVERITY_WARNING, Advice: advice,
				Message: fmt.Sprintf("the head of the %s stream was to be signed, and has not been since revision %d%s", events.StreamName(id), r.signed(id), why),
			})
		}
	}
	return alarms
}

// signed returns the newest revision of a stream that is signed; 0: none.
func (r *running) signed(id metadatav1.Stream) uint64 {
	if newest, ok := r.service.replica.View().Model.NewestSignedHead(id); ok {
		return newest.Revision()
	}
	return 0
}

// headOf returns the head of the published model of a stream that positions cover.
func (r *running) headOf(id metadatav1.Stream) projections.Head {
	if id == metadatav1.Stream_STREAM_TOPOLOGY {
		return r.topology.replica.View().Head
	}
	return r.schema.replica.View().Head
}

// signHead signs a head, which is committed, and has it kept. One that is not kept is signed
// again when it is due again.
func (m *Member) signHead(r *running, head projections.Head) {
	now := m.config.Now()
	signed, err := audit.Sign(m.config.AuditKey, head.Cluster, head.RecoveryEpoch, &metadatav1.SignedHead{
		Stream: head.Stream, Revision: head.Revision, Digest: head.Digest[:], Time: timestamppb.New(now),
	})
	if err == nil {
		ctx, cancel := context.WithTimeout(r.ctx, signTimeout)
		defer cancel()
		_, err = r.service.submit(ctx, replica.Request{
			Command: &metadatav1.SignHead{Head: signed},
			Env:     commands.Env{Now: now, Actor: auditActor, RequestID: uuid.Must(uuid.NewV7()).String()},
		})
	}
	if f := failure.As(err); err != nil && r.ctx.Err() == nil && (f == nil || !attemptAgain(f.Reason)) {
		m.log.Warn("the head of a stream was not signed; it is tried again", "stream", events.StreamName(head.Stream),
			"revision", head.Revision, "error", err)
	}
}
