package events

import (
	"slices"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// matching names, by position in samples, the events that a filter lets through.
func matching(f *Filter) (got []int) {
	for i, m := range samples() {
		if f.MatchEvent(m) {
			got = append(got, i)
		}
	}
	return got
}

func TestFilterEvents(t *testing.T) {
	schema := []int{0, 1, 2, 3, 4}
	topology := []int{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	nodes, shards := topology[:6], topology[6:]
	service := []int{17, 18, 19, 20, 21, 22}
	everything := slices.Concat(schema, topology, service)
	for name, c := range map[string]struct {
		filter *metadatav1.Filter
		want   []int
	}{
		"everything":          {&metadatav1.Filter{}, everything},
		"a stream":            {&metadatav1.Filter{Streams: []metadatav1.Stream{metadatav1.Stream_STREAM_TOPOLOGY}}, topology},
		"a kind":              {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE}}, []int{2, 3, 4}},
		"a namespace":         {&metadatav1.Filter{Namespaces: []string{"shop"}}, everything},
		"namespace before":    {&metadatav1.Filter{Streams: []metadatav1.Stream{1}, Namespaces: []string{"public"}}, []int{3}},
		"name before":         {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{2}, Tables: []string{"sales"}}, []int{3}},
		"tables leave others": {&metadatav1.Filter{Tables: []string{"none"}}, slices.Concat([]int{0, 1}, topology, service)},
		"both fields":         {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{2}, Namespaces: []string{"public"}, Tables: []string{"orders"}}, nil},
		"a node":              {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{3, 4}, Nodes: []string{"s1"}}, topology},
		"a mirror":            {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{4}, Nodes: []string{"s2"}}, []int{11, 14}},
		"shard came to node":  {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{3, 4}, Nodes: []string{"s5"}}, []int{13}},
		"a shard":             {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{4}, Shards: []uint64{3}}, []int{14, 15, 16}},
		"shards leave nodes":  {&metadatav1.Filter{Streams: []metadatav1.Stream{2}, Shards: []uint64{99}}, nodes},
		"the service stream":  {&metadatav1.Filter{Streams: []metadatav1.Stream{3}, Shards: []uint64{99}, Tables: []string{"none"}}, service},
		"consumers":           {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{5}, Nodes: []string{"none"}}, service[:4]},
		"heads and floors":    {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{6, 7}}, service[4:]},
		"kind of no stream":   {&metadatav1.Filter{Streams: []metadatav1.Stream{1, 2}, Kinds: []metadatav1.ObjectKind{6}}, nil},
		"all of several":      {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{4}, Nodes: []string{"s1", "s4"}}, shards},
	} {
		got := matching(NewFilter(c.filter))
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
				break
			}
		}
	}
}

func TestFilterChange(t *testing.T) {
	c := sampleChange(metadatav1.Stream_STREAM_SCHEMA)
	if m, ok := NewFilter(nil).Change(c); !ok || m != c.Message() {
		t.Error("no filter has to hand out the change itself")
	}
	if m, ok := NewFilter(&metadatav1.Filter{Streams: []metadatav1.Stream{1}}).Change(c); !ok || m != c.Message() || m.Partial {
		t.Error("a filter that lets all events through has to hand out the change itself")
	}
	if _, ok := NewFilter(&metadatav1.Filter{Streams: []metadatav1.Stream{2}}).Change(c); ok {
		t.Error("a filter that lets no event through has to leave the change out")
	}
	m, ok := NewFilter(&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{1}}).Change(c)
	if !ok || !m.Partial || len(m.Events) != 2 || m.Events[1] != c.Message().Events[1] {
		t.Fatalf("partial change %v", m)
	}
	want := proto.CloneOf(c.Message())
	want.Partial, want.Events = true, want.Events[:2]
	if !proto.Equal(m, want) {
		t.Errorf("partial change %v, want %v", m, want)
	}
	if c.Message().Partial {
		t.Error("the shared change was marked")
	}
}

func TestFilterMatchStream(t *testing.T) {
	tables := NewFilter(&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE}})
	if !tables.MatchStream(metadatav1.Stream_STREAM_SCHEMA) || tables.MatchStream(metadatav1.Stream_STREAM_TOPOLOGY) {
		t.Error("tables are in the schema stream alone")
	}
	both := NewFilter(&metadatav1.Filter{Nodes: []string{"s1"}})
	if !both.MatchStream(metadatav1.Stream_STREAM_SCHEMA) || !both.MatchStream(metadatav1.Stream_STREAM_TOPOLOGY) {
		t.Error("nodes do not restrict streams")
	}
	signed := NewFilter(&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD}})
	if !signed.MatchStream(metadatav1.Stream_STREAM_SERVICE) || signed.MatchStream(metadatav1.Stream_STREAM_TOPOLOGY) {
		t.Error("signed heads are in the service stream alone")
	}
	if NewFilter(&metadatav1.Filter{}) != nil || !(*Filter)(nil).MatchStream(1) {
		t.Error("a filter without fields is none")
	}
}

// What MatchWhole says of a stream is what Match says of all its events.
func TestFilterMatchWhole(t *testing.T) {
	schema, topology, service := metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE
	for name, c := range map[string]struct {
		filter *metadatav1.Filter
		whole  []metadatav1.Stream
	}{
		"none":         {nil, streams},
		"a stream":     {&metadatav1.Filter{Streams: []metadatav1.Stream{schema}}, []metadatav1.Stream{schema}},
		"half a kind":  {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{2}}, nil},
		"both kinds":   {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{3, 4}}, []metadatav1.Stream{topology}},
		"a namespace":  {&metadatav1.Filter{Namespaces: []string{"shop"}}, []metadatav1.Stream{topology, service}},
		"a table":      {&metadatav1.Filter{Tables: []string{"orders"}}, []metadatav1.Stream{topology, service}},
		"a node":       {&metadatav1.Filter{Nodes: []string{"s1"}}, []metadatav1.Stream{schema, service}},
		"a shard":      {&metadatav1.Filter{Shards: []uint64{3}}, []metadatav1.Stream{schema, service}},
		"two of three": {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{5, 6}}, nil},
		"all three":    {&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{5, 6, 7}}, []metadatav1.Stream{service}},
		"both at once": {&metadatav1.Filter{Streams: []metadatav1.Stream{topology}, Tables: []string{"orders"}}, []metadatav1.Stream{topology}},
	} {
		f := NewFilter(c.filter)
		for _, s := range streams {
			if got, want := f.MatchWhole(s), slices.Contains(c.whole, s); got != want {
				t.Errorf("%s: all of %v matches: %v, want %v", name, s, got, want)
			}
			for _, m := range samples() {
				if StreamOf(m) == s && f.MatchWhole(s) && !f.MatchEvent(m) {
					t.Errorf("%s: all of %v matches, but not %v", name, s, m)
				}
			}
		}
	}
}
