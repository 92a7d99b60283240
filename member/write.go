package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog/transport"
	"github.com/heliosdb/metadata/replica"
)

// Write carries out a command: here if this member leads the command's stream,
// else on the leader, one hop away. While there is no leader it waits a little.
// All attempts have one request id, so the command takes effect once at most. The
// command belongs to the member from now on.
func (m *Member) Write(ctx context.Context, command proto.Message, actor string) (proto.Message, error) {
	id, err := commands.StreamOf(command)
	if err != nil {
		return nil, err
	}
	q := replica.Request{Command: command, Env: m.envOf(command, actor)}
	deadline := time.Now().Add(submitPatience)
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	s, known := r.of(id), r.revision(id)
	unknown := false // an attempt may take or have taken effect
	for {
		moved := s.nextElection()
		reply, err := m.attempt(ctx, r, s, q)
		if err == nil {
			return reply, nil
		}
		if r.ctx.Err() != nil && failure.As(err) != nil && attemptAgain(failure.As(err).Reason) {
			unknown = unknown || failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
			return nil, finalError(m.notRunning(), unknown, q) // it forwards nothing any more
		}
		f := failure.As(err)
		if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN) {
			unknown = true
			q = retryKnowing(q, known)
		}
		if f == nil || !attemptAgain(f.Reason) || !waitFor(ctx, moved, f.RetryAfter, deadline) {
			return nil, finalError(err, unknown, q)
		}
	}
}

// retryKnowing is the request for a further attempt after one whose outcome is
// unknown. It says which revision was known before the first one: if its id has been
// forgotten by then, it is refused instead of carried out a second time. A first
// attempt does not say it, because a member that lags would have it refused.
func retryKnowing(q replica.Request, known uint64) replica.Request {
	if q.Env.KnownRevision != 0 || known == 0 {
		return q
	}
	command := proto.CloneOf(q.Command) // the first attempt may still read it
	m := command.ProtoReflect()
	if field := m.Descriptor().Fields().ByName("write"); field != nil {
		options, _ := m.Mutable(field).Message().Interface().(*metadatav1.WriteOptions)
		options.KnownRevision = known
	}
	q.Command, q.Env.KnownRevision = command, known
	return q
}

// attemptAgain reports whether another attempt with the same request id, on
// whoever leads then, may do better.
func attemptAgain(reason metadatav1.ErrorReason) bool {
	switch reason {
	case metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
		metadatav1.ErrorReason_ERROR_REASON_STOPPING,
		metadatav1.ErrorReason_ERROR_REASON_QUARANTINED,
		metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:
		return true
	}
	return false
}

// finalError is what the caller hears. Once an attempt's outcome was unknown, a later one
// that was refused does not make it known: the first may still be on its way, in a leader
// that is paused or behind a link that is cut, and take effect later. Nobody remembers
// refusals by their request id.
func finalError(err error, unknown bool, q replica.Request) error {
	if !unknown || commands.WriteOptionsOf(q.Command).GetDryRun() {
		return err
	}
	if f := failure.As(err); f != nil {
		switch f.Reason {
		case metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
			metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE,
			metadatav1.ErrorReason_ERROR_REASON_CANCELED:
			return err // it says so itself
		}
	}
	final := *failure.As(outcomeUnknown(q.Env.RequestID))
	final.Message += fmt.Sprintf("; a further attempt ended with: %v", err)
	return &final
}

// attempt makes one attempt, here or on the leader.
func (m *Member) attempt(ctx context.Context, r *running, s streamer, q replica.Request) (proto.Message, error) {
	leader := s.leader()
	if leader == 0 || leader == m.identity.Member {
		return m.writeHere(ctx, r, s, q)
	}
	leading, cancel := whileLeading(ctx, s, leader)
	defer cancel()
	reply, err := m.forward(leading, leader, s.streamID(), q)
	if leading.Err() != nil && ctx.Err() == nil && failure.As(err) != nil && failure.As(err).Kind() == failure.Canceled {
		err = outcomeUnknown(q.Env.RequestID) // it was us who gave up
	}
	return reply, err
}

// whileLeading returns a context that also ends when a member is known not to lead a
// stream any more because another one does.
func whileLeading(ctx context.Context, s streamer, leader uint64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			moved := s.nextElection()
			if now := s.leader(); now != leader && now != 0 {
				cancel()
				return
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// withResult is the response of any writing rpc.
type withResult interface {
	GetResult() *metadatav1.WriteResult
}

// writeHere decides a command on this member and completes the reply.
func (m *Member) writeHere(ctx context.Context, r *running, s streamer, q replica.Request) (proto.Message, error) {
	if s.streamID() == metadatav1.Stream_STREAM_SERVICE {
		if err := m.refuseAhead(ctx, r, q.Command); err != nil {
			return nil, err
		}
		q.Env.Newest = r.position()
	}
	reply, err := s.submit(ctx, q)
	if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE) {
		f := *failure.As(err)
		f.RetryAfter, _ = m.Leases() // by then the lease has run out, if the other is gone
		return nil, &f
	}
	if err != nil {
		return nil, err
	}
	if answer, ok := reply.(withResult); ok {
		// The decision knows its own stream's revision: for a retry, that of the
		// first attempt.
		r.completePosition(answer.GetResult().GetPosition(), s.streamID())
	}
	return reply, nil
}

// forward sends a command to the leader.
func (m *Member) forward(ctx context.Context, leader uint64, id metadatav1.Stream, q replica.Request) (proto.Message, error) {
	name := q.Command.ProtoReflect().Descriptor().FullName()
	encoded, err := canonical.Marshal(q.Command)
	if err != nil {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "encoding %s: %v", name, err)
	}
	payload, err := proto.Marshal(&metadatav1.ForwardedCommand{
		Stream: id, Type: string(name), Command: encoded, Actor: q.Env.Actor, RequestId: q.Env.RequestID,
	})
	if err != nil {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "encoding %s: %v", name, err)
	}
	answer, err := m.transport.Call(ctx, leader, methodCommand, payload)
	if err != nil {
		return nil, m.callFailed(ctx, leader, err, q.Env.RequestID)
	}
	reply, err := newMessage(responseOf(name))
	if err == nil {
		err = proto.Unmarshal(answer, reply)
	}
	if err != nil {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "member %d answered %s with bytes that are not its response: %v", leader, name, err)
	}
	return reply, nil
}

