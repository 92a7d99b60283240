package main

import (
	"context"
	"iter"
	"slices"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/objects"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// followed is what is followed: the changes that a selection selects, or of these what they made
// of an object.
type followed struct {
	selection *metadatav1.ChangeSelection
	object    *metadatav1.ObjectRef // nil: the changes as they are
}

// followed are what the query lists, for following it: a table by its id, whatever its name becomes.
func (q query) followed(ctx context.Context, p past.Past) (all []followed, err error) {
	for _, selection := range q.selections {
		all = append(all, followed{selection: selection})
	}
	for _, ref := range q.objects {
		selection := &metadatav1.ChangeSelection{Stream: objects.StreamOf(ref), Actor: q.actor}
		if ref, err = byID(ctx, p, ref); err != nil {
			return nil, err
		}
		all = append(all, followed{selection, ref})
	}
	return all, nil
}

// byID returns a table by its id, and every other object as it is.
func byID(ctx context.Context, p past.Past, ref *metadatav1.ObjectRef) (*metadatav1.ObjectRef, error) {
	if ref.GetTable().GetName() == "" {
		return ref, nil
	}
	for c, err := range kept(p.ObjectLog(ctx, ref, 0, 0)) {
		if err != nil {
			return nil, err
		}
		for _, e := range c.GetEvents() {
			for _, s := range events.Subjects(e) {
				return tableObject(&metadatav1.TableRef{TableId: s.ID}), nil
			}
		}
	}
	res, err := p.Table(ctx, ref.GetTable(), nil) // it is as old as what was trimmed
	if err != nil {
		return nil, err
	}
	return tableObject(&metadatav1.TableRef{TableId: res.GetTable().GetTableId()}), nil
}

// entries yields what of a change there is to list.
func (f followed) entries(ctx context.Context, p past.Past, c *metadatav1.Change) iter.Seq2[entry, error] {
	stream := f.selection.GetStream()
	if f.object == nil {
		return func(yield func(entry, error) bool) { yield(entry{stream: stream, change: c}, nil) }
	}
	if !slices.ContainsFunc(c.GetEvents(), f.isAbout) {
		return func(func(entry, error) bool) {}
	}
	return entries(p.ObjectLog(ctx, f.object, c.GetRevision(), c.GetRevision()), func(c *metadatav1.ObjectChange) entry {
		return entry{stream: stream, object: c}
	})
}

// isAbout reports whether an event is about the object.
func (f followed) isAbout(e *metadatav1.Event) bool {
	return slices.ContainsFunc(events.Subjects(e), func(s events.Subject) bool {
		switch o := f.object.GetObject().(type) {
		case *metadatav1.ObjectRef_Table:
			return s.Kind == metadatav1.ObjectKind_OBJECT_KIND_TABLE && s.ID == o.Table.GetTableId()
		case *metadatav1.ObjectRef_Namespace:
			return s.Kind == metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE && s.Name == o.Namespace
		case *metadatav1.ObjectRef_NodeId:
			return s.Kind == metadatav1.ObjectKind_OBJECT_KIND_NODE && s.Name == o.NodeId
		case *metadatav1.ObjectRef_ShardId:
			return s.Kind == metadatav1.ObjectKind_OBJECT_KIND_SHARD && s.ID == o.ShardId
		case *metadatav1.ObjectRef_Consumer:
			return s.Kind == metadatav1.ObjectKind_OBJECT_KIND_CONSUMER && s.Name == o.Consumer
		}
		return false
	})
}
