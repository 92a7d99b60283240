package objects

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// Object names one object of a stream. Tables and shards are named by their ids, which are
// never used again; others by their names, whatever had the name one after the other.
type Object struct {
	Kind metadatav1.ObjectKind
	ID   uint64 // of a table or shard
	Name string // of a namespace, node or consumer
}

// unique reports whether no other object ever has the same name.
func (o Object) unique() bool { return o.ID != 0 }

// tag returns the tag of the object.
func (o Object) tag() uint64 {
	if o.unique() {
		return idTag(o.Kind, o.ID)
	}
	return nameTag(o.Kind, o.Name)
}

// is reports whether a message is a state of the object.
func (o Object) is(m proto.Message) bool {
	switch m := m.(type) {
	case *metadatav1.Namespace:
		return o.Kind == metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE && m.GetName() == o.Name
	case *metadatav1.TableSchema:
		return o.Kind == metadatav1.ObjectKind_OBJECT_KIND_TABLE && m.GetTableId() == o.ID
	case *metadatav1.NodeInfo:
		return o.Kind == metadatav1.ObjectKind_OBJECT_KIND_NODE && m.GetNodeId() == o.Name
	case *metadatav1.ShardInfo:
		return o.Kind == metadatav1.ObjectKind_OBJECT_KIND_SHARD && m.GetShardId() == o.ID
	case *metadatav1.Consumer:
		return o.Kind == metadatav1.ObjectKind_OBJECT_KIND_CONSUMER && m.GetName() == o.Name
	}
	return false
}

// NeverWas is the failure of somebody who asks for the log of what there has never been: all
// of its history was looked at, from the first change on, and says nothing of it.
func (o Object) NeverWas() error {
	kind := strings.ToLower(strings.TrimPrefix(o.Kind.String(), "OBJECT_KIND_"))
	return missing("there has never been a %s %q", kind, cmp.Or(o.Name, strconv.FormatUint(o.ID, 10)))
}

// notFound is the failure of somebody who asks for the object where it does not exist.
func (o Object) notFound(revision uint64) error {
	switch o.Kind {
	case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
		return missing("there was no table with id %d at revision %d", o.ID, revision).
			With("table_id", strconv.FormatUint(o.ID, 10))
	case metadatav1.ObjectKind_OBJECT_KIND_SHARD:
		return missing("there was no shard %d at revision %d", o.ID, revision).
			With("shard_id", strconv.FormatUint(o.ID, 10))
	case metadatav1.ObjectKind_OBJECT_KIND_NODE:
		return missing("there was no node %q at revision %d", o.Name, revision).With("node_id", o.Name)
	case metadatav1.ObjectKind_OBJECT_KIND_CONSUMER:
		return missing("there was no consumer %q at revision %d", o.Name, revision).With("consumer", o.Name)
	}
	return missing("there was no namespace %q at revision %d", o.Name, revision).With("namespace", o.Name)
}

func tableNotFound(namespace, name string, revision uint64) error {
	return missing("there was no table %q in namespace %q at revision %d", name, namespace, revision).
		With("table", name).With("namespace", namespace)
}

func missing(format string, args ...any) *failure.Error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, format, args...)
}

// named returns the object that a reference names, and the table's name if the reference
// is to a table by name; then the object has no id yet.
func named(ref *metadatav1.ObjectRef) (o Object, namespace, name string, err error) {
	switch r := ref.GetObject().(type) {
	case *metadatav1.ObjectRef_Table:
		o = Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_TABLE, ID: r.Table.GetTableId()}
		if o.ID == 0 {
			namespace, name = cmp.Or(r.Table.GetNamespace(), public), r.Table.GetName()
		}
		if o.ID == 0 && name == "" {
			err = failure.InvalidField("table", "it names neither an id nor a name")
		}
	case *metadatav1.ObjectRef_Namespace:
		o = Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE, Name: cmp.Or(r.Namespace, public)}
	case *metadatav1.ObjectRef_NodeId:
		o = Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_NODE, Name: r.NodeId}
	case *metadatav1.ObjectRef_ShardId:
		o = Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_SHARD, ID: r.ShardId}
	case *metadatav1.ObjectRef_Consumer:
		o = Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, Name: r.Consumer}
	default:
		err = failure.InvalidField("object", "it names no object")
	}
	return o, namespace, name, err
}

