package stored

import (
	"context"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
)

// Verified is the source of a stream with the digests that were kept when its changes came in: a
// history.DigestKeeper. Those behind what it reads stay in memory until they are asked for. It
// is for one reader, who goes forward.
type Verified struct {
	*Source
	stored History
	kept   history.Digests
}

// NewVerified returns a source for verifying.
func NewVerified(s *Source) *Verified {
	v := &Verified{Source: s, stored: *s.stored}
	v.stored.kept = v.kept.Note
	return v
}

// Read implements history.Source. What is stored is read from there, also where it is in memory.
func (v *Verified) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	if err := v.Ready(ctx); err != nil {
		return nil, err
	}
	if from > v.feed.Durable() {
		return v.Source.Read(ctx, from, maxBytes)
	}
	changes, err := v.stored.Read(from, maxBytes)
	return changes, v.orLacking(ctx, from, len(changes), err)
}

// KeptDigest implements history.DigestKeeper.
func (v *Verified) KeptDigest(_ context.Context, from uint64) (uint64, events.Digest, error) {
	if revision, digest, ok := v.kept.Next(from); ok {
		return revision, digest, nil
	}
	past, err := v.store.ReadHistory(v.group, from, 1)
	if err != nil || len(past) == 0 || len(past[0].Data) != len(events.Digest{}) {
		return 0, events.Digest{}, nil //nolint:nilerr // the read that follows says what is wrong
	}
	return past[0].Last, events.Digest(past[0].Data), nil
}
