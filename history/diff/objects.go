package diff

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Object returns how an object differs in two states; nil: it does not exist. Of two equal
// states the kind of difference is CHANGED, and there are no fields; of two nil ones it
// knows nothing.
func Object(before, after proto.Message) *metadatav1.ObjectDiff {
	now, was := reflected(after) != nil, reflected(before) != nil
	d := new(metadatav1.ObjectDiff)
	switch {
	case now && was:
		d = describe(after)
		d.Diff = metadatav1.DiffKind_DIFF_KIND_CHANGED
	case now:
		d = describe(after)
		d.Diff = metadatav1.DiffKind_DIFF_KIND_ADDED
	case was:
		d = describe(before)
		d.Diff = metadatav1.DiffKind_DIFF_KIND_REMOVED
	}
	d.Fields = Messages(before, after)
	return d
}

// describe returns an ObjectDiff that names an object.
func describe(m proto.Message) *metadatav1.ObjectDiff {
	switch m := m.(type) {
	case *metadatav1.Namespace:
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE, Id: m.NamespaceId, Name: m.Name}
	case *metadatav1.TableSchema:
		name := cmp.Or(m.Namespace, schema.Public) + "." + m.Name
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_TABLE, Id: m.TableId, Name: name}
	case *metadatav1.NodeInfo:
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_NODE, Name: m.NodeId}
	case *metadatav1.ShardInfo:
		name := strconv.FormatUint(m.ShardId, 10)
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_SHARD, Id: m.ShardId, Name: name}
	case *metadatav1.Consumer:
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, Name: m.Name}
	case *metadatav1.SignedHead:
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD, Name: headName(m.Stream, m.Revision)}
	case *metadatav1.HistoryFloor:
		return &metadatav1.ObjectDiff{Kind: metadatav1.ObjectKind_OBJECT_KIND_HISTORY_FLOOR, Name: events.StreamName(m.Stream)}
	}
	return new(metadatav1.ObjectDiff)
}

// headName returns the name of a signed head, such as "schema@5".
func headName(s metadatav1.Stream, revision uint64) string {
	return fmt.Sprintf("%s@%d", events.StreamName(s), revision)
}
