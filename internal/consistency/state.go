package consistency

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// state is objects of one stream at one moment, as the rules see them: some of
// them, or all. It is an immutable value.
type state struct {
	objects []object // by key
}

// object is one object in one state. Key and revision tell states of an object
// apart.
type object struct {
	key      string
	revision uint64 // of the change that made it what it is
	message  proto.Message
}

// publicName is the namespace that always exists.
const publicName = "public"

// Keys of objects begin with their kind.
const (
	namespacePrefix = "namespace/"
	tablePrefix     = "table/"
	nodePrefix      = "node/"
	shardPrefix     = "shard/"
)

func namespaceKey(name string) string { return namespacePrefix + cmp.Or(name, publicName) }
func tableKey(namespace, name string) string {
	return tablePrefix + cmp.Or(namespace, publicName) + "/" + name
}
func nodeKey(id string) string  { return nodePrefix + id }
func shardKey(id uint64) string { return fmt.Sprintf("%s%020d", shardPrefix, id) }

func (s state) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.objects, key, func(o object, key string) int { return strings.Compare(o.key, key) })
}

// get returns an object; nil if there is none.
func (s state) get(key string) proto.Message {
	if i, ok := s.find(key); ok {
		return s.objects[i].message
	}
	return nil
}

// put returns the state with an object.
func (s state) put(o object) state {
	i, ok := s.find(o.key)
	if ok {
		objects := slices.Clone(s.objects)
		objects[i] = o
		return state{objects}
	}
	return state{slices.Insert(slices.Clone(s.objects), i, o)}
}

// remove returns the state without an object.
func (s state) remove(key string) state {
	i, ok := s.find(key)
	if !ok {
		return s
	}
	return state{slices.Delete(slices.Clone(s.objects), i, i+1)}
}

// under returns the objects whose keys begin with a prefix, by key.
func (s state) under(prefix string) []object {
	from, _ := s.find(prefix)
	to := from
	for to < len(s.objects) && strings.HasPrefix(s.objects[to].key, prefix) {
		to++
	}
	return s.objects[from:to]
}

// same reports whether two states of one run are the same.
func (s state) same(other state) bool {
	return slices.EqualFunc(s.objects, other.objects, func(a, b object) bool { return a.key == b.key && a.revision == b.revision })
}

// String lists the objects.
func (s state) String() string {
	var b strings.Builder
	for _, o := range s.objects {
		fmt.Fprintf(&b, "%s@%d ", o.key, o.revision)
	}
	return b.String()
}

func (s state) namespace(name string) *metadatav1.Namespace {
	n, _ := s.get(namespaceKey(name)).(*metadatav1.Namespace)
	return n
}

func (s state) table(ref *metadatav1.TableRef) *metadatav1.TableSchema {
	if ref.GetTableId() == 0 {
		t, _ := s.get(tableKey(ref.GetNamespace(), ref.GetName())).(*metadatav1.TableSchema)
		return t
	}
	for _, o := range s.under(tablePrefix) {
		if t, _ := o.message.(*metadatav1.TableSchema); t.GetTableId() == ref.GetTableId() {
			return t
		}
	}
	return nil
}

// mayHave reports whether a table that was not found by its id may be one that an
// earlier command of the same batch created: the rules do not know those ids.
func (s state) mayHave(ref *metadatav1.TableRef) bool {
	return ref.GetTableId() != 0 && slices.ContainsFunc(s.under(tablePrefix), func(o object) bool {
		t, _ := o.message.(*metadatav1.TableSchema)
		return t.GetTableId() == 0
	})
}

func (s state) node(id string) *metadatav1.NodeInfo {
	n, _ := s.get(nodeKey(id)).(*metadatav1.NodeInfo)
	return n
}

func (s state) shard(id uint64) *metadatav1.ShardInfo {
	i, _ := s.get(shardKey(id)).(*metadatav1.ShardInfo)
	return i
}

// shards returns all shards by id.
func (s state) shards() []*metadatav1.ShardInfo {
	var all []*metadatav1.ShardInfo
	for _, o := range s.under(shardPrefix) {
		if i, ok := o.message.(*metadatav1.ShardInfo); ok {
			all = append(all, i)
		}
	}
	return all
}

