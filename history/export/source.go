package export

import (
	"context"
	"fmt"
	"sort"
	"sync/atomic"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// source is the history of one stream in a file. It is immutable once indexed, but for the
// block that it keeps.
type source struct {
	file   *File
	origin history.Origin
	bounds history.Bounds
	base   []piece  // the last one is empty; none in a file without bases
	blocks []placed // by revision, without gaps, from First to Last
	kept   atomic.Pointer[unpacked]
}

// placed is a block and where it is.
type placed struct {
	blockHead
	at int64 // of its head
}

// unpacked is a block that was read.
type unpacked struct {
	first   uint64
	changes []*events.Change
}

var _ interface {
	history.Fetcher
	history.DigestKeeper
	history.BaseKeeper
} = (*source)(nil)

// index finds the stream's blocks, which begin at an offset, and returns where they end.
func (s *source) index(at int64) (int64, error) {
	f, head := s.file, make([]byte, blockHeadBytes)
	for next := s.bounds.First; next <= s.bounds.Last; {
		if at+blockHeadBytes > f.size {
			return at, s.damaged(at, next, "it is missing: the file ends at byte %d", f.size)
		}
		if err := f.readAt(head, at); err != nil {
			return at, err
		}
		h, err := parseBlockHead(head)
		switch {
		case err != nil:
			return at, s.damaged(at, next, "%v", err)
		case h.stream != s.origin.Stream || h.first != next || h.last() > s.bounds.Last:
			return at, s.damaged(at, next, "the changes %d to %d of the %s stream are in its place", h.first, h.last(), events.StreamName(h.stream))
		case at+blockHeadBytes+int64(h.stored) > f.size:
			return at, s.damaged(at, next, "its block is cut short: the file ends at byte %d", f.size)
		}
		s.blocks = append(s.blocks, placed{h, at})
		at += blockHeadBytes + int64(h.stored)
		next = h.last() + 1
	}
	return at, nil
}

// Origin returns whose history it is.
func (s *source) Origin() history.Origin { return s.origin }

// Bounds returns what the file holds.
func (s *source) Bounds(context.Context) (history.Bounds, error) { return s.bounds, nil }

// Read returns changes as [history.Source] says. A damaged block is a [*DamagedError] that
// names the first change of it that cannot be read; the changes before are returned first.
func (s *source) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	if from < s.bounds.First {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
			"revision %d of the %s stream is not in the export: it begins at %d", from, events.StreamName(s.origin.Stream), s.bounds.First).
			With("oldest_revision", fmt.Sprint(s.bounds.First)).With("stream", s.origin.Stream.String())
	}
	var read []*events.Change
	for left := maxBytes; from <= s.bounds.Last; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		changes, err := s.block(from)
		if len(changes) == 0 {
			if len(read) > 0 { // the error is for the next read, which begins at the damage
				return read, nil
			}
			return nil, err
		}
		for _, c := range changes {
			if left -= len(c.Raw()); left < 0 && len(read) > 0 {
				return read, nil
			}
			read = append(read, c)
		}
		from += uint64(len(changes))
	}
	return read, nil
}

// Fetch reads a block, or what is left of it, for [history.Fetcher].
func (s *source) Fetch(ctx context.Context, from uint64, _ int) (history.Fetched, error) {
	if from < s.bounds.First || from > s.bounds.Last {
		_, err := s.Read(ctx, from, 0)
		return history.Fetched{}, err
	}
	b := &s.blocks[s.find(from)]
	content, err := s.load(b)
	if err != nil {
		return history.Fetched{}, err
	}
	return history.Fetched{Last: b.last(), Decode: func() ([]*events.Change, error) { return s.split(b, content, from) }}, nil
}

// block returns the changes of a block from a revision within it on. With an error come
// those before the damage.
func (s *source) block(from uint64) ([]*events.Change, error) {
	b := &s.blocks[s.find(from)]
	if kept := s.kept.Load(); kept != nil && kept.first == b.first {
		return kept.changes[from-b.first:], nil
	}
	content, err := s.load(b)
	if err != nil {
		return nil, err
	}
	changes, err := s.split(b, content, b.first)
	if err == nil {
		s.kept.Store(&unpacked{b.first, changes})
	}
	return changes[min(from-b.first, uint64(len(changes))):], err
}

// load reads a block and unpacks its bytes.
func (s *source) load(b *placed) ([]byte, error) {
	stored := make([]byte, b.stored)
	if err := s.file.readAt(stored, b.at+blockHeadBytes); err != nil {
		return nil, err
	}
	content, err := b.unpack(s.file.unpacker, stored)
	if err != nil {
		return nil, s.damaged(b.at, b.first, "%v", err)
	}
	return content, nil
}

// split cuts the bytes of a block into its changes from a revision on. With an error come those
// before the damage.
func (s *source) split(b *placed, content []byte, from uint64) ([]*events.Change, error) {
	changes, err := b.split(content)
	if _, newer := unsupported(err); err != nil && !newer {
		err = s.damaged(b.at, b.first+uint64(len(changes)), "%v", err)
	}
	return changes[min(from-b.first, uint64(len(changes))):], err
}

// find returns the place of the block that has a revision of the stream.
func (s *source) find(revision uint64) int {
	return sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].last() >= revision })
}

// KeptDigest returns the digest behind the block that a revision is in.
func (s *source) KeptDigest(_ context.Context, from uint64) (uint64, events.Digest, error) {
	if i := s.find(from); i < len(s.blocks) {
		return s.blocks[i].last(), s.blocks[i].digest, nil
	}
	return 0, events.Digest{}, nil
}

// lastDigest returns the digest behind the last change.
func (s *source) lastDigest() events.Digest {
	if len(s.blocks) == 0 {
		return s.bounds.Previous
	}
	return s.blocks[len(s.blocks)-1].digest
}

func (s *source) damaged(at int64, revision uint64, format string, args ...any) error {
	return damagedBlock(at, s.origin.Stream, revision, format, args...)
}
