package commands

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/invariants"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Env is what a decision takes from outside beside model and command.
type Env struct {
	Now   time.Time // the leader's clock; where it lies before the stream's last change, that change's time counts
	Actor string    // who asks; UTF-8, at most MaxActorBytes
	// RequestID and KnownRevision are those of WriteOptions. Left zero, those in the
	// command count. Without a request id, a retry is a new command.
	RequestID     string
	KnownRevision uint64
	// Newest has the revisions of the schema and the topology that the leader has: a
	// consumer that is created without a position begins behind them. nil: at the
	// beginning. It is not in the command, so that a retry is the same command.
	Newest *metadatav1.Position
}

// Decision is what a command that was not rejected does.
type Decision struct {
	// Change is what to propose; nil if nothing is to be: nothing changes, an
	// earlier attempt took effect, or it is a dry run. It shares with the command what
	// deciding leaves as it was: the command must not be changed any more.
	Change *events.Change
	// Reply is the rpc's response; for ExpireNodeLease, ReviveNode, SignHead and
	// TrimHistory, which have none, the bare WriteResult. Its position names only the
	// stream decided on, and no revision of the service stream, which is no part of
	// positions; a RegisterNodeResponse lacks the lease's times. It shares messages
	// with the change.
	Reply proto.Message
	// Model is set with Change where deciding needed the model after it, as that of a
	// batch does: a draft of the stream's model, [projections.ModelDraft], that has the
	// change's events. Whoever folds the change onto the state it was decided on can
	// take the draft instead of applying the events again, and nobody else may use it.
	Model any
	// Deduplicated says that an earlier attempt with this request id took effect
	// and Reply is its answer.
	Deduplicated bool
}

// Schema decides a command of the schema stream. Errors are *failure.Error.
func Schema(s *projections.Schema, env Env, cmd proto.Message) (Decision, error) {
	c := call{stream: metadatav1.Stream_STREAM_SCHEMA, head: s.Head, env: env, cmd: cmd}
	var draft *schema.Draft
	d, err := c.decide(s.Requests, func(r recorder) (recorder, proto.Message, error) {
		_, batch := cmd.(*metadatav1.ApplyBatchRequest)
		d := &schemaDraft{recorder: r, Model: s.Model, batch: batch}
		unchanged, err := d.carryOut(cmd)
		draft = d.draft
		return d.recorder, unchanged, err
	})
	if d.Change != nil && draft != nil {
		d.Model = draft
	}
	return d, err
}

// Topology decides a command of the topology stream. Errors are *failure.Error.
func Topology(s *projections.Topology, env Env, cmd proto.Message) (Decision, error) {
	c := call{stream: metadatav1.Stream_STREAM_TOPOLOGY, head: s.Head, env: env, cmd: cmd}
	draft := s.Model.Draft()
	d, err := c.decide(s.Requests, func(r recorder) (recorder, proto.Message, error) {
		d := &topologyDraft{recorder: r, TopologyDraft: draft}
		unchanged, err := d.carryOut(cmd)
		return d.recorder, unchanged, err
	})
	if err == nil {
		describeMap(d.Reply, draft.Model)
		err = checkReplySize(d.Reply)
	}
	if err != nil {
		return Decision{}, err
	}
	if d.Change != nil {
		d.Model = draft
	}
	return d, nil
}

// Service decides a command of the service stream. It knows only that stream: that a
// position lies in the future of the others is for its caller to see before, and so
// is that a floor or a signed head is what it claims to be. Errors are
// *failure.Error.
func Service(s *projections.Service, env Env, cmd proto.Message) (Decision, error) {
	c := call{stream: metadatav1.Stream_STREAM_SERVICE, head: s.Head, env: env, cmd: cmd}
	return c.decide(s.Requests, func(r recorder) (recorder, proto.Message, error) {
		d := &serviceDraft{recorder: r, Model: s.Model, head: s.Head, env: env}
		unchanged, err := d.carryOut(cmd)
		return d.recorder, unchanged, err
	})
}

