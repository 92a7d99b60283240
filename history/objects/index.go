package objects

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
)

// indexBytes is how many bytes of changes an Index reads at a time.
const indexBytes = 1 << 20

// Index finds the changes that have a tag. The marks of whole segments come from Marks, and
// are put there when a segment is read for the first time. Of the newest segment, and of
// the oldest one if the source has only a part of it, the marks are kept in memory and
// brought up to date when they are asked for.
type Index struct {
	source history.Source
	marks  Marks
	size   uint64                // revisions of a segment
	most   int                   // marks of a segment
	parts  chan map[uint64]*part // by segment; whoever reads changes holds it
}

// part is the marks of the revisions of a segment from first up to before next.
type part struct {
	first, next uint64
	marks       []Mark // by revision, but for those of what was damaged at first
	crowded     bool   // there are too many, and none are kept
	// damaged are the revisions that could not be read because they are damaged, ascending: each may
	// have any tag, until it is read after all.
	damaged []uint64
}

// NewIndex returns an index of a source's changes.
func NewIndex(source history.Source, marks Marks) *Index {
	return NewSegmentedIndex(source, marks, SegmentRevisions)
}

// NewSegmentedIndex is NewIndex with segments of another number of revisions, for marks
// that are kept by it: short histories have whole segments then.
func NewSegmentedIndex(source history.Source, marks Marks, size uint64) *Index {
	x := &Index{source: source, marks: marks, size: size, most: MaxSegmentMarks, parts: make(chan map[uint64]*part, 1)}
	x.parts <- make(map[uint64]*part)
	return x
}

// span is a range of revisions, both ends included.
type span struct{ first, last uint64 }

func (s span) empty() bool { return s.first > s.last }

func (s span) and(other span) span {
	return span{max(s.first, other.first), min(s.last, other.last)}
}

// segmentOf returns the segment of a revision.
func (x *Index) segmentOf(revision uint64) uint64 { return revision / x.size }

// spanOf returns the revisions of a segment. Revisions start at 1.
func (x *Index) spanOf(segment uint64) span {
	first := segment * x.size
	return span{max(first, 1), first + x.size - 1}
}

// revisions yields the revisions within a span that have a tag, as far as the bounds have
// them, and those that are damaged, which may have it. It looks at one segment after the other, when it gets there.
func (x *Index) revisions(ctx context.Context, tag uint64, within span, bounds history.Bounds, newestFirst bool) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		within = within.and(span{max(bounds.First, 1), bounds.Last})
		for !within.empty() {
			segment := x.segmentOf(within.first)
			if newestFirst {
				segment = x.segmentOf(within.last)
			}
			here := within.and(x.spanOf(segment))
			found, err := x.find(ctx, segment, tag, bounds)
			if err != nil {
				yield(0, err)
				return
			}
			if newestFirst {
				slices.Reverse(found)
				within.last = here.first - 1
			} else {
				within.first = here.last + 1
			}
			for _, revision := range found {
				if revision >= here.first && revision <= here.last && !yield(revision, nil) {
					return
				}
			}
		}
	}
}

// find returns the revisions of a segment that have a tag, ascending, in memory of the
// caller's own.
func (x *Index) find(ctx context.Context, segment, tag uint64, bounds history.Bounds) ([]uint64, error) {
	found, complete, err := x.marks.ReadMarks(segment, tag)
	if err != nil || complete {
		return found, err
	}
	found, crowded, err := x.findInPart(ctx, segment, tag, bounds)
	if crowded {
		return x.search(ctx, x.spanOf(segment).and(span{bounds.First, bounds.Last}), tag)
	}
	return found, err
}

// findInPart is find for a segment that was not complete, unless it turns out to be crowded.
func (x *Index) findInPart(ctx context.Context, segment, tag uint64, bounds history.Bounds) (found []uint64, crowded bool, err error) {
	parts, release, err := x.hold(ctx, bounds)
	if err != nil {
		return nil, false, err
	}
	defer release()
	found, complete, err := x.marks.ReadMarks(segment, tag) // somebody may have completed it meanwhile
	if err != nil || complete {
		return found, false, err
	}
	p, err := x.read(ctx, parts, segment, bounds)
	if err != nil && !errors.Is(err, ErrFull) {
		return nil, false, err
	}
	found = append(found[:0], p.damaged...)
	for _, m := range p.marks {
		if m.Tag == tag {
			found = append(found, m.Seq)
		}
	}
	slices.Sort(found)
	return found, p.crowded, nil
}

// search finds the revisions with a tag by reading all changes.
func (x *Index) search(ctx context.Context, here span, tag uint64) (found []uint64, err error) {
	var tags []uint64
	err = x.scan(ctx, here, func(revision uint64, c *events.Change) bool {
		if c != nil {
			tags = tagsInto(tags, c)
		}
		if c == nil || slices.Contains(tags, tag) {
			found = append(found, revision)
		}
		return true
	})
	return found, err
}

