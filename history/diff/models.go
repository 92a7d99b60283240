package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/canonical"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Place is where a comparison of two models goes on: behind an object. The zero Place is
// the beginning.
type Place struct {
	Kind metadatav1.ObjectKind
	ID   uint64 // of a namespace, table or shard
	Name string // of objects without an id
}

// PlaceOf returns the place behind an object.
func PlaceOf(d *metadatav1.ObjectDiff) Place { return Place{d.GetKind(), d.GetId(), d.GetName()} }

// id returns the first id of a kind behind the place; false if there is none.
func (p Place) id(kind metadatav1.ObjectKind) (from uint64, ok bool) {
	if p.Kind == kind {
		return p.ID + 1, p.ID+1 > 0
	}
	return 0, p.Kind < kind
}

// name returns the first name of a kind behind the place; false if there is none.
func (p Place) name(kind metadatav1.ObjectKind) (from string, ok bool) {
	if p.Kind == kind {
		return p.Name + "\x00", true
	}
	return "", p.Kind < kind
}

// Schema yields the namespaces and tables behind a place that differ between two models
// and match the filter before or after, by kind and id. It compares encodings, decodes
// only objects that differ, and can be stopped at any time. An object that does not decode
// is an error, the last thing it yields.
func Schema(before, after *schema.Model, filter *events.Filter, behind Place) iter.Seq2[*metadatav1.ObjectDiff, error] {
	return func(yield func(*metadatav1.ObjectDiff, error) bool) {
		if from, ok := behind.id(metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE); ok {
			namespaces := pairs(encoded(before.NamespacesByID(from)), encoded(after.NamespacesByID(from)))
			if !compare(namespaces, events.NamespaceSubject, filter, yield) {
				return
			}
		}
		if from, ok := behind.id(metadatav1.ObjectKind_OBJECT_KIND_TABLE); ok {
			tables := pairs(encoded(before.TablesByID(from)), encoded(after.TablesByID(from)))
			compare(tables, events.TableSubject, filter, yield)
		}
	}
}

// Topology is [Schema] for nodes and shards.
func Topology(before, after *projections.TopologyModel, filter *events.Filter, behind Place) iter.Seq2[*metadatav1.ObjectDiff, error] {
	return func(yield func(*metadatav1.ObjectDiff, error) bool) {
		if from, ok := behind.name(metadatav1.ObjectKind_OBJECT_KIND_NODE); ok {
			nodes := pairs(encoded(before.Nodes(from)), encoded(after.Nodes(from)))
			if !compare(nodes, events.NodeSubject, filter, yield) {
				return
			}
		}
		if from, ok := behind.id(metadatav1.ObjectKind_OBJECT_KIND_SHARD); ok {
			shards := pairs(encoded(before.ShardsByID(from)), encoded(after.ShardsByID(from)))
			compare(shards, events.ShardSubject, filter, yield)
		}
	}
}

// record is an object as a model holds it.
type record[K cmp.Ordered] interface {
	ID() K
	Bytes() []byte
}

// encoded yields the ids and encodings of objects.
func encoded[R record[K], K cmp.Ordered](records iter.Seq[R]) iter.Seq2[K, []byte] {
	return func(yield func(K, []byte) bool) {
		for r := range records {
			if !yield(r.ID(), r.Bytes()) {
				return
			}
		}
	}
}

// pairs yields the encodings before and after of the objects that differ, given all by
// their ids. Where an object does not exist, there is none.
func pairs[K cmp.Ordered](before, after iter.Seq2[K, []byte]) iter.Seq2[[]byte, []byte] {
	return func(yield func(before, after []byte) bool) {
		next, stop := iter.Pull2(before)
		defer stop()
		was, old, left := next()
		for id, now := range after {
			for ; left && was < id; was, old, left = next() {
				if !yield(old, nil) {
					return
				}
			}
			if !left || was > id {
				if !yield(nil, now) {
					return
				}
				continue
			}
			if !bytes.Equal(old, now) && !yield(old, now) { // mostly they are the same memory
				return
			}
			was, old, left = next()
		}
		for ; left; _, old, left = next() {
			if !yield(old, nil) {
				return
			}
		}
	}
}

// message is a pointer to a T that is a message.
type message[T any] interface {
	*T
	proto.Message
}

// compare yields the differences of objects that match the filter; false if it was told to
// stop or could not go on.
func compare[M message[T], T any](
	objects iter.Seq2[[]byte, []byte], subject func(M) events.Subject, filter *events.Filter,
	yield func(*metadatav1.ObjectDiff, error) bool,
) bool {
	for old, now := range objects {
		before, err := decoded[M](old)
		if err != nil {
			yield(nil, err)
			return false
		}
		after, err := decoded[M](now)
		if err != nil {
			yield(nil, err)
			return false
		}
		if !(before != nil && filter.Match(subject(before)) || after != nil && filter.Match(subject(after))) {
			continue
		}
		if d := Object(before, after); len(d.Fields) > 0 && !yield(d, nil) {
			return false
		}
	}
	return true
}

// decoded returns the object that was encoded; nil if there is none.
func decoded[M message[T], T any](raw []byte) (M, error) {
	if raw == nil {
		return nil, nil
	}
	m := M(new(T))
	if err := canonical.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("an object does not decode to %T: %w", m, err)
	}
	return m, nil
}
