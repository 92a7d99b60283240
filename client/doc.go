// Package client is the Go client of the HeliosDB Metadata Service.
//
// A Client has the methods of the service's contract, each with what a caller would
// otherwise write around them: several endpoints, a deadline, retries that are
// safe because every write carries a request id, and errors that can be asked
// for their reason.
//
// Streams, and the calls that many goroutines make at the same moment, share one gRPC
// connection to each member. Where a member or a proxy does not carry that, or more than
// 1,024 calls are under way, calls are made one by one over HTTP/1.1; streams need gRPC.
//
// Watch is Subscribe that resumes by itself: whatever breaks, every change
// arrives once and in order, or a Reset frame says that it cannot.
//
// Consume hands a named consumer its changes, in order and at least once, and has the
// service keep how far it is; ConsumeFrom does so for a consumer that keeps that itself.
//
// A Cache holds tables and topology and is kept fresh by one Watch, folded with
// the members' own fold. Its reads take no locks and no network; they never go back
// in time and never show what is not committed. Cache.Route maps a key to its shard
// and nodes; Cache.View is all of it at one position. A cache that meets what this
// build cannot fold drops everything and says so; Cache.GetTable and its like ask
// the service then.
//
// A Session is a node's membership: JoinAsNode registers the node, keeps its lease
// and tells the node in time when it has lost it.
//
// All methods are safe for concurrent use. The client refuses to guess: when it
// cannot learn whether a write took effect before the deadline, the error says so
// (OutcomeUnknown) and names the request id to try again with.
package client
