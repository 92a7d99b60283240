package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// shows says what a mirror shows: epoch, revisions and numbers of objects.
func shows(m *mirror) string {
	if m.position == nil {
		return "nothing"
	}
	s := fmt.Sprintf("epoch %d, %d tables at %d, %d nodes at %d", m.position.GetRecoveryEpoch(),
		m.schema.shown.model.TableCount(), m.position.GetSchemaRevision(),
		m.topology.shown.model.NodeCount(), m.position.GetTopologyRevision())
	if !m.current() {
		s += ", stale"
	}
	return s
}

func TestMirrorShowsWhatIsCompleteAndNeverGoesBack(t *testing.T) {
	m := newMirror()
	half := chunk(&metadatav1.SnapshotChunk{
		Stream: schemaStream, Revision: 3,
		Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: "public"}}, Tables: []*metadatav1.TableSchema{table(1)},
	})
	rest := chunk(&metadatav1.SnapshotChunk{
		Stream: schemaStream, Revision: 3, Last: true, Tables: []*metadatav1.TableSchema{table(2), table(3)},
	})
	for i, step := range []struct {
		frame frame
		want  string
	}{
		{half, "nothing"},
		{reset(0, snapshotInterrupted), "nothing"},
		{half, "nothing"},
		{rest, "nothing"},
		{nodesAt(1), "nothing"},
		{bookmark(at(1, 3, 1)), "epoch 1, 3 tables at 3, 1 nodes at 1"},
		{created(4, 6), "epoch 1, 6 tables at 6, 1 nodes at 1"},
		{bookmark(at(1, 6, 1)), "epoch 1, 6 tables at 6, 1 nodes at 1"},
		// One stream begins anew, at a member that is behind. The other goes on.
		{reset(schemaStream, "HISTORY_TRIMMED"), "epoch 1, 6 tables at 6, 1 nodes at 1, stale"},
		{tablesAt(4), "epoch 1, 6 tables at 6, 1 nodes at 1, stale"},
		{bookmark(at(1, 4, 1)), "epoch 1, 6 tables at 6, 1 nodes at 1, stale"},
		{registered(2), "epoch 1, 6 tables at 6, 2 nodes at 2, stale"},
		{created(5, 5), "epoch 1, 6 tables at 6, 2 nodes at 2, stale"},
		{created(6, 7), "epoch 1, 7 tables at 7, 2 nodes at 2"},
		// A snapshot of a restored cluster is older, but of a later life.
		{reset(0, "FOREIGN_POSITION"), "epoch 1, 7 tables at 7, 2 nodes at 2, stale"},
		{tablesAt(2), "epoch 1, 7 tables at 7, 2 nodes at 2, stale"},
		{nodesAt(1), "epoch 1, 7 tables at 7, 2 nodes at 2, stale"},
		{bookmark(at(2, 2, 1)), "epoch 2, 2 tables at 2, 1 nodes at 1"},
		{created(3, 3), "epoch 2, 3 tables at 3, 1 nodes at 1"},
		// A member that was not restored is not believed.
		{reset(0, "FOREIGN_POSITION"), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{tablesAt(9), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{nodesAt(9), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{bookmark(at(1, 9, 9)), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{created(10, 10), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
	} {
		before := shows(m)
		changed, err := m.step(step.frame)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if got := shows(m); got != step.want {
			t.Fatalf("step %d shows %s, want %s", i, got, step.want)
		}
		if strip(before) != strip(step.want) && !changed {
			t.Fatalf("step %d changed %s to %s and does not say so", i, before, step.want)
		}
	}
}

func strip(s string) string { return strings.TrimSuffix(s, ", stale") }

func TestMirrorBreaksOnWhatItCannotFold(t *testing.T) {
	newer := created(4, 4)
	newer.GetChanges().GetChanges()[0].FeatureLevel = events.FeatureLevel + 1
	unknown := created(4, 4)
	e := unknown.GetChanges().GetChanges()[0].GetEvents()[0]
	e.Kind = nil
	e.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 77, protowire.BytesType), nil))
	partial := created(4, 4)
	partial.GetChanges().GetChanges()[0].Partial = true
	twice := schemaChanges(4, 4, func(uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: table(1)}}}
	})
	stranger := bookmark(&metadatav1.Position{ClusterId: "d", RecoveryEpoch: 1, SchemaRevision: 3, TopologyRevision: 1})

	for name, c := range map[string]struct {
		frame       frame
		unsupported bool
		want        string
	}{
		"a newer feature level":      {newer, true, "update it"},
		"a newer snapshot":           {chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, FeatureLevel: events.FeatureLevel + 1}), true, "update it"},
		"an unknown event":           {unknown, true, "event kind 77"},
		"an unknown stream":          {reset(9, ""), true, "stream 9"},
		"an unknown frame":           {&metadatav1.SubscribeResponse{}, true, "kind of frame"},
		"a part of a change":         {partial, false, "whole"},
		"a gap":                      {created(5, 5), false, "change 5 of STREAM_SCHEMA came where change 4 belongs"},
		"a repetition":               {created(3, 4), false, "change 3"},
		"an event that does not fit": {twice, false, "table id 1 was given before"},
		"another cluster":            {stranger, false, "cluster d answers where cluster c did"},
		"a bookmark ahead":           {bookmark(at(1, 4, 1)), false, "at revision 4"},
		"a damaged snapshot":         {chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, Last: true}), false, "public"},
	} {
		m := newMirror()
		for _, f := range []frame{tablesAt(3), nodesAt(1), bookmark(at(1, 3, 1))} {
			if _, err := m.step(f); err != nil {
				t.Fatal(err)
			}
		}
		_, err := m.step(c.frame)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, is := errors.AsType[*events.UnsupportedError](err); is != c.unsupported {
			t.Errorf("%s: %T", name, err)
		}
		if got := shows(m); strip(got) != "epoch 1, 3 tables at 3, 1 nodes at 1" {
			t.Errorf("%s: half of it was folded: %s", name, got)
		}
	}
	m := newMirror()
	if _, err := m.step(created(1, 1)); err == nil {
		t.Error("changes are folded into nothing")
	}
	if _, err := m.step(bookmark(at(1, 0, 0))); err == nil {
		t.Error("a bookmark without a snapshot is believed")
	}
	_, _ = m.step(chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, Revision: 3, Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: "public"}}}))
	if _, err := m.step(tablesAt(4)); err == nil || !strings.Contains(err.Error(), "revision 3 goes on at revision 4") {
		t.Errorf("a snapshot of two revisions: %v", err)
	}
}

func TestMessagesAreDecodedOnceAndForgotten(t *testing.T) {
	m := newMirror()
	for _, f := range []frame{tablesAt(3), nodesAt(1), bookmark(at(1, 3, 1))} {
		if _, err := m.step(f); err != nil {
			t.Fatal(err)
		}
	}
	v := &View{position: m.position, schema: m.schema.shown.model, topology: m.topology.shown.model}
	v.decoded = v.decoded.orNew(v.objects())
	first, _ := v.Table("", "t2")
	if again, _ := v.TableByID(2); first == nil || again != first {
		t.Fatal("a table was decoded twice")
	}
	if allocs := testing.AllocsPerRun(100, func() { v.Table("", "t2") }); allocs > 0 {
		t.Fatalf("a repeated read allocates %v times", allocs)
	}
	if v.decoded.orNew(v.objects()) != v.decoded {
		t.Fatal("a small set is thrown away")
	}
	v.decoded.size.Store(int64(2*v.objects() + decodedSlack + 1))
	if v.decoded.orNew(v.objects()) == v.decoded {
		t.Fatal("the set grows without bounds")
	}
}
