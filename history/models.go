package history

import (
	"context"
	"fmt"
	"sync"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits and defaults of models as they were.
const (
	// MaxFolds is how many folds of one Models run at the same time; others wait.
	MaxFolds = 2
	// MaxRecentModels is how many models that were asked for are kept for those who ask next.
	MaxRecentModels = 4
	// MaxRecentBytes bounds their size together, as checkpoints; the last one is kept
	// whatever its size.
	MaxRecentBytes = 256 << 20
	// SaveEvery is the number of changes from which on a fold is worth storing, unless
	// [Models.SaveEvery] says otherwise.
	SaveEvery = 250_000
	// foldBytes is how many bytes of changes a fold reads at a time.
	foldBytes = 1 << 20
)

// Bases are the states of a stream that are stored somewhere: folds begin with them.
type Bases[D projections.Domain[D]] interface {
	// Nearest returns the stored state with the highest revision between from and to, both
	// included; nil if there is none. It may be called at the same time, and ends with its
	// context.
	Nearest(ctx context.Context, from, to uint64) (*projections.State[D], error)
}

// Beginning is the Bases that have one state: the one before a stream's first change, or
// one that a history came with.
type Beginning[D projections.Domain[D]] struct{ State *projections.State[D] }

// Nearest returns the state if it lies between from and to.
func (b Beginning[D]) Nearest(_ context.Context, from, to uint64) (*projections.State[D], error) {
	if r := b.State.Head.Revision; r < from || r > to {
		return nil, nil
	}
	return b.State, nil
}

// Models are the models of one stream as they were. It is safe for concurrent use.
type Models[D projections.Domain[D]] struct {
	source Source
	bases  Bases[D]
	save   func(*projections.State[D])
	every  uint64        // changes from which on a fold is saved
	slots  chan struct{} // one is taken by each fold that runs

	mu      sync.Mutex
	recent  []*projections.State[D] // the one asked for last comes first
	flights map[uint64]*flight[D]   // by the revision that is folded to
}

// flight is a fold under way, with those who wait for it.
type flight[D projections.Domain[D]] struct {
	cancel  context.CancelFunc
	waiting int           // guarded by Models.mu
	done    chan struct{} // closed when what follows is set
	state   *projections.State[D]
	err     error
}

// NewModels returns the models of a source. If save is not nil, it is given each state that
// took more than SaveEvery changes to fold, so that it may become one of the bases; it is
// called before the state is returned, and from several goroutines.
//
// The source may give changes from before its bounds, where they are not deleted yet: what was
// trimmed has to stay until a base behind it is stored.
func NewModels[D projections.Domain[D]](source Source, bases Bases[D], save func(*projections.State[D])) *Models[D] {
	return &Models[D]{
		source: source, bases: bases, save: save, every: SaveEvery,
		slots:   make(chan struct{}, MaxFolds),
		flights: make(map[uint64]*flight[D]),
	}
}

// SaveAbove sets how many changes a fold has to have at least, and one more, to be worth storing, instead of
// SaveEvery. Call it before At.
func (m *Models[D]) SaveAbove(changes uint64) { m.every = changes }

// At returns the state behind the change of a revision; 0: before the first change. It
// starts from the nearest state that is stored or was asked for recently and folds what
// follows, once for all who ask for the same revision meanwhile, until nobody waits for it
// any more.
//
// A revision that the source has not come to is FUTURE_REVISION, one below its floor
// HISTORY_TRIMMED, whatever is stored; the state right before the floor, and the one before the
// first change, are not. Where neither a base nor the source reaches back far enough, the error
// is HISTORY_TRIMMED or what the source says. Changes that cannot be folded are DAMAGED.
func (m *Models[D]) At(ctx context.Context, revision uint64) (*projections.State[D], error) {
	bounds, err := m.source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	switch stream := m.source.Origin().Stream; {
	case revision > bounds.Last:
		return nil, Future(stream, revision, bounds.Last)
	case revision > 0 && revision+1 < bounds.Floor:
		return nil, Trimmed(stream, revision, bounds.Floor)
	}
	m.mu.Lock()
	if near := m.nearest(revision); near != nil && near.Head.Revision == revision {
		m.remember(near)
		m.mu.Unlock()
		return near, nil
	}
	f := m.join(ctx, revision)
	m.mu.Unlock()
	select {
	case <-f.done:
		return f.state, f.err
	case <-ctx.Done():
		m.leave(f, revision)
		return nil, ctx.Err()
	}
}

// Keep takes a state that the caller has for one that was asked for just now: whoever asks
// for its revision next is given it.
func (m *Models[D]) Keep(state *projections.State[D]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remember(state)
}

// join returns the fold to a revision, which it begins if there is none. It outlives the
// caller's context as long as others wait.
func (m *Models[D]) join(ctx context.Context, revision uint64) *flight[D] {
	f := m.flights[revision]
	if f == nil {
		folding, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight[D]{cancel: cancel, done: make(chan struct{})}
		m.flights[revision] = f
		go m.fly(folding, f, revision)
	}
	f.waiting++
	return f
}

// leave ends a fold that nobody waits for any more.
func (m *Models[D]) leave(f *flight[D], revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.waiting--
	if f.waiting == 0 {
		f.cancel()
		m.land(f, revision)
	}
}

// land takes a fold out of those that can be joined.
func (m *Models[D]) land(f *flight[D], revision uint64) {
	if m.flights[revision] == f {
		delete(m.flights, revision)
	}
}

// fly folds to a revision when its turn has come.
func (m *Models[D]) fly(ctx context.Context, f *flight[D], revision uint64) {
	defer f.cancel()
	select {
	case m.slots <- struct{}{}:
		f.state, f.err = m.fold(ctx, revision)
		<-m.slots
	case <-ctx.Done():
		f.err = ctx.Err()
	}
	m.mu.Lock()
	if f.err == nil {
		m.remember(f.state)
	}
	m.land(f, revision)
	m.mu.Unlock()
	close(f.done)
}

// fold makes the state at a revision. What a member stops for is an error here: the
// member's own model is not concerned.
func (m *Models[D]) fold(ctx context.Context, revision uint64) (state *projections.State[D], err error) {
	defer func() {
		if r := recover(); r != nil {
			state, err = nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED,
				"the history of the %s stream cannot be folded to revision %d: %v; ask another member",
				events.StreamName(m.source.Origin().Stream), revision, r)
		}
	}()
	base, err := m.base(ctx, revision)
	for err == nil {
		if state, err = m.foldFrom(ctx, base, revision); err == nil {
			return state, nil
		}
		base, err = m.laterBase(ctx, base, revision, err)
	}
	return nil, err
}