// StreamOf returns the stream of the object that a reference names; UNSPECIFIED if it names
// none.
func StreamOf(ref *metadatav1.ObjectRef) metadatav1.Stream {
	switch ref.GetObject().(type) {
	case *metadatav1.ObjectRef_Table, *metadatav1.ObjectRef_Namespace:
		return metadatav1.Stream_STREAM_SCHEMA
	case *metadatav1.ObjectRef_NodeId, *metadatav1.ObjectRef_ShardId:
		return metadatav1.Stream_STREAM_TOPOLOGY
	case *metadatav1.ObjectRef_Consumer:
		return metadatav1.Stream_STREAM_SERVICE
	}
	return metadatav1.Stream_STREAM_UNSPECIFIED
}

// step is what an event makes of objects.
type step struct {
	before, after []proto.Message // those that there are; what they hold is shared
	known         bool            // before has all that the event is about
}

// stepOf returns what an event makes of its objects.
func stepOf(e *metadatav1.Event) step {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_NamespaceCreated:
		return creation(k.NamespaceCreated.GetNamespace())
	case *metadatav1.Event_NamespaceDropped:
		return removal(k.NamespaceDropped.GetNamespace())
	case *metadatav1.Event_TableCreated:
		return creation(k.TableCreated.GetTable())
	case *metadatav1.Event_TableAltered:
		return step{after: one(k.TableAltered.GetTable())}
	case *metadatav1.Event_TableDropped:
		return removal(k.TableDropped.GetTable())
	case *metadatav1.Event_NodeRegistered:
		return step{after: one(k.NodeRegistered.GetNode()), known: k.NodeRegistered.GetPreviousEpoch() == 0}
	case *metadatav1.Event_NodeUnregistered:
		return removal(k.NodeUnregistered.GetNode())
	case *metadatav1.Event_ShardCreated:
		return creation(k.ShardCreated.GetShard())
	case *metadatav1.Event_ShardChanged:
		return step{one(k.ShardChanged.GetPrevious()), one(k.ShardChanged.GetShard()), true}
	case *metadatav1.Event_ShardMoved:
		return step{one(k.ShardMoved.GetPrevious()), one(k.ShardMoved.GetShard()), true}
	case *metadatav1.Event_ShardSplit:
		return step{one(k.ShardSplit.GetParent()), all(k.ShardSplit.GetChildren()), true}
	case *metadatav1.Event_ShardsMerged:
		return step{all(k.ShardsMerged.GetParents()), one(k.ShardsMerged.GetShard()), true}
	case *metadatav1.Event_ShardDeleted:
		return removal(k.ShardDeleted.GetShard())
	case *metadatav1.Event_ConsumerCreated:
		return creation(k.ConsumerCreated.GetConsumer())
	case *metadatav1.Event_ConsumerOpened:
		return step{after: one(k.ConsumerOpened.GetConsumer())}
	case *metadatav1.Event_ConsumerAcknowledged:
		return step{after: one(k.ConsumerAcknowledged.GetConsumer())}
	case *metadatav1.Event_ConsumerDeleted:
		return removal(k.ConsumerDeleted.GetConsumer())
	}
	if n := events.NodeOf(e); n != nil {
		return step{after: one(n)}
	}
	return step{}
}

// Of returns the objects that an event is about, each in its last state that the event
// shows: those that there are behind it, then those that it removed.
func Of(e *metadatav1.Event) []proto.Message {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_HeadSigned:
		return one(k.HeadSigned.GetHead())
	case *metadatav1.Event_HistoryTrimmed:
		return one(k.HistoryTrimmed.GetFloor())
	}
	s := stepOf(e)
	shown := slices.Clone(s.after)
	for _, was := range s.before {
		if !slices.ContainsFunc(s.after, func(now proto.Message) bool { return same(was, now) }) {
			shown = append(shown, was)
		}
	}
	return shown
}

// same reports whether two messages are states of one object, as they are in one event.
func same(a, b proto.Message) bool {
	x, ok := a.(*metadatav1.ShardInfo)
	y, shards := b.(*metadatav1.ShardInfo)
	return ok && shards && x.GetShardId() == y.GetShardId()
}

func creation(m proto.Message) step { return step{after: one(m), known: true} }
func removal(m proto.Message) step  { return step{before: one(m), known: true} }

// one returns a list of a message, if there is one.
func one(m proto.Message) []proto.Message {
	if !m.ProtoReflect().IsValid() {
		return nil
	}
	return []proto.Message{m}
}

func all[M proto.Message](messages []M) []proto.Message {
	list := make([]proto.Message, len(messages))
	for i, m := range messages {
		list[i] = m
	}
	return list
}

// find returns the state of the object among others; nil if it is not there.
func (o Object) find(in []proto.Message) proto.Message {
	for _, m := range in {
		if o.is(m) {
			return m
		}
	}
	return nil
}
