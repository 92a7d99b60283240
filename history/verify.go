package history

import (
	"context"
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// DamagedError says which change of a history is the first that does not fit.
type DamagedError struct {
	Stream   metadatav1.Stream
	Revision uint64
	Reason   string
}

// Error says where the damage is and what it is.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("the history of the %s stream is damaged at revision %d: %s", events.StreamName(e.Stream), e.Revision, e.Reason)
}

// DigestKeeper is a [Source] that has digests beside its changes, which were kept when
// the changes came in: they are compared with what the changes give now.
type DigestKeeper interface {
	// KeptDigest returns the first revision, from the given one on, behind which a digest is
	// kept, and that digest; revision 0 if there is none.
	KeptDigest(ctx context.Context, from uint64) (revision uint64, digest events.Digest, err error)
}

// Verified is the part of a history that was found to fit.
type Verified struct {
	First  uint64        // the first revision
	Last   uint64        // the last revision; First-1 if there is none
	Digest events.Digest // of the stream behind Last
	Bytes  uint64        // of the changes as logged
}

// Changes returns the number of changes.
func (v Verified) Changes() uint64 { return v.Last + 1 - v.First }

// VerifyOptions configure Verify.
type VerifyOptions struct {
	Progress Progress // told of the revisions that fit; nil: nobody is
}

// Verify reads everything that a history holds when it is called and follows the digest
// chain through it: each change has to have the next revision, belong to the stream and
// decode, a first change has to begin the stream's chain, and the digests that a
// [DigestKeeper] has have to be those of the changes. What a source keeps no digests for
// is verified by comparing the digest that Verify returns with another one, such as a
// signed head's.
//
// The first change that does not fit is a [*DamagedError]; what fits before it is returned
// with it. A change that needs a newer build is an [*events.UnsupportedError], and no
// damage. Other errors are those of the source.
func Verify(ctx context.Context, source Source, options VerifyOptions) (Verified, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return Verified{}, err
	}
	return Follow(ctx, source, bounds, func(c *events.Change, _ events.Digest) error {
		options.Progress.At(c.Revision(), bounds.Last)
		return nil
	})
}

// Follow is [Verify] within given bounds, for those who want the changes. It calls each
// behind every change that fits, with the digest there; an error of each ends it and is
// returned. That a digest was kept for a revision and differs is noticed behind the changes
// that lead to it: until Follow has returned without error, nothing is certain.
func Follow(ctx context.Context, source Source, bounds Bounds, each func(c *events.Change, digest events.Digest) error) (Verified, error) {
	f := follower{source: source, origin: source.Origin(), each: each}
	f.fits = Verified{First: bounds.First, Last: bounds.First - 1, Digest: bounds.Previous}
	if err := f.begin(ctx, bounds); err != nil {
		return f.fits, err
	}
	for f.fits.Last < bounds.Last {
		if err := f.follow(ctx, bounds.Last); err != nil {
			return f.fits, err
		}
	}
	return f.fits, nil
}

// follower is a walk along the digest chain.
type follower struct {
	source Source
	origin Origin
	each   func(*events.Change, events.Digest) error

	fits    Verified // up to here
	vouched Verified // up to here a kept digest says so too

	keeper DigestKeeper  // nil if the source is none
	keptAt uint64        // where the next kept digest is; 0: there is none
	kept   events.Digest // that digest
}

func (f *follower) begin(ctx context.Context, bounds Bounds) error {
	switch {
	case bounds.First == 0 || bounds.First > bounds.Last+1:
		return fmt.Errorf("a history cannot hold the revisions %d to %d", bounds.First, bounds.Last)
	case bounds.First == 1 && bounds.Previous != events.FirstDigest(f.origin.Cluster, f.origin.Stream):
		return f.damaged(1, "the digest before it is %v, which is not that of the stream's beginning in cluster %v", bounds.Previous, f.origin.Cluster)
	}
	f.vouched = f.fits
	f.keeper, _ = f.source.(DigestKeeper)
	return f.nextKept(ctx)
}

// nextKept finds the next digest to compare with.
func (f *follower) nextKept(ctx context.Context) (err error) {
	if f.keeper != nil {
		f.keptAt, f.kept, err = f.keeper.KeptDigest(ctx, f.fits.Last+1)
	}
	return err
}

// follow goes on up to a revision, or a little way past damage that somebody has replaced meanwhile.
func (f *follower) follow(ctx context.Context, last uint64) error {
	for changes, err := range Scan(ctx, f.source, f.fits.Last+1, last) {
		if err != nil {
			return f.locate(ctx, err, last)
		}
		if err := f.take(ctx, changes); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) take(ctx context.Context, changes []*events.Change) error {
	for _, c := range changes {
		next := f.fits.Last + 1
		switch {
		case c.Revision() != next:
			return f.damaged(next, "change %d is in its place", c.Revision())
		case c.Stream() != f.origin.Stream:
			return f.damaged(next, "it is a change of the %s stream", events.StreamName(c.Stream()))
		}
		f.fits.Last, f.fits.Digest = next, f.fits.Digest.Next(c.Raw())
		f.fits.Bytes += uint64(len(c.Raw()))
		if next == f.keptAt {
			if err := f.compare(ctx); err != nil {
				return err
			}
		}
		if err := f.each(c, f.fits.Digest); err != nil {
			return err
		}
	}
	return nil
}

// compare holds the digest against the one that was kept. Where they differ, all changes
// behind the last comparison are in doubt.
func (f *follower) compare(ctx context.Context) error {
	if f.fits.Digest != f.kept {
		found := f.fits
		f.fits = f.vouched
		return f.damaged(f.fits.Last+1, "the digest kept behind change %d is %v, but the changes from this one on give %v",
			found.Last, f.kept, found.Digest)
	}
	f.vouched = f.fits
	return f.nextKept(ctx)
}

// locate says which change a chunk could not be read for. If the error is about damage, it
// reads the changes of the chunk one by one up to the damaged one. nil: none of them is damaged
// any more, as a member replaces what was found to be.
func (f *follower) locate(ctx context.Context, failed error, last uint64) error {
	if _, ok := errors.AsType[*DamagedError](failed); ok || !IsDamage(failed) {
		return failed
	}
	for begin := f.fits.Bytes; f.fits.Last < last && f.fits.Bytes-begin <= scanBytes; {
		changes, err := f.source.Read(ctx, f.fits.Last+1, 1)
		switch {
		case err != nil && IsDamage(err):
			return f.damaged(f.fits.Last+1, "%v", err)
		case err != nil:
			return err
		case len(changes) == 0:
			return failed
		}
		if err := f.take(ctx, changes[:1]); err != nil {
			return err
		}
	}
	return nil
}

// IsDamage reports whether an error says that bytes are not what they should be.
func IsDamage(err error) bool {
	_, corrupt := errors.AsType[*events.CorruptError](err)
	_, located := errors.AsType[*DamagedError](err)
	return corrupt || located || failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_DAMAGED)
}

func (f *follower) damaged(revision uint64, format string, args ...any) error {
	return &DamagedError{Stream: f.origin.Stream, Revision: revision, Reason: fmt.Sprintf(format, args...)}
}
