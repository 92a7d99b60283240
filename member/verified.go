package member

import (
	"context"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
)

// verified is the source of a stream with the digests that were kept when its changes came in: a
// history.DigestKeeper. Those behind what it reads stay in memory until they are asked for. It
// is for one reader, who goes forward.
type verified struct {
	*source
	stored storedHistory
	kept   history.Digests
}

func newVerified(s *source) *verified {
	v := &verified{source: s, stored: *s.stored}
	v.stored.kept = v.kept.Note
	return v
}

// Read implements history.Source. What is stored is read from there, also where it is in memory.
func (v *verified) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	if from > v.feed.Durable() {
		return v.source.Read(ctx, from, maxBytes)
	}
	changes, err := v.stored.Read(from, maxBytes)
	return changes, v.orLacking(ctx, from, len(changes), err)
}

// KeptDigest implements history.DigestKeeper.
func (v *verified) KeptDigest(_ context.Context, from uint64) (uint64, events.Digest, error) {
	if revision, digest, ok := v.kept.Next(from); ok {
		return revision, digest, nil
	}
	past, err := v.member.store.ReadHistory(v.group, from, 1)
	if err != nil || len(past) == 0 || len(past[0].Data) != len(events.Digest{}) {
		return 0, events.Digest{}, nil //nolint:nilerr // the read that follows says what is wrong
	}
	return past[0].Last, events.Digest(past[0].Data), nil
}
