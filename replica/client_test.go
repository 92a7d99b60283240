package replica

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// client creates and drops one table of its own, over and over, as a careful client
// would: one request id for all attempts of one command, any member, until the
// outcome is known. Nobody else touches the table, so it knows what each answer has
// to be.
type client struct {
	c       *cluster
	id      int
	exists  bool // the table, as far as acknowledged
	request int
	cmd     proto.Message // under way; nil: idle
	create  bool
	retries int
	flying  *outcome
	since   int // steps
	reading *readOutcome
	known   uint64            // highest revision acknowledged to this client
	acked   map[string]uint64 // request id to revision
	probes  int               // duplicates that were rejected rightly
	probe   *outcome
}

func (k *client) table() string { return fmt.Sprintf("t%d", k.id) }

// step does the next thing, on a member that is up.
func (k *client) step(n *node) {
	k.since++
	k.readStep(n)
	k.probeStep(n)
	switch {
	case k.cmd == nil:
		k.request++
		k.create, k.retries = !k.exists, 0
		id := fmt.Sprintf("c%d-%d", k.id, k.request)
		if k.create {
			k.cmd = createTable(k.table(), id)
		} else {
			k.cmd = dropTable(k.table(), id)
		}
		k.send(n)
	case k.flying.done:
		k.take(n)
	case k.since > 300: // its member crashed, or is cut off
		k.send(n)
	}
}

func (k *client) send(n *node) {
	k.since = 0
	k.retries++
	k.flying = n.submit(k.cmd)
}

func (k *client) take(n *node) {
	a := k.flying.answer
	if a.Err != nil {
		switch f := failure.As(a.Err); f.Reason {
		case noLeader, outcomeUnknown, limitReached:
			k.send(n)
		default:
			k.c.t.Fatalf("client %d, attempt %d: %v", k.id, k.retries, a.Err)
		}
		return
	}
	var result *metadatav1.WriteResult
	var id string
	switch r := a.Reply.(type) {
	case *metadatav1.CreateTableResponse:
		result, id = r.GetResult(), k.cmd.(*metadatav1.CreateTableRequest).GetWrite().GetRequestId()
	case *metadatav1.DropTableResponse:
		result, id = r.GetResult(), k.cmd.(*metadatav1.DropTableRequest).GetWrite().GetRequestId()
	}
	if !result.GetChanged() {
		k.c.t.Fatalf("client %d: %s changed nothing", k.id, id)
	}
	k.acked[id] = result.GetPosition().GetSchemaRevision()
	k.known = max(k.known, k.acked[id])
	k.exists = k.create
	k.cmd = nil
}

// readStep checks that a linearizable read on any member sees every write that was
// acknowledged before it began.
func (k *client) readStep(n *node) {
	if k.reading != nil && !k.reading.done {
		if k.c.rng.IntN(200) == 0 {
			k.reading = nil // gave up
		}
		return
	}
	k.reading = nil
	if k.cmd != nil || k.c.rng.IntN(2) == 0 {
		return
	}
	exists, known := k.exists, k.known
	var o *readOutcome
	o = n.read(Read[model]{})
	k.reading = o
	if o.done {
		k.checkRead(o, exists, known)
		return
	}
	// The answer may come while the next write of this client is under way, which may
	// or may not be seen. So only the revision is checked then.
	k.c.pendingReads = append(k.c.pendingReads, pendingRead{o, known})
}

type pendingRead struct {
	o     *readOutcome
	known uint64
}

func (k *client) checkRead(o *readOutcome, exists bool, known uint64) {
	if o.answer.Err != nil {
		return
	}
	if have := o.answer.State.Head.Revision; have < known {
		k.c.t.Fatalf("client %d: a read saw revision %d, %d was acknowledged", k.id, have, known)
	}
	if _, have := o.answer.State.Model.TableByName("public", k.table()); have != exists {
		k.c.t.Fatalf("client %d: a read says that the table exists: %t; acknowledged is %t", k.id, have, exists)
	}
}

// probeStep sends a command that has to be rejected: it drops a table that nobody
// ever made, or makes one that exists all the time while the client is idle.
func (k *client) probeStep(n *node) {
	if k.probe != nil {
		if k.probe.done {
			if err := k.probe.answer.Err; err == nil {
				k.c.t.Fatalf("client %d: dropping a table that never was succeeded", k.id)
			} else if failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND) {
				k.probes++
			}
			k.probe = nil
		} else if k.c.rng.IntN(200) == 0 {
			k.probe = nil
		}
		return
	}
	if k.c.rng.IntN(20) == 0 {
		k.probe = n.submit(dropTable("never", fmt.Sprintf("p%d-%d", k.id, k.c.rng.Uint64())))
	}
}
