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
	reads   int               // that were answered rightly
	probes  int               // commands that were rejected rightly
	probe   *outcome
}

func (k *client) table() string { return fmt.Sprintf("t%d", k.id) }

// step does the next thing, on a member that is up.
func (k *client) step(n *node) {
	k.since++
	k.probeStep(n)
	switch {
	case k.readStep(n): // nothing else meanwhile, so that it knows what has to be read
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

// readStep checks, between two commands, that a linearizable read on any member sees
// what was acknowledged before it began. It reports whether a read is under way.
func (k *client) readStep(n *node) bool {
	switch {
	case k.cmd != nil:
		return false
	case k.reading == nil:
		if k.c.rng.IntN(2) == 0 {
			k.reading = n.read(Read[model]{})
		}
		return k.reading != nil
	case !k.reading.done && k.c.rng.IntN(50) != 0:
		return true
	}
	if a := k.reading.answer; k.reading.done && a.Err == nil {
		if have := a.State.Head.Revision; have < k.known {
			k.c.t.Fatalf("client %d: a read saw revision %d, %d was acknowledged", k.id, have, k.known)
		}
		if _, have := a.State.Model.TableByName("public", k.table()); have != k.exists {
			k.c.t.Fatalf("client %d: a read says that the table exists: %t; acknowledged is %t", k.id, have, k.exists)
		}
		k.reads++
	}
	k.reading = nil // answered, or given up
	return false
}

// probeStep sends a command that has to be rejected: it drops a table that nobody
// ever made.
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
