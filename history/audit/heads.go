package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Verdict is what an audit of one stream has found.
type Verdict struct {
	History history.Verified // what fits together
	Fit     int              // genuine heads that the history has the digest of
	Before  int              // genuine heads of revisions before the history begins: it cannot be held against them
	// Proven is the newest revision that a head fits at: every change that the history holds
	// up to there is what was there when it was signed. 0: there is no such head.
	Proven uint64
}

// VerifyHeads verifies a history and holds it against the signed heads of its stream; heads
// of other streams are left out. Every one of them has to be genuine, signed with one of
// the keys, and to have the digest that the changes give at its revision.
//
// The first that does not is a [*HeadError]: by revision, signatures before digests. A head
// of a revision behind the history's last one is one too: changes that were signed are
// missing, unless the history was read from a member that lags behind. Damage of the history
// is reported as [history.Verify] does.
func VerifyHeads(
	ctx context.Context, source history.Source, heads []*metadatav1.SignedHead, keys []ed25519.PublicKey, progress history.Progress,
) (Verdict, error) {
	origin := source.Origin()
	heads = slices.DeleteFunc(slices.Clone(heads), func(h *metadatav1.SignedHead) bool { return h.GetStream() != origin.Stream })
	slices.SortStableFunc(heads, func(a, b *metadatav1.SignedHead) int { return cmp.Compare(a.GetRevision(), b.GetRevision()) })
	for _, head := range heads {
		if err := checkAny(keys, origin, head); err != nil {
			return Verdict{}, err
		}
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return Verdict{}, err
	}
	var v Verdict
	// hold compares the heads of a revision with the digest there.
	hold := func(revision uint64, digest events.Digest) error {
		for ; len(heads) > 0 && heads[0].Revision == revision; heads = heads[1:] {
			if !bytes.Equal(heads[0].Digest, digest[:]) {
				return headError(heads[0], "its digest is %x, but the history has %v there", heads[0].Digest, digest)
			}
			v.Fit++
			v.Proven = revision
		}
		return nil
	}
	for len(heads) > 0 && heads[0].Revision < bounds.First-1 {
		heads = heads[1:]
		v.Before++
	}
	if err := hold(bounds.First-1, bounds.Previous); err != nil {
		return v, err
	}
	v.History, err = history.Follow(ctx, source, bounds, func(c *events.Change, digest events.Digest) error {
		progress.At(c.Revision(), bounds.Last)
		return hold(c.Revision(), digest)
	})
	if err == nil && len(heads) > 0 {
		err = headError(heads[0], "the history ends before it, at revision %d", bounds.Last)
	}
	return v, err
}

// checkAny checks a head with the key that it names.
func checkAny(keys []ed25519.PublicKey, origin history.Origin, head *metadatav1.SignedHead) error {
	for _, key := range keys {
		if bytes.Equal(KeyID(key), head.GetKeyId()) {
			return Check(key, origin.Cluster, origin.RecoveryEpoch, head)
		}
	}
	return headError(head, "it was signed with the key %x, which is none of the %d given", head.GetKeyId(), len(keys))
}
