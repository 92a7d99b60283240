package simulation

import (
	"context"
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// reader is a member for those who read the past: a stored.Member. Nothing happens while somebody
// reads, so that it never ends meanwhile, and nobody else is asked.
type reader struct{ m *member }

// Floor implements stored.Member.
func (r reader) Floor(s metadatav1.Stream) service.Floor {
	return r.m.run.service.replica.View().Model.Floor(s)
}

// Done implements stored.Member.
func (r reader) Done() <-chan struct{} { return nil }

// Ended implements stored.Member.
func (r reader) Ended() error { return errRefused }

// NameHolder implements stored.Member.
func (r reader) NameHolder(_ context.Context, gap *failure.Error) error { return gap }

// NameBaseHolder implements stored.Member.
func (r reader) NameBaseHolder(_ context.Context, gap *failure.Error, _ metadatav1.Stream, _ uint64) error {
	return gap
}

// inPieces is a source of which few changes are read at a time, as there are few.
type inPieces struct {
	history.Source
	bytes int
}

// Read implements history.Source.
func (p inPieces) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	return p.Source.Read(ctx, from, min(maxBytes, p.bytes))
}

// passedOver is told of a checkpoint of the past that cannot be read: it is dropped, as a member does
// that has others.
func (s *stream[D]) passedOver(d raftlog.Descriptor, err error) {
	if _, damaged := errors.AsType[*raftlog.DamageError](err); !damaged {
		s.m.w.violate("base", "member %d, %s: the checkpoint of revision %d cannot be read: %v", s.m.id, s.id, d.Seq, err)
		return
	}
	if err := s.m.store.DropArchived(s.group, d.Index); err != nil && !s.m.disk.failed(err) {
		s.m.w.violate("base", "member %d, %s: a damaged checkpoint is not dropped: %v", s.m.id, s.id, err)
	}
}

// pastMarks are the marks of an index on a member's disk. Segments are short here, for runs
// are: what is in one goes to the beginning of the storage's segment of that number.
type pastMarks struct {
	store raftlog.Storage
	group raftlog.GroupID
	size  uint64
}

// stored moves a revision of a segment to where the storage has it.
func (k pastMarks) stored(segment, revision uint64) uint64 {
	return revision - segment*k.size + segment*raftlog.MarkSegment
}

// ReadMarks implements objects.Marks.
func (k pastMarks) ReadMarks(segment, tag uint64) (seqs []uint64, complete bool, err error) {
	seqs, complete, err = k.store.ReadMarks(k.group, segment, tag)
	for i := range seqs {
		seqs[i] -= k.stored(segment, 0)
	}
	return seqs, complete, err
}

// PutMarks implements objects.Marks.
func (k pastMarks) PutMarks(segment uint64, marks []objects.Mark) error {
	all := make([]raftlog.Mark, len(marks))
	for i, m := range marks {
		all[i] = raftlog.Mark{Tag: m.Tag, Seq: k.stored(segment, m.Seq)}
	}
	err := k.store.PutMarks(k.group, segment, all)
	if errors.Is(err, raftlog.ErrFull) {
		return fmt.Errorf("%w: %w", objects.ErrFull, err)
	}
	return err
}
