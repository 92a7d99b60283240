// Package leases knows who is alive. The member that leads the topology stream
// keeps one Table: it hears the nodes' heartbeats, holds a deadline for each
// node, and says which nodes have to be taken offline, and which have come
// back. Only these transitions go into the log; beats, loads and deadlines are
// soft state that dies with the leadership.
//
// A Table is a step function. It reads no clock: every call that depends on
// time is given now, a reading of one monotonic clock of the caller's, as the
// time since some fixed instant. Readings that run backwards are taken as the
// latest one seen. A Table is safe for concurrent use; all its operations are
// short.
//
// # Promises
//
// A node counts its lease from when it sent a beat, the Table from when the
// beat arrived or later: a node that heard "granted" has fenced itself before
// the Table lets its lease go. The Table alone does not know whether its member
// still leads, so no verdict may be told to a node before a ReadIndex round
// that began after the beat arrived has ended and Check was asked again.
//
//   - Leadership: Lead gives every node that is not offline a full lease, of this
//     Table's own duration. It covers what an earlier leader granted only if that
//     one's Options.Lease was no longer: it has to be the same on all members.
//   - Pauses: the leases' clock moves by at most Options.MaxStep a call, so a
//     service that was stopped or stalled does not count its own silence as the
//     nodes'. Call Tick more often than MaxStep, or leases last longer.
//   - No silent resurrection: once a node was handed out as a transition to
//     offline, no beat renews its lease until the attempt failed for good, or
//     committed and the node was revived by a committed NodeCameOnline.
//   - Epochs: a beat of another registration than the present one renews
//     nothing; its sender is told to register again.
//
// The package refuses to propose, to forward and to answer: it returns values,
// and the caller submits the commands and tells the nodes.
package leases
