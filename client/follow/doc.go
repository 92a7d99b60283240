// Package follow holds the step machines behind Client.Watch and Cache: what a
// subscriber has seen and how it goes on after a break ([Resumption]), and the
// models that its frames amount to ([Mirror]), how old those can be ([Freshness]), and what
// a client has seen and wants to see again ([Seen]). They see no clock, no network and no
// goroutine: frames, answers and errors come in, requests and models come out, so that the
// client and a simulation run the very same code.
//
// A machine belongs to one goroutine, but for Seen. The models and positions that a Mirror
// gives out are immutable and may be read by all.
//
// Nothing here trusts the service: whatever frames come, no machine panics, a
// Resumption hands on no change twice and none out of order, and what a Mirror
// shows never goes back.
package follow
