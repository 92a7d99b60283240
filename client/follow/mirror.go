package follow

import (
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Mirror folds the frames of a subscription to whole streams into models: with the
// members' fold, snapshots by way of the records of their checkpoints.
//
// What it shows never goes back. A snapshot is taken over when it is complete,
// belongs to the same life of the cluster or a later one, and is not older than
// what is shown; until then it is folded on beside. Another cluster is taken over only
// after all streams were reset.
type Mirror struct {
	followed [len(Streams)]bool
	schema   side[*schema.Model]
	topology side[*projections.TopologyModel]
	// position is that of what is shown; nil: nothing is.
	position *metadatav1.Position
	// ahead is the position of the last bookmark, if what it says is not shown.
	ahead  *metadatav1.Position
	folded folded // by the last step
}

// NewMirror returns a Mirror of some streams, or of all, that shows nothing.
func NewMirror(streams ...metadatav1.Stream) *Mirror {
	m := &Mirror{
		schema:   side[*schema.Model]{stream: schemaStream},
		topology: side[*projections.TopologyModel]{stream: topologyStream},
	}
	for i, s := range Streams {
		m.followed[i] = len(streams) == 0 || slices.Contains(streams, s)
	}
	return m
}

// Step is StepFrame for a frame that is decoded already.
func (m *Mirror) Step(frame *metadatav1.SubscribeResponse) (changed bool, err error) {
	return m.StepFrame(FrameOf(frame))
}

// StepFrame takes the next frame. changed says that something else is shown than
// before. After an error nothing shown is to be trusted; see Distrust.
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

// Distrust has all streams begin anew, with snapshots of another subscription, after an
// error of StepFrame: what is shown is not Trusted until they have replaced it. They never
// lead back behind it.
func (m *Mirror) Distrust() {
	m.ahead = nil
	for _, one := range m.sides() {
		one.reset()
		one.distrust()
	}
}

// Trusted reports whether something is shown, and none of it from before Distrust.
func (m *Mirror) Trusted() bool {
	return m.position != nil && !m.schema.suspect && !m.topology.suspect
}

// Position returns the position of what is shown; nil if nothing is. Of streams that are
// not followed it repeats what the service says. It is replaced, never changed: do not
// change it either.
func (m *Mirror) Position() *metadatav1.Position { return m.position }

// Schema returns the schema at Position; nil if nothing is shown, or it is not followed.
func (m *Mirror) Schema() *schema.Model { return m.schema.shown.model }

// Topology returns the topology at Position; nil if nothing is shown, or it is not followed.
func (m *Mirror) Topology() *projections.TopologyModel { return m.topology.shown.model }

// sideways is a side whose model does not matter.
type sideways interface {
	restore(*metadatav1.SnapshotChunk) error
	fold([]Change) ([]*events.Change, error)
	reset()
	distrust()
	suspected() bool
	restoring() bool
	loading() bool
	at() (shown, newest uint64, ready bool)
	replace()
	keep()
}

// sides yields the sides of the streams that are followed, by the index of their stream.
func (m *Mirror) sides() iter.Seq2[int, sideways] {
	return func(yield func(int, sideways) bool) {
		for i, one := range [len(Streams)]sideways{&m.schema, &m.topology} {
			if m.followed[i] && !yield(i, one) {
				return
			}
		}
	}
}

func (m *Mirror) side(s metadatav1.Stream) (sideways, error) {
	for i, one := range m.sides() {
		if s == Streams[i] {
			return one, nil
		}
	}
	return nil, &events.UnsupportedError{What: fmt.Sprintf("stream %d", s)}
}

// forgotten reports whether all streams were reset and nothing has replaced them yet.
func (m *Mirror) forgotten() bool {
	for _, one := range m.sides() {
		if !one.loading() {
			return false
		}
	}
	return true
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
	if m.position != nil && p.GetClusterId() != m.position.GetClusterId() && !m.forgotten() {
		return false, fmt.Errorf("client: cluster %s answers where cluster %s did: name endpoints of one cluster only",
			p.GetClusterId(), m.position.GetClusterId())
	}
	if p.GetRecoveryEpoch() < m.position.GetRecoveryEpoch() && !m.forgotten() {
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
	case m.position == nil || m.ahead.GetClusterId() != m.position.GetClusterId() ||
		m.ahead.GetRecoveryEpoch() > m.position.GetRecoveryEpoch():
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
		case newest > shown || one.suspected():
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
