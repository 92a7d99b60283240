package diff

import (
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Service is [Schema] for consumers, signed heads and history floors, each by name.
func Service(before, after *service.Model, filter *events.Filter, behind Place) iter.Seq2[*metadatav1.ObjectDiff, error] {
	return func(yield func(*metadatav1.ObjectDiff, error) bool) {
		if from, ok := behind.name(metadatav1.ObjectKind_OBJECT_KIND_CONSUMER); ok {
			consumers := pairs(consumersOf(before, from), consumersOf(after, from))
			if !compare(consumers, events.ConsumerSubject, filter, yield) {
				return
			}
		}
		if from, ok := behind.name(metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD); ok {
			heads := pairs(headsOf(before, from), headsOf(after, from))
			if !compare(heads, events.SignedHeadSubject, filter, yield) {
				return
			}
		}
		if from, ok := behind.name(metadatav1.ObjectKind_OBJECT_KIND_HISTORY_FLOOR); ok {
			floors := pairs(floorsOf(before, from), floorsOf(after, from))
			compare(floors, events.HistoryFloorSubject, filter, yield)
		}
	}
}

func consumersOf(m *service.Model, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for c := range m.Consumers(from) {
			if !yield(c.Name(), c.Bytes()) {
				return
			}
		}
	}
}

func headsOf(m *service.Model, from string) iter.Seq2[string, []byte] {
	named := make(map[string][]byte)
	for s := range metadatav1.Stream_name {
		for h := range m.SignedHeads(metadatav1.Stream(s)) {
			named[headName(h.Stream(), h.Revision())] = h.Bytes()
		}
	}
	return sortedFrom(named, from)
}

func floorsOf(m *service.Model, from string) iter.Seq2[string, []byte] {
	named := make(map[string][]byte)
	for s := range metadatav1.Stream_name {
		stream := metadatav1.Stream(s)
		if f := m.Floor(stream); f.OldestRevision() > 0 {
			named[events.StreamName(stream)] = f.Bytes()
		}
	}
	return sortedFrom(named, from)
}

// sortedFrom yields what has a name that is not less than from, by name.
func sortedFrom(named map[string][]byte, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		names := sortedKeys(named)
		at, _ := slices.BinarySearch(names, from)
		for _, name := range names[at:] {
			if !yield(name, named[name]) {
				return
			}
		}
	}
}