// call is one decision under way.
type call struct {
	stream metadatav1.Stream
	head   projections.Head
	env    Env
	cmd    proto.Message
}

// decide is what all commands have in common. run carries the command out on a
// draft and returns what it recorded.
func (c *call) decide(requests projections.Requests, run func(recorder) (recorder, proto.Message, error)) (d Decision, err error) {
	defer func() {
		// A command that a leader cannot decide must not take down one leader after the
		// other. Nothing has been proposed yet, so refusing it is safe.
		if r := recover(); r != nil && !invariants.Enabled {
			d, err = Decision{}, reject(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "deciding %T failed: %v", c.cmd, r)
		} else if r != nil {
			panic(r)
		}
	}()
	hash, err := c.prepare()
	if err != nil {
		return Decision{}, err
	}
	if change, ok := requests.Lookup(c.env.RequestID); ok && c.env.RequestID != "" {
		return c.repeat(change, hash)
	}
	if err := c.checkWindow(requests.Forgotten()); err != nil {
		return Decision{}, err
	}
	r, unchanged, err := run(newRecorder(c.head, c.env.Now))
	if err != nil {
		return Decision{}, err
	}
	return c.conclude(r, unchanged, hash)
}

// prepare checks what every command has, and returns its hash.
func (c *call) prepare() ([]byte, error) {
	stream, err := StreamOf(c.cmd)
	if err != nil {
		return nil, err
	}
	if stream != c.stream {
		return nil, reject(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "%T belongs to %v, not to %v", c.cmd, stream, c.stream)
	}
	options := WriteOptionsOf(c.cmd)
	if c.env.RequestID == "" {
		c.env.RequestID = options.GetRequestId()
	}
	if c.env.KnownRevision == 0 {
		c.env.KnownRevision = options.GetKnownRevision()
	}
	if len(c.env.RequestID) > MaxRequestIDBytes || !utf8.ValidString(c.env.RequestID) {
		return nil, invalid("write.request_id", "%.20q... has %d bytes; at most %d bytes of UTF-8 are allowed",
			c.env.RequestID, len(c.env.RequestID), MaxRequestIDBytes)
	}
	if len(c.env.Actor) > MaxActorBytes || !utf8.ValidString(c.env.Actor) {
		return nil, invalid("", "the actor %.20q... has %d bytes; at most %d bytes of UTF-8 are allowed",
			c.env.Actor, len(c.env.Actor), MaxActorBytes)
	}
	return hashCommand(c.cmd)
}

// checkWindow refuses a retry that comes so late that its first attempt may have
// been forgotten, and a known revision that would keep that from being seen.
func (c *call) checkWindow(forgotten uint64) error {
	known := c.env.KnownRevision
	if known > c.head.Revision {
		return reject(metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION,
			"known_revision %d is ahead of %s, which is at revision %d; send the revision of this stream that was known at the first attempt, or 0",
			known, events.StreamName(c.stream), c.head.Revision)
	}
	if c.env.RequestID == "" || known == 0 || forgotten <= known {
		return nil
	}
	return reject(metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE,
		"request %q was first sent at revision %d, and request ids up to revision %d are forgotten: whether it took effect cannot be known from it; look at the object",
		c.env.RequestID, known, forgotten).
		With("request_id", c.env.RequestID).With("forgotten_revision", strconv.FormatUint(forgotten, 10))
}

// repeat answers a request id that took effect before.
func (c *call) repeat(change *events.Change, hash []byte) (Decision, error) {
	if !bytes.Equal(change.CommandHash(), hash) {
		return Decision{}, reject(metadatav1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED,
			"request id %q was used for another command at revision %d; choose a new id", c.env.RequestID, change.Revision()).
			With("request_id", c.env.RequestID)
	}
	result := c.result(change.Revision())
	result.Changed, result.Deduplicated = true, true
	return Decision{Reply: answer(c.cmd, change.Events(), nil, result), Deduplicated: true}, nil
}

