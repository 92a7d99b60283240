package diff

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestService(t *testing.T) {
	revision := uint64(0)
	fold := func(s *projections.Service, evs ...*metadatav1.Event) *projections.Service {
		revision++
		var list []events.Event
		for _, e := range evs {
			list = append(list, events.New(e))
		}
		return s.Fold(events.Seal(events.Header{Revision: revision, Time: pasts.Start}, list))
	}
	created := func(name string) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_ConsumerCreated{ConsumerCreated: &metadatav1.ConsumerCreated{
			Consumer: &metadatav1.Consumer{Name: name}}}}
	}
	signed := func(at uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{
			Head: &metadatav1.SignedHead{Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: at, KeyId: []byte{1}}}}}
	}
	trimmed := func(at uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: &metadatav1.HistoryTrimmed{
			Floor: &metadatav1.HistoryFloor{Stream: metadatav1.Stream_STREAM_TOPOLOGY, OldestRevision: at, PreviousDigest: make([]byte, 32)}}}}
	}
	start := projections.NewService(pasts.Cluster, pasts.Epoch)
	before := fold(start, created("a"), created("b"), signed(5), trimmed(3))
	after := fold(before, created("c"), signed(10), trimmed(7), &metadatav1.Event{Kind: &metadatav1.Event_ConsumerDeleted{
		ConsumerDeleted: &metadatav1.ConsumerDeleted{Consumer: &metadatav1.Consumer{Name: "a"}}}})
	want := []string{
		`OBJECT_KIND_CONSUMER 0 a DIFF_KIND_REMOVED ["name: \"a\" -> "]`,
		`OBJECT_KIND_CONSUMER 0 c DIFF_KIND_ADDED ["name:  -> \"c\""]`,
		`OBJECT_KIND_SIGNED_HEAD 0 schema@10 DIFF_KIND_ADDED ["stream:  -> \"STREAM_SCHEMA\"" "revision:  -> \"10\"" "keyId:  -> \"AQ==\""]`,
		`OBJECT_KIND_HISTORY_FLOOR 0 topology DIFF_KIND_CHANGED ["oldestRevision: \"3\" -> \"7\""]`,
	}
	for size := 1; size <= 5; size++ {
		got := pages(t, size, func(behind Place) iter.Seq2[*metadatav1.ObjectDiff, error] {
			return Service(before.Model, after.Model, nil, behind)
		})
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d:\n%q\nwant\n%q", size, got, want)
		}
	}
	consumers := events.NewFilter(&metadatav1.Filter{Kinds: []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_CONSUMER}})
	all := 0
	for d, err := range Service(before.Model, after.Model, consumers, Place{}) {
		if all++; err != nil || d.GetKind() != metadatav1.ObjectKind_OBJECT_KIND_CONSUMER {
			t.Error(fmt.Sprint(d), err)
		}
	}
	if all != 2 {
		t.Errorf("%d consumers differ, want 2", all)
	}
}
