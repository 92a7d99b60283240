// Package simulation runs whole clusters in one goroutine: members over the same step
// functions as the binary (replica, feed, leases, checkpoint transfer), on a virtual
// clock, a seeded network and a seeded disk, with faults of all kinds mixed at random
// and clients whose histories are judged.
//
// One run is made by one seed. Everything that happens is an event in a queue ordered
// by virtual time and then by the order of insertion; every random choice comes from
// the seed, also those that raft makes, which reads crypto/rand.Reader: a run replaces
// that variable of the process, so one process runs one simulation at a time. The same
// seed and the same build give the same trace, byte for byte.
//
// After every event the world is looked at (see judge): one leader a term, one chain of
// digests, nothing applied that a majority does not hold, leases kept, queues bounded,
// signed heads genuine. At any moment somebody reads the past on any member, and hears
// what the judge's own fold says, or that the member lacks it where it does.
// At the end faults stop and everything has to come to rest, with equal models and all of
// the history above its floor on all members, clients that all got their answers and consumers that have nothing left to
// acknowledge; now and then histories have to be trimmed then on a disk that is full. Then the clients' histories are checked. What is wrong is a Violation, with
// the trace that led to it.
//
// Who adds to it: a fault is a row in faultKinds (faults.go); clients are a workload
// (workload.go), which acts by world.call, world.subscribe and world.after.
//
// The package refuses to read the machine's clock, to start goroutines and to iterate
// over maps where the order shows. (A fold of the past has a goroutine of its own, for
// which everything else waits.)
package simulation
