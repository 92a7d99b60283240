package follow

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Mirror folds the frames of a subscription to everything into models: with the
// members' fold, snapshots by way of the records of their checkpoints.
//
// What it shows never goes back. A snapshot is taken over when it is complete,
// belongs to the same life of the cluster or a later one, and is not older than
// what is shown; until then it is folded on beside.
type Mirror struct {
	schema   side[*schema.Model]
	topology side[*projections.TopologyModel]
	// position is that of what is shown; nil: nothing is.
	position *metadatav1.Position
	// ahead is the position of the last bookmark, if what it says is not shown.
	ahead  *metadatav1.Position
	folded folded // by the last step
}

// NewMirror returns a Mirror that shows nothing.
func NewMirror() *Mirror {
	return &Mirror{
		schema:   side[*schema.Model]{stream: schemaStream},
		topology: side[*projections.TopologyModel]{stream: topologyStream},
	}
}

// Step is StepFrame for a frame that is decoded already.
func (m *Mirror) Step(frame *metadatav1.SubscribeResponse) (changed bool, err error) {
	return m.StepFrame(FrameOf(frame))
}

// StepFrame takes the next frame. changed says that something else is shown than
// before. After an error nothing shown is to be trusted.
func (m *Mirror) StepFrame(frame Frame) (changed bool, err error) {
	m.folded = folded{}
	if frame.message == nil {
		return m.changes(frame)
	}
	switch f := frame.message.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Reset_:
		return false, m.reset(f.Reset_.GetStream())
	case *metadatav1.SubscribeResponse_Snapshot:
		s, err := m.side(f.Snapshot.GetStream())
		if err != nil {
			return false, err
		}
		if !s.restoring() {
			m.ahead = nil // of which life of the cluster it is, a bookmark will say
		}
		return false, s.restore(f.Snapshot)
	case *metadatav1.SubscribeResponse_Changes:
		return m.changes(frame)
	case *metadatav1.SubscribeResponse_Bookmark:
		return m.bookmark(f.Bookmark.GetPosition())
	}
	return false, &events.UnsupportedError{What: "a kind of frame"}
}

// changes folds a frame of changes.
func (m *Mirror) changes(frame Frame) (changed bool, err error) {
	s, err := m.side(frame.stream)
	if err != nil {
		return false, err
	}
	shown := !s.loading()
	changes, err := s.fold(frame.changes)
	if err != nil {
		return false, err
	}
	if shown {
		m.folded = folded{frame.stream, changes}
	}
	return m.show(), nil
}

// folded is what the last step has folded into what was shown of a stream.
type folded struct {
	stream  metadatav1.Stream
	changes []*events.Change
}

// Folded returns the changes by which what is shown of a stream differs from what was
// shown before the last step; none if it does not differ by changes alone.
func (m *Mirror) Folded(s metadatav1.Stream) []*events.Change {
	if m.folded.stream != s {
		return nil
	}
	return m.folded.changes
}

// Current reports whether something is shown and it is all that has come.
func (m *Mirror) Current() bool {
	return m.position != nil && !m.schema.loading() && !m.topology.loading()
}

// Position returns the position of what is shown; nil if nothing is. It is
// replaced, never changed: do not change it either.
func (m *Mirror) Position() *metadatav1.Position { return m.position }

// Schema returns the schema at Position; nil if nothing is shown.
func (m *Mirror) Schema() *schema.Model { return m.schema.shown.model }

// Topology returns the topology at Position; nil if nothing is shown.
func (m *Mirror) Topology() *projections.TopologyModel { return m.topology.shown.model }

// sideways is a side whose model does not matter.
type sideways interface {
	restore(*metadatav1.SnapshotChunk) error
	fold([]Change) ([]*events.Change, error)
	reset()
	restoring() bool
	loading() bool
	at() (shown, newest uint64, ready bool)
	replace()
	keep()
}

// sides returns the sides in the order of streams.
func (m *Mirror) sides() [len(Streams)]sideways { return [...]sideways{&m.schema, &m.topology} }

func (m *Mirror) side(s metadatav1.Stream) (sideways, error) {
	for i, known := range Streams {
		if s == known {
			return m.sides()[i], nil
		}
	}
	return nil, &events.UnsupportedError{What: fmt.Sprintf("stream %d", s)}
}

func (m *Mirror) reset(s metadatav1.Stream) error {
	m.ahead = nil
	if s != 0 {
		one, err := m.side(s)
		if err == nil {
			one.reset()
		}
		return err
	}
	for _, one := range m.sides() {
		one.reset()
	}
	return nil
}

// bookmark takes the position of all that has come so far.
func (m *Mirror) bookmark(p *metadatav1.Position) (changed bool, err error) {
	for i, one := range m.sides() {
		_, newest, ready := one.at()
		if said := RevisionOf(p, Streams[i]); !ready || said != newest {
			return false, fmt.Errorf("client: a bookmark is at revision %d of %v, what came is at %d (complete: %v)",
				said, Streams[i], newest, ready)
		}
	}
	if m.position != nil && p.GetClusterId() != m.position.GetClusterId() {
		return false, fmt.Errorf("client: cluster %s answers where cluster %s did: name endpoints of one cluster only",
			p.GetClusterId(), m.position.GetClusterId())
	}
	if p.GetRecoveryEpoch() < m.position.GetRecoveryEpoch() && !(m.schema.loading() && m.topology.loading()) {
		return false, fmt.Errorf("client: recovery epoch %d answers where epoch %d did, without a reset: the member was not restored",
			p.GetRecoveryEpoch(), m.position.GetRecoveryEpoch())
	}
	m.ahead = proto.CloneOf(p)
	return m.show(), nil
}

