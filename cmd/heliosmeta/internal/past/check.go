package past

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Checked is one thing that was said of a stream, held against this build's fold.
type Checked struct {
	Said
	Difference *Difference // nil: there is none
	// Hashed: the hash of the model was compared too.
	Hashed bool
}

// Fits reports whether what was said is what was folded.
func (c Checked) Fits() bool { return c.Err == nil && c.Difference == nil }

// Rehearsal is a stream folded by this build from its beginning to its end.
type Rehearsal struct {
	From  projections.Head // before the first change that was folded
	State State            // behind the last one
	Said  []Checked
}

// Rehearse folds everything that there is of a stream, and holds the state against what is
// said of it, exactly at the revisions that it is said of. A change that cannot be folded
// is a *projections.FoldError.
func Rehearse(ctx context.Context, p Past, stream metadatav1.Stream, progress history.Progress) (*Rehearsal, error) {
	source, err := p.Source(ctx, stream)
	if err != nil {
		return nil, err
	}
	state, err := p.Beginning(ctx, stream)
	if err != nil {
		return nil, err
	}
	said, err := p.Said(ctx, stream)
	if err != nil {
		return nil, err
	}
	r := &Rehearsal{From: state.Head()}
	for _, s := range said {
		c := Checked{Said: s}
		switch at := s.Head.GetRevision(); {
		case s.Err != nil:
		case at < state.Head().Revision:
			c.Err = fmt.Errorf("it is about revision %d, but nothing before %d can be folded", at, state.Head().Revision)
		default:
			if state, err = replayTo(ctx, source, state, at, progress); err != nil {
				return nil, err
			}
			c.Difference = state.Compare(s)
			c.Hashed = !s.OnlyDigest && history.HashComparable(s.Head)
		}
		r.Said = append(r.Said, c)
	}
	r.State, err = state.Replay(ctx, source, 0, progress)
	return r, err
}

const (
	// catchUp is how long a member may lag behind another one that was asked before.
	catchUp = 5 * time.Second
	// catchUpPoll is how often it is asked meanwhile.
	catchUpPoll = 50 * time.Millisecond
)

// replayTo folds up to a revision that somebody has, once the source has it too.
func replayTo(ctx context.Context, source history.Source, from State, revision uint64, progress history.Progress) (State, error) {
	if revision == from.Head().Revision {
		return from, nil
	}
	for end := time.Now().Add(catchUp); ; {
		bounds, err := source.Bounds(ctx)
		if err != nil {
			return nil, err
		}
		if bounds.Last >= revision || time.Now().After(end) {
			return from.Replay(ctx, source, revision, progress)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(catchUpPoll):
		}
	}
}

// Verdict is what a verification of one stream has found.
type Verdict struct {
	Stream metadatav1.Stream
	audit.Verdict
	Signed bool // it was held against signed heads
	// Base: the model right before its first change is there, and its digest chain begins with it.
	Base bool
}

// Lacks reports whether what is left of the history cannot be folded: the model before it is not
// there.
func (v Verdict) Lacks() bool { return v.History.First > 1 && !v.Base }

// Unsigned reports whether the history was to be held against signed heads and none is there
// that it fits: then it is only known to fit together.
func (v Verdict) Unsigned() bool { return v.Signed && v.Fit == 0 && v.History.Changes() > 0 }

// Verify follows the digest chains of streams from end to end and, if there are keys, holds
// them against the signed heads, but for the service stream, which nobody signs; a base has to be
// what the chain begins with. Of a file it verifies everything else too. The first that does not fit is an error that names the
// change: a *history.DamagedError, an *audit.HeadError or, in a file, an
// *export.DamagedError. The verdicts of the streams before are returned with it.
func Verify(ctx context.Context, p Past, streams []metadatav1.Stream, keys []ed25519.PublicKey, progress export.Progress) ([]Verdict, error) {
	known := make(map[metadatav1.Stream]history.Verified) // with the rest of a file
	based := make(map[metadatav1.Stream]bool)
	if f, ok := p.(*File); ok {
		found, err := f.export.Verify(ctx, progress)
		if err != nil {
			return nil, err
		}
		for i, stream := range f.Streams() {
			known[stream], based[stream] = found[i], f.export.Trailer().Streams[i].Base
		}
	}
	var all []Verdict
	for _, stream := range streams {
		if fits, ok := known[stream]; ok && !signs(stream, keys) {
			all = append(all, Verdict{Stream: stream, Verdict: audit.Verdict{History: fits}, Base: based[stream]})
			continue
		}
		v, err := verify(ctx, p, stream, keys, func(done, last uint64) {
			if progress != nil {
				progress(stream, done, last)
			}
		})
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// signs reports whether members sign the heads of a stream, and they can be checked.
func signs(stream metadatav1.Stream, keys []ed25519.PublicKey) bool {
	return len(keys) > 0 && stream != serviceStream
}

func verify(ctx context.Context, p Past, stream metadatav1.Stream, keys []ed25519.PublicKey, progress history.Progress) (Verdict, error) {
	v := Verdict{Stream: stream, Signed: signs(stream, keys)}
	var heads []*metadatav1.SignedHead
	var err error
	if v.Signed { // before the history is read: it has to have what they are about
		if heads, err = p.Heads(ctx, stream); err != nil {
			return v, err
		}
	}
	source, err := p.Source(ctx, stream)
	if err != nil {
		return v, err
	}
	if v.Base, err = hasBase(ctx, source); err != nil {
		return v, err
	}
	if v.Signed {
		v.Verdict, err = audit.VerifyHeads(ctx, source, heads, keys, progress)
		return v, err
	}
	v.History, err = history.Verify(ctx, source, history.VerifyOptions{Progress: progress})
	return v, err
}
