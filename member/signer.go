package member

import (
	"context"
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
)

// signHeads has the heads of the streams that positions cover signed and kept, as the policy
// says, while this member leads the service stream. Those of the service stream are not: each
// signature would cause the next one. All members follow the schedule, so that a new leader
// knows since when changes have been unsigned.
func (m *Member) signHeads(r *running) {
	if m.config.AuditKey == nil {
		return
	}
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
			head := r.headOf(id)
			due, _ := schedules[id].Due(r.signed(id), head.Revision, time.Now())
			if due && r.service.leader() == m.identity.Member {
				m.signHead(r, head)
			}
		}
	}
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
