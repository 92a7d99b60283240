package follow

import (
	"sync/atomic"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Seen is the highest position that somebody has seen, merged from all that were learnt:
// stream by stream within one life of a cluster, while a later life, or another cluster,
// replaces what was before. The zero value has seen nothing. It is safe for concurrent use
// and takes no locks.
type Seen struct{ life atomic.Pointer[life] }

// life is what was seen of a cluster between two restorations from a backup.
type life struct {
	cluster   string // empty: any
	epoch     uint64
	revisions [len(Streams)]atomic.Uint64
}

func lifeOf(p *metadatav1.Position) *life {
	l := &life{cluster: p.GetClusterId(), epoch: p.GetRecoveryEpoch()}
	for i, s := range Streams {
		l.revisions[i].Store(RevisionOf(p, s))
	}
	return l
}

// Learn merges a position. One that names no cluster tells nothing.
func (s *Seen) Learn(p *metadatav1.Position) {
	if p.GetClusterId() == "" {
		return
	}
	for {
		now := s.life.Load()
		if now != nil && now.cluster == p.GetClusterId() && now.epoch >= p.GetRecoveryEpoch() {
			if now.epoch == p.GetRecoveryEpoch() {
				now.raise(p)
			}
			return
		}
		if s.life.CompareAndSwap(now, lifeOf(p)) {
			return
		}
	}
}

func (l *life) raise(p *metadatav1.Position) {
	for i, s := range Streams {
		revision := RevisionOf(p, s)
		for {
			now := l.revisions[i].Load()
			if revision <= now || l.revisions[i].CompareAndSwap(now, revision) {
				break
			}
		}
	}
}

// Forget forgets everything.
func (s *Seen) Forget() { s.life.Store(nil) }

// ForgetOthers forgets what was seen of another cluster than this one.
func (s *Seen) ForgetOthers(cluster string) {
	if now := s.life.Load(); now != nil && now.cluster != cluster {
		s.life.CompareAndSwap(now, nil)
	}
}

// Position returns what was seen; nil: nothing.
func (s *Seen) Position() *metadatav1.Position {
	l := s.life.Load()
	if l == nil {
		return nil
	}
	p := &metadatav1.Position{ClusterId: l.cluster, RecoveryEpoch: l.epoch}
	for i, stream := range Streams {
		SetRevision(p, stream, l.revisions[i].Load())
	}
	return p
}

// CoveredBy reports whether somebody at a position has seen all of it, see [Covers].
func (s *Seen) CoveredBy(at *metadatav1.Position) bool {
	l := s.life.Load()
	return l == nil || l.coveredBy(at)
}

// Covers reports whether who is at a position has seen all that another one says. What was
// of an earlier life of the cluster is lost, so that a later life covers it; another cluster
// covers nothing. One that names no cluster is of any life.
func Covers(at, p *metadatav1.Position) bool { return lifeOf(p).coveredBy(at) }

func (l *life) coveredBy(at *metadatav1.Position) bool {
	if l.cluster != "" {
		if l.cluster != at.GetClusterId() || l.epoch > at.GetRecoveryEpoch() {
			return false
		}
		if l.epoch < at.GetRecoveryEpoch() {
			return true
		}
	}
	for i, s := range Streams {
		if RevisionOf(at, s) < l.revisions[i].Load() {
			return false
		}
	}
	return true
}