// shardAt returns the shard that holds a key; nil if none does.
func (s state) shardAt(key []byte) *metadatav1.ShardInfo {
	for _, i := range s.shards() {
		r := i.GetKeyRange()
		if string(r.GetStart()) <= string(key) && (len(r.GetEnd()) == 0 || string(key) < string(r.GetEnd())) {
			return i
		}
	}
	return nil
}

// initial returns the state before the first change.
func initial(s metadatav1.Stream) state {
	if s != schemaStream {
		return state{}
	}
	return state{}.put(object{namespaceKey(publicName), 0, &metadatav1.Namespace{NamespaceId: 1, Name: publicName, Version: 1}})
}

// maxStates is how many whole states a timeline keeps at a time.
const maxStates = 512

// at returns the whole state at a revision.
func (t *timeline) at(revision uint64) state {
	if s, ok := t.states[revision]; ok {
		return s
	}
	if len(t.states) >= maxStates {
		clear(t.states)
	}
	s := state{make([]object, 0, t.size)}
	switch t.stream {
	case schemaStream:
		m := t.schemas[revision]
		for n := range m.Namespaces("") {
			s.objects = append(s.objects, t.decoded(n, func() object {
				message := n.Message()
				return object{namespaceKey(n.Name()), message.GetCreatedRevision(), message}
			}))
		}
		for r := range m.TablesByID(0) {
			s.objects = append(s.objects, t.decoded(r, func() object {
				message := r.Message()
				return object{tableKey(r.Namespace(), r.Name()), message.GetUpdatedRevision(), message}
			}))
		}
	case topologyStream:
		m := t.topologies[revision]
		for n := range m.Nodes("") {
			s.objects = append(s.objects, t.decoded(n, func() object {
				message := n.Message()
				return object{nodeKey(n.ID()), message.GetUpdatedRevision(), message}
			}))
		}
		for i := range m.Shards(nil) {
			s.objects = append(s.objects, t.decoded(i, func() object {
				message := i.Message()
				return object{shardKey(i.ID()), message.GetUpdatedRevision(), message}
			}))
		}
	case serviceStream:
		s.objects = t.serviceObjects(s.objects, revision)
	}
	t.size = len(s.objects)
	slices.SortFunc(s.objects, func(a, b object) int { return strings.Compare(a.key, b.key) })
	t.states[revision] = s
	return s
}

// decoded returns an object of a model. Models of neighbouring revisions share all
// objects but those that changed between them, so each is decoded once.
func (t *timeline) decoded(of any, decode func() object) object {
	o, ok := t.objects[of]
	if !ok {
		o = decode()
		t.objects[of] = o
	}
	return o
}

// after returns the state after a change, or what does not fit: each event has to
// continue the object that it is about.
func (s state) after(change *events.Change) (next state, misfit string) {
	for _, e := range change.Events() {
		if s, misfit = s.apply(e.Message(), change.Revision()); misfit != "" {
			return s, fmt.Sprintf("change %d: %s", change.Revision(), misfit)
		}
	}
	return s, ""
}

func (s state) apply(e *metadatav1.Event, revision uint64) (state, string) {
	if n := events.NodeOf(e); n != nil {
		return s.applyNode(e, n, revision)
	}
	if c := events.ConsumerOf(e); c != nil {
		return s.applyConsumer(e, c, revision)
	}
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_NamespaceCreated:
		n := k.NamespaceCreated.GetNamespace()
		if s.namespace(n.GetName()) != nil || n.GetVersion() != 1 {
			return s, fmt.Sprintf("namespace %q is created at version %d, and is there already or is not at version 1", n.GetName(), n.GetVersion())
		}
		return s.put(object{namespaceKey(n.GetName()), revision, n}), ""
	case *metadatav1.Event_NamespaceDropped:
		n := k.NamespaceDropped.GetNamespace()
		if before := s.namespace(n.GetName()); before.GetVersion() != n.GetVersion() || before.GetNamespaceId() != n.GetNamespaceId() {
			return s, fmt.Sprintf("namespace %q is dropped, but was %v", n.GetName(), before)
		}
		return s.remove(namespaceKey(n.GetName())), ""
	case *metadatav1.Event_TableCreated, *metadatav1.Event_TableAltered, *metadatav1.Event_TableDropped:
		return s.applyTable(e, revision)
	case *metadatav1.Event_HeadSigned:
		return s, "" // whoever knows the key looks at it
	case *metadatav1.Event_HistoryTrimmed:
		return s.applyFloor(k.HistoryTrimmed.GetFloor(), revision)
	}
	return s.applyShards(e, revision)
}

