// Package client is the Go client of the HeliosDB Metadata Service.
//
// A Client has the methods of the service's contract, each with what a caller would
// otherwise write around them: several endpoints, a deadline, retries that are
// safe because every write carries a request id, and errors that can be asked
// for their reason. An endpoint that is silent, of another cluster, too old for a call, or
// that refuses the client is left for others. Reads of the past, which may take a member
// long, are waited for as long as it answers anything else (Options.HistoryTimeout).
//
// A client remembers the highest position that it has seen (Client.Position): in answers, in
// what its caches show and in what its Watches yield. Reads are
// LINEARIZABLE unless they, or Options.Consistency, ask for less; AT_LEAST without a position
// is at least what the client has seen, its own writes included.
//
// Streams, and the calls that many goroutines make at the same moment, share one gRPC
// connection to each member. Where a member or a proxy does not carry that, or more than
// 1,024 calls are under way, calls are made one by one over HTTP/1.1, or as gRPC through a gateway
// that carries HTTP/2 only; streams need gRPC. Options.Token is for a proxy that wants one.
//
// Watch is Subscribe that resumes by itself: whatever breaks, every change
// arrives once and in order, or a Reset frame says that it cannot.
//
// Consume hands a named consumer its changes, in order and at least once, and has the
// service keep how far it is; ConsumeFrom does so for a consumer that keeps that itself.
//
// A Cache holds tables and topology and is kept fresh by one Watch, folded with
// the members' own fold. Its reads take no locks and no network; they never go back
// in time and never show what is not committed. With CacheOptions.MaxStaleness they are
// never older than that, however slow or cut off a member is. Cache.GetTable and its like
// show besides what this client has written, and ask the service where the cache cannot
// answer; many who ask for the same at one moment ask once. Cache.Route maps a key to its shard
// and nodes; Cache.View is all of it at one position. Whatever breaks a cache, it loads again by itself.
//
// A Session is a node's membership: JoinAsNode registers the node, keeps its lease
// and tells the node in time when it has lost it. One that has joined goes on until it is
// closed.
//
// All methods are safe for concurrent use. The client refuses to guess: when it
// cannot learn whether a write took effect before the deadline, the error says so
// (IsOutcomeUnknown), and Repeat gives the options to make it again with.
package client
