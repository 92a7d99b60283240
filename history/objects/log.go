package objects

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/diff"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Log reads what happened to the objects of one stream.
type Log struct {
	source history.Source
	index  *Index
}

// NewLog returns the log of a source's objects. The index has to be of the same source.
func NewLog(source history.Source, index *Index) *Log { return &Log{source, index} }

// Version is one change of an object. Its messages are shared: read them, never change
// them.
type Version struct {
	Change *events.Change
	Events []*metadatav1.Event // those about the object, in order
	Before proto.Message       // the object before the change; nil: it did not exist, or is not known
	Known  bool                // Before is known
	After  proto.Message       // the object after the change; nil: it does not exist
	shown  proto.Message       // the last state that the events show
}

// Message returns the version as the contract has it.
func (v Version) Message() *metadatav1.ObjectChange {
	d := diff.Object(v.Before, v.After)
	switch {
	case !v.Known:
		d = diff.Object(nil, v.shown)
		d.Diff = metadatav1.DiffKind_DIFF_KIND_CHANGED
		if v.After == nil {
			d.Diff = metadatav1.DiffKind_DIFF_KIND_REMOVED
		}
	case v.Before == nil && v.After == nil: // one change made it and removed it again
		d = diff.Object(nil, v.shown)
		d.Diff, d.Fields = metadatav1.DiffKind_DIFF_KIND_UNSPECIFIED, nil
	}
	return &metadatav1.ObjectChange{Change: history.Info(v.Change), Events: v.Events, Diff: d}
}

// version returns what a change makes of an object; false if it is not about the object.
func (o Object) version(h hit) (Version, bool) {
	v := Version{Change: h.change}
	for _, e := range h.events {
		m := e.Message()
		s := stepOf(m)
		before, after := o.find(s.before), o.find(s.after)
		if before == nil && after == nil {
			continue // another object with the same tag
		}
		if v.Events == nil {
			v.Before, v.Known = before, s.known
		}
		v.Events, v.After, v.shown = append(v.Events, m), after, after
		if after == nil {
			v.shown = before
		}
	}
	return v, v.Events != nil
}

// versions yields the versions of an object within a span, without looking further for
// what they were before.
func (l *Log) versions(ctx context.Context, o Object, within span, bounds history.Bounds, newestFirst bool) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		for h, err := range l.index.changes(ctx, o.tag(), within, bounds, newestFirst) {
			if err != nil {
				yield(Version{}, err)
				return
			}
			v, ok := o.version(h)
			if ok && !yield(v, nil) {
				return
			}
			if ok && o.unique() && v.ends(newestFirst) {
				return
			}
		}
	}
}

// ends reports whether an object that is the only one of its name ever has no older
// versions, or no newer ones.
func (v Version) ends(older bool) bool {
	if older {
		return v.Known && v.Before == nil
	}
	return v.After == nil
}

// Versions yields the versions of an object from a first to a last revision, as far as the
// source has them. Before is known of all but the oldest one that the source has. An error
// is the last thing that it yields.
func (l *Log) Versions(ctx context.Context, o Object, first, last uint64, newestFirst bool) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		bounds, err := l.source.Bounds(ctx)
		switch {
		case err != nil:
			yield(Version{}, err)
		case newestFirst:
			l.backward(ctx, o, span{first, last}, bounds, yield)
		default:
			l.forward(ctx, o, span{first, last}, bounds, yield)
		}
	}
}

// backward yields versions newest first. The state before a version is the one after the
// next older one, which may lie before the first revision wanted.
func (l *Log) backward(ctx context.Context, o Object, within span, bounds history.Bounds, yield func(Version, error) bool) {
	var newer Version // waits for its state before
	waits := false
	for v, err := range l.versions(ctx, o, span{bounds.First, within.last}, bounds, true) {
		if err != nil {
			yield(Version{}, err)
			return
		}
		if waits {
			newer.Before, newer.Known, waits = v.After, true, false
			if !yield(newer, nil) {
				return
			}
		}
		if v.Change.Revision() < within.first {
			return
		}
		if !v.Known {
			newer, waits = v, true
		} else if !yield(v, nil) {
			return
		}
	}
	if waits {
		yield(newer, nil)
	}
}

// forward yields versions oldest first.
func (l *Log) forward(ctx context.Context, o Object, within span, bounds history.Bounds, yield func(Version, error) bool) {
	var older Version
	for v, err := range l.versions(ctx, o, within, bounds, false) {
		if err == nil && !v.Known && older.Change == nil {
			older, _, err = l.newest(ctx, o, v.Change.Revision()-1, bounds)
		}
		if err != nil {
			yield(Version{}, err)
			return
		}
		if !v.Known && older.Change != nil {
			v.Before, v.Known = older.After, true
		}
		older = v
		if !yield(v, nil) {
			return
		}
	}
}

