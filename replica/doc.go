// Package replica is one stream on one member: it decides commands, proposes what
// they change, folds what the members have agreed on and publishes the model. It is
// the only place where commands, events, projections and the log meet.
//
// A Replica is a step machine. One goroutine owns it and calls all methods but View
// and the functions named below; no method blocks, starts a goroutine, reads a
// clock or touches a file or socket. The driver's loop is: take one or more inputs,
// then call Ready until it returns false and carry out each Output:
//
//   - Messages go to the transport, at once;
//   - Write goes to the storage, in the order of the Outputs; when it is stored,
//     Wrote is the input that says so;
//   - Checkpoint is a job for another goroutine, which calls WriteCheckpoint and
//     reports by CheckpointWritten;
//   - Fetch asks for a checkpoint of another member: transfer and stage it, read it
//     with ReadCheckpoint on another goroutine, and report by Fetched;
//   - Fatal stops the member.
//
// Done functions run inside Ready, on its goroutine, after everything they tell of
// has been published. They must not block. They may call Submit, Read and the other
// inputs.
//
// What it promises:
//
//   - A change takes effect only in the term and on the state it was decided in;
//     anything else in the log is skipped by all members alike (the fence).
//   - An answer is given when what it was decided on has been committed. An answer
//     without a change of its own also waits for a ReadIndex round that began after
//     the command arrived, so that a deposed leader cannot give it.
//   - Nothing validates a change again once it is in the log. One that cannot be
//     folded stops the member.
//   - View is an immutable model behind an atomic pointer: readers take no lock and
//     keep nobody waiting.
//
// What it refuses: commands on members that do not lead (the driver forwards them),
// commands beyond its limits, and everything once it has failed.
package replica
