// Package server is the edge of a member: it speaks Connect, gRPC, gRPC-Web and
// JSON on one port, checks what arrives, hands it to a Member, and turns what
// comes back, failures included, into answers.
//
// Everything that is specific to the wire lives here: the one table from
// failures to status codes and details, limits of size, rate and number, pages
// and their tokens, conditional GETs, health, reflection and metrics. Decisions,
// agreement and models are the Member's.
//
// All exported methods may be called from any goroutine. Calls are independent:
// the server promises no order between them. The answers of one heartbeat
// stream come in the order of its beats, the frames of one subscription in the
// order in which the Member sends them.
//
// The package refuses: messages over ReadMaxBytes, requests that break a rule of
// the contract, more calls at once than its limits name, and every new call
// once it drains. It never waits for a slow client but in that client's own
// call, and never answers with a message over SendMaxBytes.
//
// Reads of the past come from the member's disk and may take long: they have places of
// their own (Limits.HistoryReads, HistoryStreams, Verifications), so that they keep no other
// call waiting. All pages of an answer are of one revision; what a member lacks or the cluster
// does not keep any more is a failure that says so, never left out.
//
// gRPC clients are served by grpc-go on connections of their own (package preface
// finds them), all others by Connect; both go through the same gate, checks,
// handlers, metrics and errors.
//
// Failures carry an ErrorInfo with a reason of the contract. The exceptions are
// what the libraries say by themselves before a call has begun. grpc-go: a message over
// twice ReadMaxBytes (RESOURCE_EXHAUSTED), an unknown rpc or compression
// (UNIMPLEMENTED), a request that ends inside a message (INTERNAL). Connect: the plain HTTP statuses
// (404, 405, 415, 505), a compression that it does not know (UNIMPLEMENTED), and
// headers or query parameters of its protocol that it cannot read (INVALID_ARGUMENT).
package server
