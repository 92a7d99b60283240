// Package session is a node's membership as a step machine: it registers the node,
// beats, keeps the time until which the node may serve, and leaves. It sees no
// clock, no network and no goroutine: readings of a clock and answers come in,
// requests and a [State] come out, so that the client and a simulation run the very
// same code.
//
// # The promise
//
// While a [Machine] is Joined, the service has not taken the node offline and lets no
// other incarnation of it register, even if answers are lost, late or doubled, the
// node was paused, or leaders change. It rests on counting: the service keeps a lease
// for as long as it says from the moment at which it heard the beat, the node from the
// moment at which it sent it, and only four fifths of that. So clocks may differ in
// rate by a fifth, and not at all in what they show. The clock must not stand still
// while the machine sleeps (a virtual machine that is paused with all its clocks
// breaks the promise), and what a caller does under the lease has to end at
// State.Until by that clock.
//
// # How it goes on
//
// A machine that got no grant in time is Fenced. It goes on beating: the service
// brings the node back under the same epoch. Only if the service says that the
// registration is not the present one, or that there is none, does the machine
// register again, under a new epoch. While another incarnation is alive, for example
// the node's own earlier run, it waits until that one's lease has run out. A refusal
// that another attempt cannot change (a bad address) ends one that has never joined; one
// that has tries again, at first soon and then every MaxPause, until it is closed.
//
// A Machine belongs to one goroutine.
package session
