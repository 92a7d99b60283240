package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// shelf is the tables of a cache that keeps a limited number. A subscription to the schema
// says which of them have changed; those are taken off. What a load brings is put on it
// unless the table has changed since the load began, so that what is on it is what the
// schema says at the revision to which the subscription has come, or at a later one. When
// it is full, one at random makes room.
//
// Reading takes no locks.
type shelf struct {
	most  int
	shown atomic.Pointer[shelved]

	mu      sync.Mutex     // held to change what follows, and shown
	ring    []*table       // all of them, in no order
	places  map[*table]int // in ring
	loading map[*loading]struct{}
	at      *metadatav1.Position // to which the subscription has come; nil: nothing is known
}

// shelved is what readers see.
type shelved struct {
	names tables
	ids   cow.Set[byID]
}

// byID is a table by its id.
type byID struct {
	id    uint64
	table *table // nil in questions
}

// loading is a load that has begun, and what has changed since.
type loading struct {
	changed []events.Subject
	useless bool // what it brings is not put on the shelf
}

// maxChangedMeanwhile bounds what is remembered for a load; one that takes longer is not
// put on the shelf.
const maxChangedMeanwhile = 256

func newShelf(most int) *shelf {
	s := &shelf{most: most, loading: make(map[*loading]struct{})}
	s.clear()
	return s
}

// clear takes everything off. The lock is held, or nobody else has the shelf yet.
func (s *shelf) clear() {
	ids := cow.New(func(a, b byID) bool { return a.id < b.id })
	ids.Freeze()
	s.shown.Store(&shelved{ids: ids})
	s.ring, s.places, s.at = nil, make(map[*table]int), nil
	for l := range s.loading {
		l.useless = true
	}
}

// find returns a table by name; nil: it is not on the shelf.
func (s *shelf) find(namespace, name string) *metadatav1.TableSchema {
	t := s.shown.Load().names.find(namespace, name)
	if t == nil {
		return nil
	}
	return t.decoded()
}

// findID returns a table by id; nil: it is not on the shelf.
func (s *shelf) findID(id uint64) *metadatav1.TableSchema {
	found, ok := s.shown.Load().ids.Get(byID{id: id})
	if !ok {
		return nil
	}
	return found.table.decoded()
}

// revision returns the schema revision to which the subscription has come in a position's
// life of the cluster; 0: that is not known.
func (s *shelf) revision(p *metadatav1.Position) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.GetClusterId() != p.GetClusterId() || s.at.GetRecoveryEpoch() != p.GetRecoveryEpoch() {
		return 0
	}
	return s.at.GetSchemaRevision()
}

// begin begins a load; end has to follow.
func (s *shelf) begin() *loading {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &loading{useless: s.at == nil}
	s.loading[l] = struct{}{}
	return l
}

// end ends a load, with what it has brought, if anything.
func (s *shelf) end(l *loading, m *metadatav1.TableSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loading, l)
	if m == nil || l.useless || slices.ContainsFunc(l.changed, func(c events.Subject) bool { return isAbout(c, m) }) {
		return
	}
	s.put(m)
}

// isAbout reports whether a change to a subject may have changed a table.
func isAbout(c events.Subject, m *metadatav1.TableSchema) bool {
	return c.ID == m.GetTableId() || c.Namespace == m.GetNamespace() && c.Name == m.GetName()
}

// put puts a table on the shelf. The lock is held.
func (s *shelf) put(m *metadatav1.TableSchema) {
	s.takeOff(events.TableSubject(m))
	if len(s.ring) >= s.most {
		s.remove(s.ring[rand.IntN(len(s.ring))])
	}
	t := &table{hash: hashOf(m.GetNamespace(), m.GetName()), namespace: m.GetNamespace(), name: m.GetName()}
	t.message.Store(m)
	s.places[t] = len(s.ring)
	s.ring = append(s.ring, t)
	s.change(func(next *shelved) {
		next.names = next.names.withTable(new(edit), t)
		next.ids.Put(byID{m.GetTableId(), t})
	})
}

