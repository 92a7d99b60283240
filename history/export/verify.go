package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Verify reads the whole file and returns what was verified of each stream, in order of the
// header: the base, which the digest chain has to begin with, every change, the chain, what the
// trailer says, that signed heads are about what the file holds, and the SHA-256 of all. It looks at no signature: package
// audit does. What does not fit is a [*DamagedError], for the first change, or else the
// trailer.
func (f *File) Verify(ctx context.Context, progress Progress) ([]history.Verified, error) {
	all := make([]history.Verified, len(f.sources))
	for i, s := range f.sources {
		if err := f.verifyBase(ctx, s); err != nil {
			return nil, err
		}
		verified, err := f.verifyStream(ctx, s, progress.of(s.origin.Stream))
		if err != nil {
			return nil, s.place(err)
		}
		if end := f.trailer.Streams[i]; end.Bytes != verified.Bytes {
			return nil, damaged(PartTrailer, f.tail, "it has %d bytes of changes of the %s stream, but there are %d",
				end.Bytes, events.StreamName(s.origin.Stream), verified.Bytes)
		}
		all[i] = verified
	}
	return all, f.verifySum(ctx)
}

// verifyStream follows the digest chain of a stream past its signed heads.
func (f *File) verifyStream(ctx context.Context, s *source, progress history.Progress) (history.Verified, error) {
	var heads []*metadatav1.SignedHead // by revision, as the trailer has them
	for _, head := range f.trailer.SignedHeads {
		if head.GetStream() == s.origin.Stream && head.GetRevision()+1 >= s.bounds.First {
			heads = append(heads, head)
		}
	}
	// passed holds the heads of a revision against the digest there.
	passed := func(revision uint64, digest events.Digest) error {
		for len(heads) > 0 && heads[0].GetRevision() <= revision {
			if !bytes.Equal(heads[0].GetDigest(), digest[:]) {
				return damaged(PartTrailer, f.tail, "its signed head of the %s stream at revision %d has the digest %x, but the changes give %v",
					events.StreamName(s.origin.Stream), heads[0].GetRevision(), heads[0].GetDigest(), digest)
			}
			heads = heads[1:]
		}
		return nil
	}
	if err := passed(s.bounds.First-1, s.bounds.Previous); err != nil {
		return history.Verified{}, err
	}
	return history.Follow(ctx, s, s.bounds, func(c *events.Change, digest events.Digest) error {
		progress.At(c.Revision(), s.bounds.Last)
		return passed(c.Revision(), digest)
	})
}

// place says where in the file the damage is that was found in a stream.
func (s *source) place(err error) error {
	if _, ok := errors.AsType[*DamagedError](err); ok {
		return err
	}
	if found, ok := errors.AsType[*history.DamagedError](err); ok {
		if i := s.find(found.Revision); i < len(s.blocks) {
			return &DamagedError{PartBlock, s.blocks[i].at, found}
		}
		return &DamagedError{PartHeader, 0, found}
	}
	return err
}

// verifySum compares the file with its SHA-256.
func (f *File) verifySum(ctx context.Context) error {
	sum, buf := sha256.New(), make([]byte, BlockBytes)
	covered := f.size - sha256.Size
	for at := int64(0); at < covered; at += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), covered-at)]
		if err := f.readAt(buf, at); err != nil {
			return err
		}
		sum.Write(buf)
	}
	said := make([]byte, sha256.Size)
	if err := f.readAt(said, covered); err != nil {
		return err
	}
	if got := sum.Sum(nil); !bytes.Equal(got, said) {
		return damaged(PartTrailer, f.tail, "its SHA-256 is %x, but that of the file is %x", said, got)
	}
	return nil
}

// unsupported returns the error in a chain that asks for a newer build.
func unsupported(err error) (*events.UnsupportedError, bool) {
	return errors.AsType[*events.UnsupportedError](err)
}

// VerifyFile is Open, Verify and Close.
func VerifyFile(ctx context.Context, path string, progress Progress) (verified []history.Verified, err error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := f.Close(); err == nil && closing != nil {
			err = fmt.Errorf("cannot close the export: %w", closing)
		}
	}()
	return f.Verify(ctx, progress)
}