func (s state) applyTable(e *metadatav1.Event, revision uint64) (state, string) {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_TableCreated:
		t := k.TableCreated.GetTable()
		key := tableKey(t.GetNamespace(), t.GetName())
		if s.get(key) != nil || t.GetVersion() != 1 {
			return s, fmt.Sprintf("%s is created at version %d, and is there already or is not at version 1", key, t.GetVersion())
		}
		return s.put(object{key, revision, t}), ""
	case *metadatav1.Event_TableAltered:
		t := k.TableAltered.GetTable()
		from, to := tableKey(k.TableAltered.GetPreviousNamespace(), k.TableAltered.GetPreviousName()), tableKey(t.GetNamespace(), t.GetName())
		before, _ := s.get(from).(*metadatav1.TableSchema)
		if before.GetTableId() != t.GetTableId() || before.GetVersion()+1 != t.GetVersion() {
			return s, fmt.Sprintf("%s, id %d, is altered to version %d, but was %v", to, t.GetTableId(), t.GetVersion(), before)
		}
		if from != to && s.get(to) != nil {
			return s, fmt.Sprintf("%s is renamed to %s, which is there already", from, to)
		}
		return s.remove(from).put(object{to, revision, t}), ""
	}
	t := e.GetTableDropped().GetTable()
	key := tableKey(t.GetNamespace(), t.GetName())
	if before, _ := s.get(key).(*metadatav1.TableSchema); before.GetTableId() != t.GetTableId() || before.GetVersion() != t.GetVersion() {
		return s, fmt.Sprintf("%s, id %d, version %d, is dropped, but was %v", key, t.GetTableId(), t.GetVersion(), before)
	}
	return s.remove(key), ""
}

func (s state) applyNode(e *metadatav1.Event, n *metadatav1.NodeInfo, revision uint64) (state, string) {
	key, before := nodeKey(n.GetNodeId()), s.node(n.GetNodeId())
	now := s.put(object{key, revision, n})
	misfit := func() string {
		return fmt.Sprintf("%s is now %v, but was %v (%v)", key, n, before, e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().Get(0)).Name())
	}
	if k := e.GetNodeRegistered(); k != nil {
		if k.GetPreviousEpoch() != before.GetEpoch() || n.GetEpoch() <= before.GetEpoch() || n.GetStatus() != metadatav1.NodeStatus_NODE_STATUS_ONLINE {
			return s, misfit()
		}
		return now, ""
	}
	if before == nil || before.GetEpoch() != n.GetEpoch() {
		return s, misfit()
	}
	offline := before.GetStatus() == metadatav1.NodeStatus_NODE_STATUS_OFFLINE
	switch e.GetKind().(type) {
	case *metadatav1.Event_NodeUnregistered:
		return s.remove(key), ""
	case *metadatav1.Event_NodeCameOnline:
		if !offline {
			return s, misfit()
		}
	case *metadatav1.Event_NodeWentOffline:
		if offline {
			return s, misfit()
		}
	case *metadatav1.Event_NodeDrained, *metadatav1.Event_NodeDrainCancelled:
		if before.GetDraining() == n.GetDraining() {
			return s, misfit()
		}
	}
	return now, ""
}

func (s state) applyShards(e *metadatav1.Event, revision uint64) (state, string) {
	before, after := shardsOf(e)
	if len(before)+len(after) == 0 {
		return s, fmt.Sprintf("an event of an unknown kind: %v", e)
	}
	epoch := uint64(0)
	for _, i := range before {
		if found := s.shard(i.GetShardId()); !proto.Equal(found, i) {
			return s, fmt.Sprintf("shard %d was %v, but the event says %v", i.GetShardId(), found, i)
		}
		epoch = max(epoch, i.GetEpoch())
		s = s.remove(shardKey(i.GetShardId()))
	}
	for _, i := range after {
		if s.shard(i.GetShardId()) != nil || i.GetEpoch() != epoch+1 {
			return s, fmt.Sprintf("shard %d is there already, or its epoch %d does not follow %d", i.GetShardId(), i.GetEpoch(), epoch)
		}
		s = s.put(object{shardKey(i.GetShardId()), revision, i})
	}
	return s, ""
}
