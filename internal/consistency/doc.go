// Package consistency judges whether what clients saw can be true.
//
// A [History] records what clients asked and heard, and when: operations,
// subscriptions, reads of a cache, and for how long nodes thought themselves
// alive. When the run is over and the members agree, their history of changes is
// the [Truth]. [Check] compares the two and returns what contradicts a promise
// of the service: linearizability, the order of revisions in real time, exactly
// once, reads that equal the log at their position, rejections that were true,
// the guarantees of subscriptions, consumers that lose nothing and whose position
// is never ahead of them, caches that never go back, and leases that end at the node
// before they end at the service.
//
// The rules by which commands are judged (files rules*.go) are written a second
// time here, from the contract and not from package commands: a mistake there is
// found only by somebody who does not share it.
//
// Recording is safe for concurrent use. Checking belongs to one goroutine and
// happens when recording is over. All times are durations since the run began, on
// one clock; the package reads none, and the same history gives the same
// violations in the same order. It keeps everything it is given in memory, and
// refuses to guess: what nobody can know counts as consistent.
package consistency