// conclude makes the change of what was recorded, and the answer.
func (c *call) conclude(r recorder, unchanged proto.Message, hash []byte) (Decision, error) {
	if len(r.events) == 0 {
		return Decision{Reply: answer(c.cmd, nil, unchanged, c.result(c.head.Revision))}, nil
	}
	change := events.Seal(events.Header{
		Revision:    r.revision,
		Time:        r.at,
		Actor:       c.env.Actor,
		RequestID:   c.env.RequestID,
		CommandHash: hash,
	}, r.events)
	if err := r.checkChangeSize(); err != nil {
		return Decision{}, err
	}
	if !WriteOptionsOf(c.cmd).GetDryRun() {
		result := c.result(r.revision)
		result.Changed = true
		return Decision{Change: change, Reply: answer(c.cmd, r.events, nil, result)}, nil
	}
	result := c.result(c.head.Revision)
	result.Changed = true
	for _, e := range r.events {
		result.Events = append(result.Events, e.Message())
	}
	reply := answer(c.cmd, r.events, nil, result)
	return Decision{Reply: reply}, checkReplySize(reply)
}

// result returns a WriteResult with the position that this stream knows of.
func (c *call) result(revision uint64) *metadatav1.WriteResult {
	both := new(struct { // one allocation instead of two
		result   metadatav1.WriteResult
		position metadatav1.Position
	})
	p := &both.position
	p.ClusterId, p.RecoveryEpoch = c.head.Cluster.String(), c.head.RecoveryEpoch
	both.result.Position = p
	switch c.stream {
	case metadatav1.Stream_STREAM_SCHEMA:
		p.SchemaRevision = revision
	case metadatav1.Stream_STREAM_TOPOLOGY:
		p.TopologyRevision = revision
	}
	return &both.result
}

// Reply returns the answer to a command from the change that it made. A fresh
// command and its retry are both answered by this one function. The result's
// position is left to the caller.
//
// What an answer tells of the rest of the map, the holes after an UpdateShardMap
// and the shards on a drained node, is not part of the change: [Topology] adds it
// from the model of the moment, also to the answer of a retry.
func Reply(change *events.Change, cmd proto.Message) proto.Message {
	return answer(cmd, change.Events(), nil, &metadatav1.WriteResult{Changed: true})
}

// checkReplySize keeps answers small enough to be sent. Only dry runs, which say
// everything twice, get there.
func checkReplySize(reply proto.Message) error {
	if size := proto.Size(reply); size > MaxReplyBytes {
		return limit("MaxReplyBytes", "the answer would have %d bytes; at most %d are allowed: split the command", size, MaxReplyBytes)
	}
	return nil
}

// hashCommand returns the SHA-256 of a command's name, a zero and its canonical
// encoding without its write options.
func hashCommand(cmd proto.Message) (hash []byte, err error) {
	descriptor := cmd.ProtoReflect().Descriptor()
	var options protowire.Number
	if f := descriptor.Fields().ByName("write"); f != nil {
		options = f.Number()
	}
	canonical.With(cmd, func(encoded []byte, failed error) {
		if failed != nil {
			err = &failure.Error{
				Reason:  metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD,
				Message: fmt.Sprintf("the command cannot be encoded: %v", failed),
			}
			return
		}
		h := sha256.New()
		h.Write([]byte(descriptor.FullName()))
		h.Write([]byte{0})
		h.Write(without(options, encoded))
		hash = h.Sum(nil)
	})
	return hash, err
}

// without takes a field out of an encoded message, in place.
func without(field protowire.Number, encoded []byte) []byte {
	kept := 0
	for rest := encoded; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		n += max(0, protowire.ConsumeFieldValue(num, typ, rest[n:]))
		if num != field {
			kept += copy(encoded[kept:], rest[:n])
		}
		rest = rest[n:]
	}
	return encoded[:kept]
}
