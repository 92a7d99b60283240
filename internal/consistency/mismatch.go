package consistency

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// mismatch returns how the answer to a read differs from the log at a revision, or
// "". A nil answer says that there is no such object.
func (t *timeline) mismatch(request, response proto.Message, revision uint64) string {
	switch r := request.(type) {
	case *metadatav1.GetTableRequest:
		answer, _ := response.(*metadatav1.GetTableResponse)
		return differs(t.tableAt(r.GetTable(), revision), answer.GetTable())
	case *metadatav1.GetNodeRequest:
		answer, _ := response.(*metadatav1.GetNodeResponse)
		return differs(t.nodeAt(r.GetNodeId(), revision), answer.GetNode())
	case *metadatav1.GetShardRequest:
		answer, _ := response.(*metadatav1.GetShardResponse)
		return differs(t.shardAt(r, revision), answer.GetShard())
	case *metadatav1.ListTablesRequest:
		answer, _ := response.(*metadatav1.ListTablesResponse)
		return differ(t.tablesIn(r.GetNamespace(), revision), answer.GetTables(), r.GetPageToken(), answer.GetNextPageToken())
	case *metadatav1.ListNamespacesRequest:
		answer, _ := response.(*metadatav1.ListNamespacesResponse)
		return differ(t.namespaces(revision), answer.GetNamespaces(), r.GetPageToken(), answer.GetNextPageToken())
	case *metadatav1.ListNodesRequest:
		answer, _ := response.(*metadatav1.ListNodesResponse)
		return differ(t.nodes(r.GetNodeType(), revision), answer.GetNodes(), r.GetPageToken(), answer.GetNextPageToken())
	case *metadatav1.ListShardsRequest:
		answer, _ := response.(*metadatav1.ListShardsResponse)
		return differ(t.shards(r, revision), answer.GetShards(), r.GetPageToken(), answer.GetNextPageToken())
	case *metadatav1.GetTopologyRequest:
		answer, _ := response.(*metadatav1.GetTopologyResponse)
		return t.topologyDiffers(r, answer, revision)
	}
	return fmt.Sprintf("%T is not a read", request)
}

func (t *timeline) topologyDiffers(r *metadatav1.GetTopologyRequest, answer *metadatav1.GetTopologyResponse, revision uint64) string {
	var want, got []proto.Message
	for _, n := range t.nodes(0, revision) {
		want = append(want, n)
	}
	for _, s := range t.shards(&metadatav1.ListShardsRequest{}, revision) {
		want = append(want, s)
	}
	for _, n := range answer.GetTopology().GetNodes() {
		got = append(got, n)
	}
	for _, s := range answer.GetTopology().GetShards() {
		got = append(got, s)
	}
	return differ(want, got, r.GetPageToken(), answer.GetNextPageToken())
}

// differs compares one object with what the log says; nil is none.
func differs[M interface {
	comparable
	proto.Message
}](want, got M) string {
	var none M
	switch {
	case want == none && got == none:
		return ""
	case want == none:
		return "the log knows no such object at that position"
	case got == none:
		return fmt.Sprintf("the log has %v at that position", want)
	case !proto.Equal(want, got):
		return fmt.Sprintf("the log says %v at that position", want)
	}
	return ""
}

// differ compares a page with the list that the log has: a first page begins where
// the list does, a last one ends where it does, and none leaves anything out.
func differ[M proto.Message](want, got []M, token, next string) string {
	at := 0
	if token != "" && len(got) > 0 {
		for at < len(want) && !proto.Equal(want[at], got[0]) {
			at++
		}
	} else if token != "" {
		at = len(want)
	}
	for i, m := range got {
		if at+i >= len(want) {
			return fmt.Sprintf("object %d of the page is not in the log at that position: %v", i, m)
		}
		if !proto.Equal(want[at+i], m) {
			return fmt.Sprintf("object %d of the page is not %v, as in the log at that position", i, want[at+i])
		}
	}
	if left := len(want) - at - len(got); left > 0 && next == "" {
		return fmt.Sprintf("%d objects are missing behind the last page, the first of them %v", left, want[at+len(got)])
	}
	return ""
}

func (t *timeline) tableAt(ref *metadatav1.TableRef, revision uint64) *metadatav1.TableSchema {
	m := t.schemas[revision]
	found, ok := m.TableByName(ref.GetNamespace(), ref.GetName())
	if id := ref.GetTableId(); id != 0 {
		found, ok = m.Table(id)
	}
	if !ok {
		return nil
	}
	return found.Message()
}

func (t *timeline) nodeAt(id string, revision uint64) *metadatav1.NodeInfo {
	if n, ok := t.topologies[revision].Node(id); ok {
		return n.Message()
	}
	return nil
}

func (t *timeline) shardAt(r *metadatav1.GetShardRequest, revision uint64) *metadatav1.ShardInfo {
	m := t.topologies[revision]
	found, ok := m.Shard(r.GetShardId())
	if by, isKey := r.GetShard().(*metadatav1.GetShardRequest_Key); isKey {
		found, ok = m.ShardAt(by.Key)
	}
	if !ok {
		return nil
	}
	return found.Message()
}

func (t *timeline) tablesIn(namespace string, revision uint64) (all []*metadatav1.TableSchema) {
	for r := range t.schemas[revision].TablesByName(namespace, "") {
		if namespace != "" && r.Namespace() != namespace {
			break
		}
		all = append(all, r.Message())
	}
	return all
}

func (t *timeline) namespaces(revision uint64) (all []*metadatav1.Namespace) {
	for n := range t.schemas[revision].Namespaces("") {
		all = append(all, n.Message())
	}
	return all
}

func (t *timeline) nodes(kind metadatav1.NodeType, revision uint64) (all []*metadatav1.NodeInfo) {
	for n := range t.topologies[revision].Nodes("") {
		if kind == 0 || n.Type() == kind {
			all = append(all, n.Message())
		}
	}
	return all
}

func (t *timeline) shards(r *metadatav1.ListShardsRequest, revision uint64) (all []*metadatav1.ShardInfo) {
	for s := range t.topologies[revision].ShardsWithin(r.GetKeyRange().GetStart(), r.GetKeyRange().GetEnd()) {
		if node := r.GetNodeId(); node == "" || s.Primary() == node || s.Mirror() == node || s.Witness() == node {
			all = append(all, s.Message())
		}
	}
	return all
}