// show takes over what has come, as far as it does not lead back.
func (m *Mirror) show() (changed bool) {
	switch {
	case m.ahead == nil: // it is not known yet which life of the cluster this is
		return m.advance(m.position)
	case m.position == nil || m.ahead.GetRecoveryEpoch() > m.position.GetRecoveryEpoch():
		for _, one := range m.sides() {
			one.replace()
		}
		m.position = proto.CloneOf(m.ahead)
		m.advance(m.position)
		return true
	case m.ahead.GetRecoveryEpoch() < m.position.GetRecoveryEpoch():
		return false
	}
	for _, one := range m.sides() {
		shown, newest, ready := one.at()
		switch {
		case !one.loading() || !ready || newest < shown:
		case newest > shown:
			one.replace()
		default: // the same; readers may have decoded what is shown
			one.keep()
		}
	}
	return m.advance(m.position)
}

// advance moves the position to what the sides show.
func (m *Mirror) advance(p *metadatav1.Position) (changed bool) {
	if p == nil {
		return false
	}
	next := proto.CloneOf(p)
	for i, one := range m.sides() {
		shown, _, _ := one.at()
		changed = changed || shown != RevisionOf(p, Streams[i])
		SetRevision(next, Streams[i], shown)
	}
	m.position = next
	return changed
}

// side is one stream of a mirror.
type side[D projections.Domain[D]] struct {
	stream metadatav1.Stream
	shown  version[D]
	// coming replaces shown when it is complete and not older.
	coming   *version[D]
	restorer projections.Restorer[D] // of a snapshot that is not complete
	epoch    uint64                  // highest of a node in it
	revision uint64                  // of it
	// waiting says that a snapshot has to come first.
	waiting bool
}

// version is a model at a revision.
type version[D any] struct {
	model    D
	revision uint64
	ready    bool
}

func (s *side[D]) restoring() bool { return s.restorer != nil }

func (s *side[D]) loading() bool { return s.waiting || s.restorer != nil || s.coming != nil }

// at returns the revision that is shown and that of what came last.
func (s *side[D]) at() (shown, newest uint64, ready bool) {
	switch {
	case s.waiting || s.restorer != nil:
		return s.shown.revision, 0, false
	case s.coming != nil:
		return s.shown.revision, s.coming.revision, true
	}
	return s.shown.revision, s.shown.revision, s.shown.ready
}

// replace shows what has come.
func (s *side[D]) replace() {
	if s.coming != nil {
		s.shown, s.coming = *s.coming, nil
	}
}

// keep shows what is shown, though something else has come.
func (s *side[D]) keep() { s.coming = nil }

func (s *side[D]) reset() { s.waiting, s.restorer, s.coming = true, nil, nil }

// restore takes a chunk of a snapshot.
func (s *side[D]) restore(chunk *metadatav1.SnapshotChunk) error {
	if level := chunk.GetFeatureLevel(); level > events.FeatureLevel {
		return &events.UnsupportedError{What: fmt.Sprintf("feature level %d of %v", level, s.stream)}
	}
	if s.restorer == nil {
		s.reset()
		s.restorer, s.revision, s.epoch = s.shown.model.Restorer(), chunk.GetRevision(), 0
		s.waiting = false
	}
	if chunk.GetRevision() != s.revision {
		return fmt.Errorf("client: a snapshot of %v at revision %d goes on at revision %d", s.stream, s.revision, chunk.GetRevision())
	}
	for record, err := range records(chunk, &s.epoch) {
		if err == nil {
			err = s.restorer.Restore(record)
		}
		if err != nil {
			return fmt.Errorf("client: a snapshot of %v: %w", s.stream, err)
		}
	}
	if !chunk.GetLast() {
		return nil
	}
	model, err := s.restorer.Done()
	if err != nil {
		return fmt.Errorf("client: a snapshot of %v: %w", s.stream, err)
	}
	s.restorer, s.coming = nil, &version[D]{model, s.revision, true}
	return nil
}

// fold applies changes to what came last, and returns them.
func (s *side[D]) fold(changes []Change) ([]*events.Change, error) {
	to := &s.shown
	if s.coming != nil {
		to = s.coming
	}
	if s.waiting || s.restorer != nil || !to.ready {
		return nil, fmt.Errorf("client: changes of %v came before its snapshot was complete", s.stream)
	}
	next := to.revision
	whole := make([]*events.Change, 0, len(changes))
	for _, change := range changes {
		if change.Partial() {
			return nil, fmt.Errorf("client: change %d is not a whole change of %v", change.Revision(), s.stream)
		}
		c, err := change.Sealed()
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		next++
		switch {
		case c.Revision() != next:
			return nil, fmt.Errorf("client: change %d of %v came where change %d belongs", c.Revision(), s.stream, next)
		case c.Stream() != s.stream:
			return nil, fmt.Errorf("client: change %d is not a change of %v", c.Revision(), s.stream)
		}
		whole = append(whole, c)
	}
	model, err := foldAll(to.model, whole)
	if err != nil {
		return nil, err
	}
	to.model, to.revision = model, next
	return whole, nil
}

// foldAll turns the fold's panic, which ends a member, into an error.
func foldAll[D projections.Domain[D]](model D, changes []*events.Change) (next D, err error) {
	defer func() {
		switch failed := recover().(type) {
		case nil:
		case error:
			var fold *projections.FoldError
			if !errors.As(failed, &fold) {
				panic(failed)
			}
			err = fmt.Errorf("client: %w", fold)
		default:
			panic(failed)
		}
	}()
	return model.Fold(changes...), nil
}