// serveForwarded carries out a command that another member received. It does not
// forward: two members that take each other for the leader would do so for ever.
func (m *Member) serveForwarded(ctx context.Context, r *running, payload []byte) ([]byte, error) {
	var forwarded metadatav1.ForwardedCommand
	if err := proto.Unmarshal(payload, &forwarded); err != nil {
		return nil, err
	}
	command, err := newMessage(protoreflect.FullName(forwarded.GetType()))
	if err != nil {
		return nil, err
	}
	if err := canonical.Unmarshal(forwarded.GetCommand(), command); err != nil {
		return nil, err
	}
	id, err := commands.StreamOf(command)
	if err != nil {
		return nil, err
	}
	switch command.(type) {
	case *metadatav1.ExpireNodeLease, *metadatav1.ReviveNode:
		// They rest on what the leader of a term has seen of the leases, and nobody else.
		return nil, fmt.Errorf("%T is decided by the leader that submits it, never forwarded", command)
	case *metadatav1.SignHead, *metadatav1.TrimHistory:
		// They are what a leader says of the streams as it has them.
		return nil, fmt.Errorf("%T is submitted by the leader of the service stream, never forwarded", command)
	}
	env := m.envOf(command, forwarded.GetActor())
	env.RequestID = forwarded.GetRequestId()
	q := replica.Request{Command: command, Env: env}
	reply, err := m.writeHere(ctx, r, r.of(id), q)
	if err != nil {
		return nil, err
	}
	return canonical.Marshal(reply)
}

// envOf is what a decision may know beside the model and the command. A command
// without a request id gets one, so that attempts of ours are one write.
func (m *Member) envOf(command proto.Message, actor string) commands.Env {
	options := commands.WriteOptionsOf(command)
	id := options.GetRequestId()
	if id == "" {
		id = uuid.Must(uuid.NewV7()).String()
	}
	return commands.Env{Now: m.config.Now(), Actor: actor, RequestID: id, KnownRevision: options.GetKnownRevision()}
}

// callFailed turns the transport's error into a failure. Only a call that was not
// sent is known to have had no effect.
func (m *Member) callFailed(ctx context.Context, to uint64, err error, requestID string) error {
	if e, ok := errors.AsType[*transport.RemoteError](err); ok {
		if f := fromRemote(e); f != nil {
			return f
		}
		switch e.Code {
		case transport.CodeBusy:
			f := failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED,
				"member %d already serves transport.MaxServing (%d) calls of this member; try again later", to, transport.MaxServing)
			f.RetryAfter = retryAfter
			return f.With("limit", "transport.MaxServing")
		case transport.CodeCancelled, transport.CodeDeadline:
			return outcomeUnknown(requestID)
		}
		return failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "member %d: %s", to, e.Reason)
	}
	if _, sent := errors.AsType[*transport.LostError](err); sent {
		if ctx.Err() != nil {
			return gaveUp(ctx, requestID)
		}
		return outcomeUnknown(requestID)
	}
	if ctx.Err() != nil {
		return gaveUp(ctx, requestID)
	}
	f := failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "the leader, member %d, cannot be reached: %v", to, err)
	f.RetryAfter = retryAfter
	return f
}

// waitFor waits until a channel is closed or some time is over; false if the
// context ends first, or the deadline comes.
func waitFor(ctx context.Context, moved <-chan struct{}, atMost time.Duration, deadline time.Time) bool {
	timer := time.NewTimer(min(max(atMost, retryAfter), time.Until(deadline)))
	defer timer.Stop()
	select {
	case <-moved:
	case <-timer.C:
	case <-ctx.Done():
	}
	// Also if several happened: a caller that has left may be at another member.
	return ctx.Err() == nil && time.Now().Before(deadline)
}

// responseOf names the response of a request message.
func responseOf(request protoreflect.FullName) protoreflect.FullName {
	const suffix = "Request"
	return request[:len(request)-len(suffix)] + "Response"
}

// newMessage returns an empty message of the contract.
func newMessage(name protoreflect.FullName) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "unknown message %q; another member may run a newer version", name)
	}
	return t.New().Interface(), nil
}