// newest returns the last version of an object at or before a revision; false if the
// source has none.
func (l *Log) newest(ctx context.Context, o Object, revision uint64, bounds history.Bounds) (Version, bool, error) {
	for v, err := range l.versions(ctx, o, span{bounds.First, revision}, bounds, true) {
		return v, err == nil, err
	}
	return Version{}, false, nil
}

// Query selects changes of an object.
type Query struct {
	Object      Object
	First, Last uint64 // revisions, both included
	NewestFirst bool
	Limit       int // at most so many changes
	MaxBytes    int // at most so many bytes of messages, but at least one change whatever its size
}

// Page returns the changes that a query selects, as far as the source has them, and the
// revision of the first one that did not fit: First, or with NewestFirst Last, of the next
// query; 0 if there is none.
func (l *Log) Page(ctx context.Context, q Query) (changes []*metadatav1.ObjectChange, next uint64, err error) {
	size := 0
	for v, err := range l.Versions(ctx, q.Object, q.First, q.Last, q.NewestFirst) {
		if err != nil {
			return nil, 0, err
		}
		if len(changes) > 0 && len(changes) >= q.Limit {
			return changes, v.Change.Revision(), nil
		}
		m := v.Message()
		size += proto.Size(m)
		if len(changes) > 0 && size > q.MaxBytes {
			return changes, v.Change.Revision(), nil
		}
		changes = append(changes, m)
	}
	return changes, 0, nil
}

// Resolve returns the object that a reference names. A table by name is the one that had
// the name at a revision, or else had it last before; NOT_FOUND if none had.
func (l *Log) Resolve(ctx context.Context, ref *metadatav1.ObjectRef, revision uint64) (Object, error) {
	o, namespace, name, err := named(ref)
	if err != nil || name == "" {
		return o, err
	}
	bounds, err := l.source.Bounds(ctx)
	if err != nil {
		return o, err
	}
	for h, err := range l.index.changes(ctx, tableTag(namespace, name), span{bounds.First, revision}, bounds, true) {
		if err != nil {
			return o, err
		}
		for _, e := range slices.Backward(h.events) { // the last one that says something of the name
			for _, s := range events.Subjects(e.Message()) {
				if s.Kind == o.Kind && isNamed(s, namespace, name) {
					o.ID = s.ID
					return o, nil
				}
			}
		}
	}
	return o, l.unknown(ctx, bounds, tableNotFound(namespace, name, revision))
}

// isNamed reports whether a table has a name.
func isNamed(table events.Subject, namespace, name string) bool {
	return cmp.Or(table.Namespace, public) == namespace && table.Name == name
}

// unknown returns why nothing was found of an object: what the source does not have may
// say more.
func (l *Log) unknown(ctx context.Context, bounds history.Bounds, notFound error) error {
	if bounds.First > 1 {
		return history.Earlier(ctx, l.source, bounds)
	}
	return notFound
}

// AsOf returns the version of an object that was the newest one at a revision: After is the
// object as it was, and Change what had made it so. A table by name is the one that had the
// name then. Of an object that did not exist the error is NOT_FOUND, of a revision that the
// source has not come to FUTURE_REVISION. If nothing that the source has is about the
// object, but older changes might be, the error is HISTORY_TRIMMED or what the source says
// of them: then only a model at that revision knows.
func (l *Log) AsOf(ctx context.Context, ref *metadatav1.ObjectRef, revision uint64) (Version, error) {
	bounds, err := l.source.Bounds(ctx)
	if err != nil {
		return Version{}, err
	}
	if revision > bounds.Last {
		return Version{}, history.Future(l.source.Origin().Stream, revision, bounds.Last)
	}
	o, err := l.Resolve(ctx, ref, revision)
	if err != nil {
		return Version{}, err
	}
	v, found, err := l.newest(ctx, o, revision, bounds)
	switch {
	case err != nil:
		return Version{}, err
	case !found:
		return Version{}, l.unknown(ctx, bounds, o.notFound(revision))
	case v.After == nil:
		return Version{}, o.notFound(revision)
	}
	if table, ok := v.After.(*metadatav1.TableSchema); ok {
		_, namespace, name, _ := named(ref)
		if name != "" && !isNamed(events.TableSubject(table), namespace, name) { // it had the name before
			return Version{}, tableNotFound(namespace, name, revision)
		}
	}
	return v, nil
}
