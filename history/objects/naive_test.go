package objects

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// stages are all models of a past, folded one by one from the beginning: what logs are
// held against.
type stages struct {
	changes  []*events.Change
	schema   []*projections.Schema
	topology []*projections.Topology
}

func schemaStages(seed uint64, n int) *stages {
	s := &stages{changes: pasts.Schema(seed, n), schema: []*projections.Schema{projections.NewSchema(pasts.Cluster, pasts.Epoch)}}
	for i, c := range s.changes {
		s.schema = append(s.schema, s.schema[i].Fold(c))
	}
	return s
}

func topologyStages(seed uint64, n int) *stages {
	s := &stages{changes: pasts.Topology(seed, n), topology: []*projections.Topology{projections.NewTopology(pasts.Cluster, pasts.Epoch)}}
	for i, c := range s.changes {
		s.topology = append(s.topology, s.topology[i].Fold(c))
	}
	return s
}

// at returns an object at a revision; nil if it did not exist.
func (s *stages) at(o Object, revision uint64) proto.Message {
	switch o.Kind {
	case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE:
		if n, ok := s.schema[revision].Model.Namespace(o.Name); ok {
			return n.Message()
		}
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		if t, ok := s.schema[revision].Model.Table(o.ID); ok {
			return t.Message()
		}
	case metadatav1.ObjectKind_OBJECT_KIND_NODE:
		if n, ok := s.topology[revision].Model.Node(o.Name); ok {
			return n.Message()
		}
	default:
		if x, ok := s.topology[revision].Model.Shard(o.ID); ok {
			return x.Message()
		}
	}
	return nil
}

// tableNamed returns the id of the table that has a name at a revision, or had it last
// before; 0 if none had.
func (s *stages) tableNamed(namespace, name string, revision uint64) uint64 {
	for r := int(revision); r >= 0; r-- {
		if t, ok := s.schema[r].Model.TableByName(namespace, name); ok {
			return t.ID()
		}
	}
	return 0
}

// objectOf returns the object of a subject.
func objectOf(s events.Subject) Object {
	switch s.Kind {
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE, metadatav1.ObjectKind_OBJECT_KIND_SHARD:
		return Object{Kind: s.Kind, ID: s.ID}
	}
	return Object{Kind: s.Kind, Name: s.Name}
}

// objects returns everything that the past is about, in a fixed order, with the revisions
// of the changes that are about it.
func (s *stages) objects() (all []Object, revisions map[Object][]uint64) {
	revisions = make(map[Object][]uint64)
	for _, c := range s.changes {
		for _, e := range c.Events() {
			for _, subject := range events.Subjects(e.Message()) {
				o := objectOf(subject)
				if !slices.Contains(revisions[o], c.Revision()) {
					revisions[o] = append(revisions[o], c.Revision())
				}
			}
		}
	}
	for o := range revisions {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
	})
	return all, revisions
}

// alike reports whether two states of an object are the same, to the byte.
func alike(t *testing.T, a, b proto.Message) bool {
	t.Helper()
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	deterministic := proto.MarshalOptions{Deterministic: true}
	x, err := deterministic.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := deterministic.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}
