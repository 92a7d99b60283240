// Package history reads what was: the changes of a stream, and its models as they were. It
// folds and compares with what members, clients and the replay tool have in common,
// whether the changes lie on a member's disk, behind a running service or in a file.
package history

import (
	"context"
	"math"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Origin says of which stream of which cluster a history is.
type Origin struct {
	Stream        metadatav1.Stream
	Cluster       events.ClusterID
	RecoveryEpoch uint64
}

// Bounds says what a history holds.
type Bounds struct {
	First    uint64        // the oldest revision; Last+1 if there is none
	Last     uint64        // the newest revision
	Previous events.Digest // of the stream before First
	// Floor is the oldest revision that is kept anywhere, as far as the source knows; 0: it knows
	// of no trim. First is later while the source lacks a part.
	Floor uint64
}

// Source is the history of one stream. Its methods may be called at the same time, and
// end with their context.
type Source interface {
	// Origin returns whose history it is.
	Origin() Origin
	// Bounds returns what it holds now. Last may grow, and First too when it is trimmed.
	Bounds(ctx context.Context) (Bounds, error)
	// Read returns the changes from a revision on, in order without gaps, as many as fit
	// into maxBytes of encoded changes, but at least one; nothing if from is behind Last. A
	// revision before First is an error: HISTORY_TRIMMED, or HISTORY_GAP where others may
	// have it.
	Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error)
}

// Fetcher is a [Source] that can read changes in two steps, so that a [Scan] reads and decodes
// at the same time.
type Fetcher interface {
	Source
	// Fetch is Read but for decoding. It may return more than fits into maxBytes; nothing if from
	// is behind Last.
	Fetch(ctx context.Context, from uint64, maxBytes int) (Fetched, error)
}

// Fetched are changes that were read from a revision on and are not decoded.
type Fetched struct {
	Last uint64 // the revision of the last one; 0: there are none
	// Decode returns them. With an error come those before the first one that cannot be read. It
	// is called once at most, from any goroutine.
	Decode func() ([]*events.Change, error)
}

// Now stands for the newest revision where a member is asked for a model.
const Now uint64 = math.MaxUint64

// Live is the [Source] of a stream that goes on, on a member.
type Live interface {
	Source
	// Await returns when the source has a revision, or when it is certain that it will not:
	// the context has ended, or the member does not run any more.
	Await(ctx context.Context, revision uint64) error
	// Originals is Read for those who want nothing but the bytes of the changes as logged. It
	// does not look into them.
	Originals(ctx context.Context, from uint64, maxBytes int) ([][]byte, error)
	// Digest returns the digest of the stream behind a revision; 0: before the first change.
	// Where the source does not reach back far enough, the error is that of Read.
	Digest(ctx context.Context, revision uint64) (events.Digest, error)
}
