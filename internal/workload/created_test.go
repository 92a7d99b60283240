package workload

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A change that came in its encoding tells of the same tables as its message.
func TestCreatedTables(t *testing.T) {
	made := func(n int64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: Table("space", n)}}}
	}
	dropped := &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: Table("space", 2)}}}
	m := &metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Changes{Changes: &metadatav1.Changes{
		Stream: schema,
		Changes: []*metadatav1.Change{
			{Revision: 1, Events: []*metadatav1.Event{made(1), dropped, made(3)}}, {Revision: 2, Events: []*metadatav1.Event{made(4)}},
		},
	}}}
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := follow.ParseFrame(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []follow.Frame{parsed, follow.FrameOf(m)} {
		var got []string
		_, changes := f.Changes()
		for _, c := range changes {
			if err := created(c, func(namespace, name []byte) { got = append(got, string(namespace)+"."+string(name)) }); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"space." + TableName(1), "space." + TableName(3), "space." + TableName(4)}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