// takeOff takes off what a change to a subject may have changed. The lock is held.
func (s *shelf) takeOff(c events.Subject) {
	shown := s.shown.Load()
	if t := shown.names.find(c.Namespace, c.Name); t != nil {
		s.remove(t)
	}
	if found, ok := s.shown.Load().ids.Get(byID{id: c.ID}); ok {
		s.remove(found.table)
	}
}

func (s *shelf) remove(t *table) {
	last := s.ring[len(s.ring)-1]
	s.places[last] = s.places[t]
	s.ring[s.places[t]] = last
	s.ring = s.ring[:len(s.ring)-1]
	delete(s.places, t)
	s.change(func(next *shelved) {
		next.names = next.names.without(new(edit), t.namespace, t.name)
		next.ids.Delete(byID{id: t.decoded().GetTableId()})
	})
}

func (s *shelf) change(how func(*shelved)) {
	next := *s.shown.Load()
	how(&next)
	next.ids.Freeze()
	s.shown.Store(&next)
}

// take takes a frame of the subscription. The error is of what this build does not know.
func (s *shelf) take(frame follow.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := frame.Bookmark(); p != nil {
		s.at = p
	}
	_, changes := frame.Changes()
	for _, change := range changes {
		sealed, err := change.Sealed()
		if err != nil {
			return err
		}
		for _, e := range sealed.Events() {
			for _, subject := range events.Subjects(e.Message()) {
				if subject.Kind == metadatav1.ObjectKind_OBJECT_KIND_TABLE {
					s.noteChange(subject)
				}
			}
		}
		if s.at != nil {
			s.at = &metadatav1.Position{
				ClusterId: s.at.GetClusterId(), RecoveryEpoch: s.at.GetRecoveryEpoch(), SchemaRevision: change.Revision(),
			}
		}
	}
	return nil
}

func (s *shelf) noteChange(c events.Subject) {
	s.takeOff(c)
	for l := range s.loading {
		if l.useless = l.useless || len(l.changed) == maxChangedMeanwhile; !l.useless {
			l.changed = append(l.changed, c)
		}
	}
}

// newChanges is of a subscription that says what changes in the schema from now on.
func (c *Cache) newChanges() *follow.Resumption {
	request := &metadatav1.SubscribeRequest{
		Start:                  &metadatav1.SubscribeRequest_Latest{Latest: true},
		Filter:                 &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
		BookmarkIntervalMillis: uint32(c.options.BookmarkInterval.Milliseconds()),
		FailOnGap:              true, // to look again at what is asked for is as good as the changes
	}
	return follow.NewResumption(request, len(c.client.endpoints), judge)
}

// keepShelf follows the changes of the schema until the context ends.
func (c *Cache) keepShelf(ctx context.Context) {
	for pause := newReloadPause(); ctx.Err() == nil; sleep(ctx, pause.NextBackOff()) {
		var why error
		c.changes.run(ctx, func(frame follow.Frame, err error) bool {
			if err == nil {
				err = c.shelf.take(frame)
			}
			if err != nil {
				why = err
				return false
			}
			pause.Reset()
			c.tookShelf()
			return true
		})
		c.shelf.mu.Lock()
		c.shelf.clear()
		c.shelf.mu.Unlock()
		c.changes.resumption = c.newChanges()
		if ctx.Err() == nil {
			c.client.log.Warn("the cache forgets its tables and follows them anew", "error", why)
		}
	}
}

// tookShelf shows how far the shelf has come.
func (c *Cache) tookShelf() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil {
		return
	}
	if now := c.shelf.revision(c.view.position); now > c.view.position.GetSchemaRevision() {
		next := *c.view
		c.show(&next)
		if c.options.MaxStaleness > 0 {
			c.settle()
		}
	}
}
