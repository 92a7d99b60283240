// Package backfill fills in what a member's history of a stream lacks: what came before a
// checkpoint that the member was given, and what its disk has damaged. Other members have it.
//
// A [Fill] is a step machine that decides what to look for, whom to ask, what to believe
// and when to rest. It goes from the newest missing revision to the oldest, so that what a
// crash leaves has no new hole. It believes a part only if that leads to what the member
// itself knows: the entry behind the gap names the digest of the stream before it, and so
// does the checkpoint at whose revision the gap ends; the changes of each record have to
// lead from the digest that it names to exactly that one. Nobody is trusted, and nothing
// has to be asked for twice.
//
// One goroutine owns a Fill. The package starts nothing, reads no clock and waits for
// nobody: members and simulations drive it. It asks for nothing below the history's
// floor, holds one part at a time, and leaves history that is there, and can be read, as it is.
package backfill
