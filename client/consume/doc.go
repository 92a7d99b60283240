// Package consume is a consumer of changes as a step machine: what it was sent and has not
// carried out, what it has carried out, and what of that is acknowledged. It sees no clock,
// no network and no goroutine: frames, outcomes and times come in, batches and positions
// come out, so that every moment at which a process can end is tried by a test.
//
// # The promise
//
// A [Machine] hands out the changes of each stream in order, each at least once, however
// often the consumer's process ends and begins again at what is acknowledged. It asks to
// acknowledge a position only when all changes up to it have been carried out. So a
// change that was carried out and not acknowledged comes again; [Delivery.ID] tells.
//
// The next batch is handed out when the one before has been carried out: what arrives
// meanwhile gathers, and when about a batch waits, no further frame is taken. A batch is
// bounded by a number of changes and by bytes, so the memory is too.
//
// A position that does not move is acknowledged again now and then: the answer tells a
// consumer that another process has taken over, in the middle of a batch too.
//
// It refuses frames that leave changes out: a snapshot, a reset, another cluster or
// another recovery epoch. A Machine belongs to one goroutine.
package consume
