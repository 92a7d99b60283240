// Package raftlog is the agreed order of opaque bytes: it runs one etcd/raft
// group per stream, says what has to be stored and sent, and hands back what
// the members have agreed on. It knows no event, no model and no command.
//
// A Group is a step machine. One goroutine owns it; it starts no goroutine,
// takes no lock, reads no clock and touches no file or socket. Inputs are method
// calls (ticks, messages, proposals, finished writes), outputs are the values
// Ready returns: messages for the network, a Write for the Storage, committed
// entries for the caller.
//
// What the caller promises:
//   - Writes of one group reach Storage.Write in the order Ready returned them,
//     and Appended is called for each, in that order, only after it was stored.
//   - Committed entries are folded in order and reported with Applied.
//   - Messages may be lost, repeated and reordered at will.
//
// Storage is the one interface between the log and a disk; its contract is the
// suite in raftlog/storagetest. Durability is asked for by Write.Sync alone: what
// an unsynced Write carries (a commit index, history records, log cuts) may be
// lost with the power, in reverse order, and never in the middle.
//
// What the package refuses to do: proposals and local messages from the wire,
// messages that fail Check, installing a snapshot whose checkpoint is not staged,
// starting from a log that is damaged or shorter than its floor says.
package raftlog
