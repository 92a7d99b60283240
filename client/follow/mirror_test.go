package follow

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/internal/frames"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// shows says what a mirror shows: epoch, revisions and numbers of objects.
func shows(m *Mirror) string {
	if m.position == nil {
		return "nothing"
	}
	s := fmt.Sprintf("epoch %d, %d tables at %d, %d nodes at %d", m.position.GetRecoveryEpoch(),
		m.schema.shown.model.TableCount(), m.position.GetSchemaRevision(),
		m.topology.shown.model.NodeCount(), m.position.GetTopologyRevision())
	if !m.Current() {
		s += ", stale"
	}
	return s
}

func TestMirrorShowsWhatIsCompleteAndNeverGoesBack(t *testing.T) {
	m := NewMirror()
	half := frames.Chunk(&metadatav1.SnapshotChunk{
		Stream: schemaStream, Revision: 3,
		Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: "public"}}, Tables: []*metadatav1.TableSchema{frames.Table(1)},
	})
	rest := frames.Chunk(&metadatav1.SnapshotChunk{
		Stream: schemaStream, Revision: 3, Last: true, Tables: []*metadatav1.TableSchema{frames.Table(2), frames.Table(3)},
	})
	for i, step := range []struct {
		frame frames.Frame
		want  string
	}{
		{half, "nothing"},
		{frames.Reset(0, SnapshotInterrupted), "nothing"},
		{half, "nothing"},
		{rest, "nothing"},
		{frames.Nodes(1), "nothing"},
		{frames.Bookmark(frames.At(1, 3, 1)), "epoch 1, 3 tables at 3, 1 nodes at 1"},
		{frames.Created(4, 6), "epoch 1, 6 tables at 6, 1 nodes at 1"},
		{frames.Bookmark(frames.At(1, 6, 1)), "epoch 1, 6 tables at 6, 1 nodes at 1"},
		// One stream begins anew, at a member that is behind. The other goes on.
		{frames.Reset(schemaStream, "HISTORY_TRIMMED"), "epoch 1, 6 tables at 6, 1 nodes at 1, stale"},
		{frames.Tables(4), "epoch 1, 6 tables at 6, 1 nodes at 1, stale"},
		{frames.Bookmark(frames.At(1, 4, 1)), "epoch 1, 6 tables at 6, 1 nodes at 1, stale"},
		{frames.Registered(2), "epoch 1, 6 tables at 6, 2 nodes at 2, stale"},
		{frames.Created(5, 5), "epoch 1, 6 tables at 6, 2 nodes at 2, stale"},
		{frames.Created(6, 7), "epoch 1, 7 tables at 7, 2 nodes at 2"},
		// A snapshot of a restored cluster is older, but of a later life.
		{frames.Reset(0, "FOREIGN_POSITION"), "epoch 1, 7 tables at 7, 2 nodes at 2, stale"},
		{frames.Tables(2), "epoch 1, 7 tables at 7, 2 nodes at 2, stale"},
		{frames.Nodes(1), "epoch 1, 7 tables at 7, 2 nodes at 2, stale"},
		{frames.Bookmark(frames.At(2, 2, 1)), "epoch 2, 2 tables at 2, 1 nodes at 1"},
		{frames.Created(3, 3), "epoch 2, 3 tables at 3, 1 nodes at 1"},
		// A member that was not restored is not believed.
		{frames.Reset(0, "FOREIGN_POSITION"), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{frames.Tables(9), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{frames.Nodes(9), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{frames.Bookmark(frames.At(1, 9, 9)), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
		{frames.Created(10, 10), "epoch 2, 3 tables at 3, 1 nodes at 1, stale"},
	} {
		before := shows(m)
		changed, err := m.Step(step.frame)
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
	newer := frames.Created(4, 4)
	newer.GetChanges().GetChanges()[0].FeatureLevel = events.FeatureLevel + 1
	unknown := frames.Created(4, 4)
	e := unknown.GetChanges().GetChanges()[0].GetEvents()[0]
	e.Kind = nil
	e.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 77, protowire.BytesType), nil))
	partial := frames.Created(4, 4)
	partial.GetChanges().GetChanges()[0].Partial = true
	twice := frames.Schema(4, 4, func(uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: frames.Table(1)}}}
	})
	stranger := frames.Bookmark(&metadatav1.Position{ClusterId: "d", RecoveryEpoch: 1, SchemaRevision: 3, TopologyRevision: 1})

	for name, c := range map[string]struct {
		frame       frames.Frame
		unsupported bool
		want        string
	}{
		"a newer feature level":      {newer, true, "update it"},
		"a newer snapshot":           {frames.Chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, FeatureLevel: events.FeatureLevel + 1}), true, "update it"},
		"an unknown event":           {unknown, true, "event kind 77"},
		"an unknown stream":          {frames.Reset(9, ""), true, "stream 9"},
		"an unknown frame":           {&metadatav1.SubscribeResponse{}, true, "kind of frame"},
		"a part of a change":         {partial, false, "whole"},
		"a gap":                      {frames.Created(5, 5), false, "change 5 of STREAM_SCHEMA came where change 4 belongs"},
		"a repetition":               {frames.Created(3, 4), false, "change 3"},
		"an event that does not fit": {twice, false, "table id 1 was given before"},
		"another cluster":            {stranger, false, "cluster d answers where cluster c did"},
		"an earlier life":            {frames.Bookmark(frames.At(0, 3, 1)), false, "recovery epoch 0 answers where epoch 1 did"},
		"a bookmark ahead":           {frames.Bookmark(frames.At(1, 4, 1)), false, "at revision 4"},
		"a damaged snapshot":         {frames.Chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, Last: true}), false, "public"},
	} {
		m := NewMirror()
		for _, f := range []frames.Frame{frames.Tables(3), frames.Nodes(1), frames.Bookmark(frames.At(1, 3, 1))} {
			if _, err := m.Step(f); err != nil {
				t.Fatal(err)
			}
		}
		_, err := m.Step(c.frame)
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
	m := NewMirror()
	if _, err := m.Step(frames.Created(1, 1)); err == nil {
		t.Error("changes are folded into nothing")
	}
	if _, err := m.Step(frames.Bookmark(frames.At(1, 0, 0))); err == nil {
		t.Error("a bookmark without a snapshot is believed")
	}
	_, _ = m.Step(frames.Chunk(&metadatav1.SnapshotChunk{Stream: schemaStream, Revision: 3, Namespaces: []*metadatav1.Namespace{{NamespaceId: 1, Name: "public"}}}))
	if _, err := m.Step(frames.Tables(4)); err == nil || !strings.Contains(err.Error(), "revision 3 goes on at revision 4") {
		t.Errorf("a snapshot of two revisions: %v", err)
	}
}

