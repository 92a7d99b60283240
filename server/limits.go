package server

import (
	"time"

	"github.com/heliosdb/metadata/commands"
)

// Limits of the edge. Those of a request's content are rules in the protos and
// in package commands.
const (
	// ReadMaxBytes bounds one received message, compressed or not.
	ReadMaxBytes = 4 << 20
	// nativeReadBytes bounds what grpc-go reads, which refuses more without the
	// contract's details; from ReadMaxBytes on they are given.
	nativeReadBytes = 2 * ReadMaxBytes
	// MessageMaxBytes bounds what the server puts into one message.
	MessageMaxBytes = 3 << 20
	// SendMaxBytes bounds one sent message as encoded: MessageMaxBytes and room
	// for what is around the content. Stock gRPC clients stop at 4 MiB.
	SendMaxBytes = MessageMaxBytes + 256<<10
	// pageBytes bounds the objects of one page in their binary encoding. An object
	// is at most 1 MiB, so that a page that ends behind the bound still fits.
	pageBytes = 1 << 20
	// nativeStreamWindow and nativeConnWindow are how much a gRPC client may send that has
	// not been read yet, in a call and on a connection. They are fixed: finding them out, as
	// grpc-go does otherwise, costs a ping and its answer for nearly every lone call.
	nativeStreamWindow = 1 << 20
	nativeConnWindow   = 2 << 20

	// nativeWorkers is how many goroutines grpc-go keeps for calls; more calls get new
	// ones. A stack that has grown is worth keeping: 8 % of the CPU of reads by stock gRPC
	// clients.
	nativeWorkers = 32
	// compressMinBytes is the size below which answers are sent as they are.
	compressMinBytes = 1 << 10

	// readBytes is how many bytes of changes are read at a time, and how many of them one
	// message of a stream has, if not a single change has more.
	readBytes = 1 << 20
	// baseChunkBytes is how many bytes of a base one message has.
	baseChunkBytes = 1 << 20
	// backwardWindow is how many changes are read at a time where the newest comes first,
	// unless they have more than readBytes.
	backwardWindow = 256
	// maxLookedAt and maxLookedAtBytes bound the changes that one page looks at for those
	// that a filter lets through.
	maxLookedAt      = 20_000
	maxLookedAtBytes = 16 << 20
	// catchUp is how long a page waits for the revision that it is to be read at, on a member
	// that is behind the one that gave its token.
	catchUp = 2 * time.Second
	// progressEvery is how often a stream says how far it is while it has nothing else to say.
	progressEvery = time.Second

	defaultPageSize = 100
	maxPageSize     = 1000

	// maxViolations bounds the broken rules that one error lists.
	maxViolations = 32
	// maxActorBytes bounds the name of a caller.
	maxActorBytes = commands.MaxActorBytes
	// maxPeers bounds the peers whose rate is remembered.
	maxPeers = 4096
	// maxBeatsInFlight bounds the beats of one stream that wait for an answer.
	maxBeatsInFlight = 1024
	// maxPipelined bounds the calls under way on one Pipeline stream; maxIdleWorkers the
	// goroutines that wait there for further ones.
	maxPipelined   = 1024
	maxIdleWorkers = 64

	readHeaderTimeout = 5 * time.Second
	maxOpening        = 1024        // connections that have not said yet what they are
	firstCallTimeout  = time.Second // of an HTTP/2 connection, until it is taken for one without gRPC
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	pingAfter         = 20 * time.Second // without a frame from an HTTP/2 client
	pingTimeout       = 10 * time.Second // for the answer to a ping
	maxStreamsPerConn = 1000             // of one HTTP/2 connection

	// drainWrites is how long a stream that ends because the server drains may
	// take to be told so.
	drainWrites = 2 * time.Second
)

// Limits are what one server carries at once. A zero field means its default.
type Limits struct {
	// Requests bounds unary calls in progress. Default 4,096.
	Requests int
	// Streams bounds open heartbeat streams. Default 4,096.
	Streams int
	// Subscriptions bounds open subscriptions. Default 4,096.
	Subscriptions int
	// Pipelines bounds open Pipeline streams; the calls on them count as Requests.
	// Default 4,096.
	Pipelines int
	// HistoryReads bounds calls of HistoryService in progress that are no streams. Default 64.
	HistoryReads int
	// HistoryStreams bounds open StreamChanges and StreamBase calls. Default 256.
	HistoryStreams int
	// Verifications bounds VerifyHistory calls in progress. Default 2.
	Verifications int
	// UnaryTimeout ends a unary call, the reading of its request included, and every other
	// call whose request is one message that has not arrived by then; gRPC clients are told
	// that by the code alone. Default 1 minute.
	UnaryTimeout time.Duration
	// HistoryTimeout ends the unary calls of HistoryService instead, of which there are at most
	// HistoryReads, once their request has arrived: folding a long past takes its time, and its
	// caller says how long it waits. It counts from the beginning of the call. Default 10 minutes.
	HistoryTimeout time.Duration
	// PeerRate is the number of calls a second that one peer may start, in the
	// mean. Default 0: no limit.
	PeerRate float64
	// PeerBurst is the number of calls that a peer may start at once. Default:
	// PeerRate, at least 1.
	PeerBurst int
	// Pages bounds the revisions kept for the later pages of lists. Default 64.
	Pages int
	// PageTTL is how long a revision is kept after its last page. Default 5
	// minutes.
	PageTTL time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Requests = positive(l.Requests, 4096)
	l.Streams = positive(l.Streams, 4096)
	l.Subscriptions = positive(l.Subscriptions, 4096)
	l.Pipelines = positive(l.Pipelines, 4096)
	l.HistoryReads = positive(l.HistoryReads, 64)
	l.HistoryStreams = positive(l.HistoryStreams, 256)
	l.Verifications = positive(l.Verifications, 2)
	l.UnaryTimeout = positive(l.UnaryTimeout, time.Minute)
	l.HistoryTimeout = positive(l.HistoryTimeout, 10*time.Minute)
	l.PeerBurst = positive(l.PeerBurst, max(1, int(l.PeerRate)))
	l.Pages = positive(l.Pages, 64)
	l.PageTTL = positive(l.PageTTL, 5*time.Minute)
	return l
}

func positive[N int | time.Duration](n, otherwise N) N {
	if n > 0 {
		return n
	}
	return otherwise
}