// foldFrom folds what lies between a base and a revision.
func (m *Models[D]) foldFrom(ctx context.Context, base *projections.State[D], revision uint64) (*projections.State[D], error) {
	if base.Head.Revision == revision {
		return base, nil
	}
	state, err := foldTo(base, revision, func(draft *projections.Draft[D]) error { return m.foldUp(ctx, draft, revision) })
	if err != nil {
		return nil, err
	}
	if m.save != nil && revision-base.Head.Revision > m.every {
		m.save(state)
	}
	return state, nil
}

// foldUp reads and folds up to a revision.
func (m *Models[D]) foldUp(ctx context.Context, draft *projections.Draft[D], revision uint64) error {
	for next := draft.State().Head.Revision + 1; next <= revision; next = draft.State().Head.Revision + 1 {
		changes, err := m.source.Read(ctx, next, foldBytes)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return Future(m.source.Origin().Stream, next, next-1)
		}
		for _, c := range changes[:min(uint64(len(changes)), revision+1-next)] {
			draft.Fold(c) // panics at what does not follow
		}
	}
	return nil
}

// laterBase returns where a fold begins anew that has failed: what lies behind its base may have
// been trimmed meanwhile, and then there is a base behind that. If there is none, the failure
// stays.
func (m *Models[D]) laterBase(ctx context.Context, base *projections.State[D], revision uint64, failed error) (*projections.State[D], error) {
	if !failure.Is(failed, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) && !failure.Is(failed, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		return nil, failed
	}
	from := base.Head.Revision + 1
	later, err := m.bases.Nearest(ctx, from, revision)
	if err != nil || later == nil {
		return nil, failed
	}
	return later, m.fits(later, from, revision)
}

// base returns the nearest state at or before a revision.
func (m *Models[D]) base(ctx context.Context, revision uint64) (*projections.State[D], error) {
	m.mu.Lock()
	near := m.nearest(revision)
	m.mu.Unlock()
	from := uint64(0)
	if near != nil {
		from = near.Head.Revision + 1
	}
	stored, err := m.bases.Nearest(ctx, from, revision)
	switch {
	case err != nil:
		return nil, err
	case stored != nil:
		return stored, m.fits(stored, from, revision)
	case near != nil:
		return near, nil
	}
	bounds, err := m.source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	return nil, Trimmed(m.source.Origin().Stream, revision, bounds.First)
}

// fits reports whether a base is what it was asked for.
func (m *Models[D]) fits(base *projections.State[D], from, to uint64) error {
	h := base.Head
	if of := (Origin{h.Stream, h.Cluster, h.RecoveryEpoch}); of != m.source.Origin() || h.Revision < from || h.Revision > to {
		return fmt.Errorf("history: a state of %+v at revision %d was given for one of %+v between %d and %d",
			of, h.Revision, m.source.Origin(), from, to)
	}
	return nil
}

// nearest returns the recent state with the highest revision that is not behind the given
// one; nil if there is none.
func (m *Models[D]) nearest(revision uint64) (near *projections.State[D]) {
	for _, s := range m.recent {
		if s.Head.Revision <= revision && (near == nil || s.Head.Revision > near.Head.Revision) {
			near = s
		}
	}
	return near
}

// remember puts a state first among the recent ones, and forgets those beyond the limits.
func (m *Models[D]) remember(state *projections.State[D]) {
	recent := append(make([]*projections.State[D], 0, MaxRecentModels), state)
	size := state.Model.Size()
	for _, s := range m.recent {
		if s.Head.Revision == state.Head.Revision {
			continue
		}
		size += s.Model.Size()
		if len(recent) == MaxRecentModels || size > MaxRecentBytes {
			break
		}
		recent = append(recent, s)
	}
	m.recent = recent
}