func TestASnapshotWaitsForItsBookmark(t *testing.T) {
	m := NewMirror()
	for i, step := range []struct {
		frame frames.Frame
		want  string
	}{
		{frames.Tables(3), "nothing"},
		{frames.Nodes(1), "nothing"},
		{frames.Bookmark(frames.At(1, 3, 1)), "epoch 1, 3 tables at 3, 1 nodes at 1"},
		// Of which life this is, is not known yet, though no reset came before.
		{frames.Tables(5), "epoch 1, 3 tables at 3, 1 nodes at 1, stale"},
		{frames.Registered(2), "epoch 1, 3 tables at 3, 2 nodes at 2, stale"},
		{frames.Created(6, 6), "epoch 1, 3 tables at 3, 2 nodes at 2, stale"},
		{frames.Bookmark(frames.At(1, 6, 2)), "epoch 1, 6 tables at 6, 2 nodes at 2"},
	} {
		if _, err := m.Step(step.frame); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if got := shows(m); got != step.want {
			t.Fatalf("step %d shows %s, want %s", i, got, step.want)
		}
	}
	// What is shown already is kept when it comes again: readers have decoded it.
	kept, _ := m.Schema().Table(1)
	for _, f := range []frames.Frame{frames.Reset(0, ""), frames.Tables(6), frames.Nodes(2), frames.Bookmark(frames.At(1, 6, 2))} {
		if changed, err := m.Step(f); err != nil || changed {
			t.Fatalf("the same again: changed is %v, %v", changed, err)
		}
	}
	if again, _ := m.Schema().Table(1); again != kept || !m.Current() {
		t.Fatalf("the same again shows %s", shows(m))
	}
}

// Folding a frame takes its bytes as they came: it costs what decoding and folding cost,
// and nothing is encoded again.
func BenchmarkFoldEncodedFrame(b *testing.B) {
	raw, err := proto.Marshal(frames.Created(4, 67))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m := NewMirror()
		for _, f := range []frames.Frame{frames.Tables(3), frames.Nodes(1), frames.Bookmark(frames.At(1, 3, 1))} {
			if _, err := m.Step(f); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		f, err := ParseFrame(raw)
		if err != nil {
			b.Fatal(err)
		}
		if changed, err := m.StepFrame(f); !changed || err != nil {
			b.Fatal(changed, err)
		}
	}
}

// A subscriber who only looks at revisions pays for one slice a frame.
func TestParsingAFrameOfChangesDecodesNothing(t *testing.T) {
	raw, err := proto.Marshal(frames.Created(4, 4))
	if err != nil {
		t.Fatal(err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = ParseFrame(raw) }); allocs != 1 {
		t.Errorf("a frame of one change allocates %v times", allocs)
	}
}
