package simulation

import (
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// serve carries out a client's call, as packages server and member do, but for what
// they do for a client that does not try again: a call that finds no leader fails at
// once. until is when the caller gives up.
func (m *member) serve(request proto.Message, actor string, until time.Duration, done func(proto.Message, error)) {
	if m.run == nil {
		f := failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "member %d has not started yet", m.id)
		f.RetryAfter = genesisRetry
		done(nil, f)
		return
	}
	if stream, err := commands.StreamOf(request); err == nil {
		m.write(stream, request, actor, until, done)
		return
	}
	if beat, ok := request.(*metadatav1.HeartbeatRequest); ok {
		m.heartbeat(beat, done)
		return
	}
	m.read(request, done)
}

// withResult is the response of any writing rpc.
type withResult interface {
	GetResult() *metadatav1.WriteResult
}

// write carries out a command here, if this member leads its stream or knows no
// leader, else on the leader, one hop away.
func (m *member) write(stream metadatav1.Stream, command proto.Message, actor string, until time.Duration, done func(proto.Message, error)) {
	env := m.envOf(command, actor)
	leader := m.run.of(stream).softState().Leader
	if leader == 0 || leader == m.id {
		m.writeHere(stream, command, env, m.completed(command, done))
		return
	}
	m.w.counts.add("forwarded", 1)
	m.callPeer(leader, max(until-m.w.now, 0), func(peer *member, answer func(any, error)) {
		if peer.run == nil {
			answer(nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "member %d has not started yet", peer.id))
			return
		}
		forwarded := peer.envOf(command, actor)
		forwarded.RequestID = env.RequestID
		peer.writeHere(stream, proto.Clone(command), forwarded, func(reply proto.Message, err error) {
			if reply != nil {
				reply = proto.Clone(reply)
			}
			answer(reply, err)
		})
	}, func(reply any, err error) {
		response, _ := reply.(proto.Message)
		if err != nil {
			response, err = nil, callFailed(err, leader, env.RequestID)
		}
		m.completed(command, done)(response, err)
	})
}

// completed adds to a reply what only the server knows.
func (m *member) completed(command proto.Message, done func(proto.Message, error)) func(proto.Message, error) {
	return func(reply proto.Message, err error) {
		if answer, ok := reply.(*metadatav1.RegisterNodeResponse); ok && err == nil {
			o := m.w.plan.leases
			answer = proto.CloneOf(answer)
			answer.LeaseDuration, answer.HeartbeatInterval = durationpb.New(o.Lease), durationpb.New(o.Interval)
			reply = answer
		}
		done(reply, err)
	}
}

// writeHere decides a command on this member and completes the reply's position.
func (m *member) writeHere(stream metadatav1.Stream, command proto.Message, env commands.Env, done func(proto.Message, error)) {
	run := m.run
	run.of(stream).submit(replica.Request{Command: command, Env: env, Done: func(a replica.Answer) {
		if answer, ok := a.Reply.(withResult); ok && a.Err == nil && stream != metadatav1.Stream_STREAM_SERVICE {
			position := run.position()
			setRevision(position, stream, revisionOf(answer.GetResult().GetPosition(), stream))
			answer.GetResult().Position = position
		}
		if answer, ok := a.Reply.(withResult); ok && a.Err == nil && answer.GetResult().GetChanged() && !answer.GetResult().GetDeduplicated() {
			m.w.counts.add("changes acknowledged", 1)
		}
		done(a.Reply, a.Err)
	}})
}

// envOf is what a decision may know beside the model and the command.
func (m *member) envOf(command proto.Message, actor string) commands.Env {
	options := commands.WriteOptionsOf(command)
	id := options.GetRequestId()
	if id == "" {
		id = m.w.newID()
	}
	env := commands.Env{Now: m.wall(), Actor: actor, RequestID: id, KnownRevision: options.GetKnownRevision()}
	if _, creates := command.(*metadatav1.CreateConsumerRequest); creates {
		env.Newest = m.run.position()
	}
	return env
}

// callPeer calls another member. done runs in this process, if it still lives.
func (m *member) callPeer(to uint64, timeout time.Duration, handle func(peer *member, answer func(any, error)), done func(any, error)) {
	life := m.life
	m.w.rpc(end(m.id), to, true, timeout, handle, func(reply any, err error) {
		if m.life == life {
			m.hear(func() { done(reply, err) })
		}
	})
}

// position returns what has been applied by now.
func (r *running) position() *metadatav1.Position {
	head := r.schema.head()
	return &metadatav1.Position{
		ClusterId: head.Cluster.String(), RecoveryEpoch: head.RecoveryEpoch,
		SchemaRevision: head.Revision, TopologyRevision: r.topology.head().Revision,
	}
}

func setRevision(p *metadatav1.Position, s metadatav1.Stream, revision uint64) {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		p.SchemaRevision = revision
	case metadatav1.Stream_STREAM_TOPOLOGY:
		p.TopologyRevision = revision
	}
}

func revisionOf(p *metadatav1.Position, s metadatav1.Stream) uint64 {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		return p.GetSchemaRevision()
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return p.GetTopologyRevision()
	}
	return 0
}

func tooMany(s metadatav1.Stream) error {
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED, "%d calls already wait for the %s stream on this member", maxInbox, events.StreamName(s))
	f.RetryAfter = retryAfter
	return f
}

var errNoRead = errors.New("simulated: not a request that a member answers")
