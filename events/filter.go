package events

import (
	"slices"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Filter is a subscription's filter, compiled. Its rules are those of the
// message Filter. A nil *Filter lets everything through.
type Filter struct {
	streams    set[metadatav1.Stream]
	kinds      set[metadatav1.ObjectKind]
	namespaces set[string]
	tables     set[string]
	nodes      set[string]
	shards     set[uint64]
}

// set holds the alternatives of one field; empty means that all match.
type set[T comparable] map[T]struct{}

func newSet[T comparable](values []T) set[T] {
	s := make(set[T], len(values))
	for _, v := range values {
		s[v] = struct{}{}
	}
	return s
}

func (s set[T]) match(v T) bool {
	_, ok := s[v]
	return ok || len(s) == 0
}

// NewFilter compiles a filter. It returns nil if the filter is absent or lets
// everything through.
func NewFilter(f *metadatav1.Filter) *Filter {
	c := &Filter{
		streams:    newSet(f.GetStreams()),
		kinds:      newSet(f.GetKinds()),
		namespaces: newSet(f.GetNamespaces()),
		tables:     newSet(f.GetTables()),
		nodes:      newSet(f.GetNodes()),
		shards:     newSet(f.GetShards()),
	}
	if len(c.streams)+len(c.kinds)+len(c.namespaces)+len(c.tables)+len(c.nodes)+len(c.shards) == 0 {
		return nil
	}
	return c
}

// MatchStream reports whether anything of a stream can match.
func (f *Filter) MatchStream(s metadatav1.Stream) bool {
	if f == nil {
		return true
	}
	if !f.streams.match(s) {
		return false
	}
	if len(f.kinds) == 0 {
		return true
	}
	for kind := range f.kinds {
		if StreamOfObject(kind) == s {
			return true
		}
	}
	return false
}

// MatchWhole reports whether everything of a stream matches, so that its changes need
// not be looked into.
func (f *Filter) MatchWhole(s metadatav1.Stream) bool {
	if f == nil {
		return true
	}
	for kind := range metadatav1.ObjectKind_name {
		if k := metadatav1.ObjectKind(kind); StreamOfObject(k) == s && !f.kinds.match(k) {
			return false
		}
	}
	named := 0
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		named = len(f.namespaces) + len(f.tables)
	case metadatav1.Stream_STREAM_TOPOLOGY:
		named = len(f.nodes) + len(f.shards)
	}
	return f.streams.match(s) && named == 0
}

// StreamOfObject returns the stream that objects of a kind belong to; UNSPECIFIED if
// there is no such kind.
func StreamOfObject(k metadatav1.ObjectKind) metadatav1.Stream {
	switch k {
	case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE, metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		return metadatav1.Stream_STREAM_SCHEMA
	case metadatav1.ObjectKind_OBJECT_KIND_NODE, metadatav1.ObjectKind_OBJECT_KIND_SHARD:
		return metadatav1.Stream_STREAM_TOPOLOGY
	case metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD, metadatav1.ObjectKind_OBJECT_KIND_HISTORY_FLOOR:
		return metadatav1.Stream_STREAM_SERVICE
	}
	return metadatav1.Stream_STREAM_UNSPECIFIED
}

// Match reports whether one object in one state matches: for events' objects
// (see [Subjects]) and for those of a snapshot.
func (f *Filter) Match(s Subject) bool {
	if f == nil {
		return true
	}
	if !f.streams.match(StreamOfObject(s.Kind)) || !f.kinds.match(s.Kind) {
		return false
	}
	switch s.Kind {
	case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE:
		return f.namespaces.match(s.Namespace)
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		return f.namespaces.match(s.Namespace) && f.tables.match(s.Name)
	case metadatav1.ObjectKind_OBJECT_KIND_NODE:
		return slices.ContainsFunc(s.Nodes, f.nodes.match)
	case metadatav1.ObjectKind_OBJECT_KIND_SHARD:
		return f.shards.match(s.ID) && (len(f.nodes) == 0 || slices.ContainsFunc(s.Nodes, f.nodes.match))
	case metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD, metadatav1.ObjectKind_OBJECT_KIND_HISTORY_FLOOR:
		return true // no field restricts them
	}
	return false
}

// MatchEvent reports whether an object of the event matches before or after it.
func (f *Filter) MatchEvent(e *metadatav1.Event) bool {
	return f == nil || slices.ContainsFunc(Subjects(e), f.Match)
}

// Change returns what of a change a subscriber is to see: the change's own
// message if all of it, a partial copy that shares the events that match, or
// false if nothing.
func (f *Filter) Change(c *Change) (*metadatav1.Change, bool) {
	whole := c.Message()
	if f == nil {
		return whole, true
	}
	matching := make([]*metadatav1.Event, 0, len(whole.Events))
	for _, e := range whole.Events {
		if f.MatchEvent(e) {
			matching = append(matching, e)
		}
	}
	switch len(matching) {
	case 0:
		return nil, false
	case len(whole.Events):
		return whole, true
	}
	return &metadatav1.Change{
		Revision:     whole.Revision,
		Time:         whole.Time,
		Actor:        whole.Actor,
		RequestId:    whole.RequestId,
		CommandHash:  whole.CommandHash,
		FeatureLevel: whole.FeatureLevel,
		Partial:      true,
		Events:       matching,
	}, true
}