// hold waits until nobody else reads changes for the index.
func (x *Index) hold(ctx context.Context, bounds history.Bounds) (parts map[uint64]*part, release func(), err error) {
	select {
	case parts = <-x.parts:
		return parts, func() { x.forget(parts, bounds); x.parts <- parts }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// Extend completes the newest segment that can be and is not yet, and reports whether
// there was one, and room for it: call it again then, perhaps after a pause. Without it, whoever
// asks first for something of a segment waits until that has been read.
func (x *Index) Extend(ctx context.Context) (completed bool, err error) {
	bounds, err := x.source.Bounds(ctx)
	if err != nil {
		return false, err
	}
	parts, release, err := x.hold(ctx, bounds)
	if err != nil {
		return false, err
	}
	defer release()
	for last := bounds.Last; last >= max(bounds.First, 1); last = x.spanOf(x.segmentOf(last)).first - 1 {
		segment := x.segmentOf(last)
		if here := x.spanOf(segment); here.first < bounds.First || here.last > bounds.Last {
			continue
		}
		known := parts[segment]
		if known != nil && known.crowded {
			continue
		}
		_, complete, err := x.marks.ReadMarks(segment, 0)
		if err == nil && !complete {
			var p *part
			if p, err = x.read(ctx, parts, segment, bounds); err == nil && p == known && len(p.damaged) > 0 {
				continue // as before: those before it can be completed
			}
		}
		switch {
		case errors.Is(err, ErrFull):
			return false, nil
		case err != nil || !complete:
			return err == nil, err
		}
	}
	return false, nil
}

// read returns the marks of a segment by reading its changes, as far as the bounds have
// them and it has not read them before. Those of a whole segment are put, unless it is crowded or
// something in it is damaged.
func (x *Index) read(ctx context.Context, parts map[uint64]*part, segment uint64, bounds history.Bounds) (*part, error) {
	whole := x.spanOf(segment)
	here := whole.and(span{bounds.First, bounds.Last})
	p := parts[segment]
	// Never read, or the source was filled in, or a gap came to be behind what was read.
	if p == nil || here.first < p.first || p.next < here.first {
		p = &part{first: here.first, next: here.first}
		parts[segment] = p
	}
	if err := x.retry(ctx, p, bounds.First); err != nil {
		return nil, err
	}
	if err := x.extend(ctx, p, here.last); err != nil {
		return nil, err
	}
	if p.crowded || len(p.damaged) > 0 || p.first > whole.first || p.next <= whole.last {
		return p, nil
	}
	delete(parts, segment)
	slices.SortFunc(p.marks, compareMarks)
	return p, x.marks.PutMarks(segment, p.marks)
}

// extend reads changes up to the last one wanted, or until they have too many marks.
func (x *Index) extend(ctx context.Context, p *part, last uint64) error {
	if p.crowded {
		return nil
	}
	var tags []uint64
	return x.scan(ctx, span{p.next, last}, func(revision uint64, c *events.Change) bool {
		if c == nil {
			p.damaged = append(p.damaged, revision)
		} else if tags = tagsInto(tags, c); !p.add(revision, tags, x.most) {
			return false
		}
		p.next++
		return true
	})
}

// retry reads again what was damaged, if it is still kept: it may have been replaced.
func (x *Index) retry(ctx context.Context, p *part, oldest uint64) error {
	before := p.damaged
	p.damaged = nil
	for i, revision := range before {
		if revision < oldest || p.crowded {
			continue
		}
		c, err := history.ReadOne(ctx, x.source, revision)
		switch {
		case err == nil:
			p.add(revision, Tags(c), x.most)
		case history.IsDamage(err):
			p.damaged = append(p.damaged, revision)
		default:
			p.damaged = append(p.damaged, before[i:]...)
			return err
		}
	}
	return nil
}

// add adds the marks of a change; false if there are too many.
func (p *part) add(revision uint64, tags []uint64, most int) bool {
	if len(p.marks)+len(tags) > most {
		p.marks, p.damaged, p.crowded = nil, nil, true
		return false
	}
	for _, tag := range tags {
		p.marks = append(p.marks, Mark{tag, revision})
	}
	return true
}

// scan reads the changes of a span while each returns true. Of a damaged revision there is no change.
func (x *Index) scan(ctx context.Context, here span, each func(revision uint64, c *events.Change) bool) error {
	for next := here.first; next <= here.last; {
		changes, err := x.source.Read(ctx, next, indexBytes)
		switch {
		case history.IsDamage(err) && ctx.Err() == nil:
			if !each(next, nil) {
				return nil
			}
			next++
			continue
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case len(changes) == 0:
			return history.Future(x.source.Origin().Stream, next, next-1)
		}
		for _, c := range changes[:min(uint64(len(changes)), here.last+1-next)] {
			if !each(next, c) {
				return nil
			}
			next++
		}
	}
	return nil
}

// forget drops what was read of other segments than the first and the last: that was cut
// short, and is read again when it is needed. One that is crowded or damaged is remembered while it
// is there.
func (x *Index) forget(parts map[uint64]*part, bounds history.Bounds) {
	first, last := x.segmentOf(bounds.First), x.segmentOf(bounds.Last)
	for segment, p := range parts {
		if segment < first || segment != first && segment != last && !p.crowded && len(p.damaged) == 0 {
			delete(parts, segment)
		}
	}
}

// changes yields the changes within a span that have a tag, with their events that have
// it, as far as the bounds have them. An error is the last thing that it yields.
func (x *Index) changes(ctx context.Context, tag uint64, within span, bounds history.Bounds, newestFirst bool) iter.Seq2[hit, error] {
	return func(yield func(hit, error) bool) {
		for revision, err := range x.revisions(ctx, tag, within, bounds, newestFirst) {
			var h hit
			if err == nil {
				h.change, err = history.ReadOne(ctx, x.source, revision)
			}
			if err != nil {
				yield(hit{}, err)
				return
			}
			h.events = tagged(h.change, tag)
			if len(h.events) == 0 { // it was damaged when it was indexed
				continue
			}
			if !yield(h, nil) {
				return
			}
		}
	}
}

// hit is a change with its events that have a tag.
type hit struct {
	change *events.Change
	events []events.Event
}

func tagged(c *events.Change, tag uint64) (found []events.Event) {
	var tags []uint64
	for _, e := range c.Events() {
		tags = appendTags(tags[:0], e)
		if slices.Contains(tags, tag) {
			found = append(found, e)
		}
	}
	return found
}
