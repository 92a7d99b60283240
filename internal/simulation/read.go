package simulation

import (
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// withOptions is the request of any reading rpc.
type withOptions interface {
	GetRead() *metadatav1.ReadOptions
}

// read carries out a reading rpc. Lists come in one page.
func (m *member) read(request proto.Message, done func(proto.Message, error)) {
	q, ok := request.(withOptions)
	if !ok {
		done(nil, errNoRead)
		return
	}
	options := q.GetRead()
	m.w.counts.add("reads", 1)
	switch request.(type) {
	case *metadatav1.GetTableRequest, *metadatav1.ListTablesRequest, *metadatav1.ListNamespacesRequest:
		view(m, m.run.schema, options, options.GetAtLeast().GetSchemaRevision(), func(s *projections.Schema, err error) {
			if err != nil {
				done(nil, err)
				return
			}
			done(answerSchema(s, request))
		})
	case *metadatav1.GetConsumerRequest:
		view(m, m.run.service, options, 0, func(s *projections.Service, err error) {
			if err != nil {
				done(nil, err)
				return
			}
			done(answerService(s, request))
		})
	default:
		view(m, m.run.topology, options, options.GetAtLeast().GetTopologyRevision(), func(s *projections.Topology, err error) {
			if err != nil {
				done(nil, err)
				return
			}
			done(answerTopology(s, request))
		})
	}
}

// view gets a stream's model at a consistency.
func view[D projections.Domain[D]](m *member, s *stream[D], o *metadatav1.ReadOptions, atLeast uint64, done func(*projections.State[D], error)) {
	answer := func(a replica.ReadAnswer[D]) { done(a.State, a.Err) }
	switch o.GetConsistency() {
	case metadatav1.Consistency_CONSISTENCY_LOCAL:
		done(s.replica.View(), nil)
	case metadatav1.Consistency_CONSISTENCY_AT_LEAST:
		if o.GetAtLeast() == nil {
			done(nil, failure.InvalidField("read.at_least", "AT_LEAST without a position"))
			return
		}
		if v := s.replica.View(); v.Head.Revision >= atLeast {
			done(v, nil)
			return
		}
		s.read(replica.Read[D]{AtLeast: atLeast, Done: answer})
	default:
		s.read(replica.Read[D]{Done: answer})
	}
}

// positionOf is what a model's reader has seen: a revision of its stream, and nothing
// of the other.
func positionOf(h projections.Head) *metadatav1.Position {
	p := &metadatav1.Position{ClusterId: h.Cluster.String(), RecoveryEpoch: h.RecoveryEpoch}
	setRevision(p, h.Stream, h.Revision)
	return p
}

func notFound(format string, args ...any) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, format, args...)
}

func answerSchema(s *projections.Schema, request proto.Message) (proto.Message, error) {
	position := positionOf(s.Head)
	switch q := request.(type) {
	case *metadatav1.GetTableRequest:
		table, ok := findTable(s.Model, q.GetTable())
		if !ok {
			return nil, notFound("there is no table %v", q.GetTable())
		}
		return &metadatav1.GetTableResponse{Table: table.Message(), Position: position}, nil
	case *metadatav1.ListTablesRequest:
		answer := &metadatav1.ListTablesResponse{Position: position}
		if name := q.GetNamespace(); name != "" {
			if _, ok := s.Model.Namespace(name); !ok {
				return nil, notFound("there is no namespace %q", name)
			}
		}
		for t := range s.Model.TablesByName(q.GetNamespace(), "") {
			if q.GetNamespace() == "" || t.Namespace() == q.GetNamespace() {
				answer.Tables = append(answer.Tables, t.Message())
			}
		}
		return answer, nil
	case *metadatav1.ListNamespacesRequest:
		answer := &metadatav1.ListNamespacesResponse{Position: position}
		for n := range s.Model.Namespaces("") {
			answer.Namespaces = append(answer.Namespaces, n.Message())
		}
		return answer, nil
	}
	return nil, errNoRead
}

func findTable(m *schema.Model, ref *metadatav1.TableRef) (*schema.Table, bool) {
	if id := ref.GetTableId(); id != 0 {
		return m.Table(id)
	}
	return m.TableByName(ref.GetNamespace(), ref.GetName())
}

func answerTopology(s *projections.Topology, request proto.Message) (proto.Message, error) {
	position := positionOf(s.Head)
	switch q := request.(type) {
	case *metadatav1.GetNodeRequest:
		node, ok := s.Model.Node(q.GetNodeId())
		if !ok {
			return nil, notFound("there is no node %q", q.GetNodeId())
		}
		return &metadatav1.GetNodeResponse{Node: node.Message(), Position: position}, nil
	case *metadatav1.GetShardRequest:
		shard, ok := findShard(s.Model, q)
		if !ok {
			return nil, notFound("there is no shard %v", q.GetShard())
		}
		return &metadatav1.GetShardResponse{Shard: shard.Message(), Position: position}, nil
	case *metadatav1.ListNodesRequest:
		answer := &metadatav1.ListNodesResponse{Position: position}
		for n := range s.Model.Nodes("") {
			if t := q.GetNodeType(); t == metadatav1.NodeType_NODE_TYPE_UNSPECIFIED || n.Type() == t {
				answer.Nodes = append(answer.Nodes, n.Message())
			}
		}
		return answer, nil
	case *metadatav1.ListShardsRequest:
		answer := &metadatav1.ListShardsResponse{Position: position}
		for sh := range s.Model.Shards(nil) {
			if node := q.GetNodeId(); node == "" || sh.Primary() == node || sh.Mirror() == node || sh.Witness() == node {
				answer.Shards = append(answer.Shards, sh.Message())
			}
		}
		return answer, nil
	case *metadatav1.GetTopologyRequest:
		all := &metadatav1.Topology{Holes: s.Model.Holes(maxHoles)}
		for n := range s.Model.Nodes("") {
			all.Nodes = append(all.Nodes, n.Message())
		}
		for sh := range s.Model.Shards(nil) {
			all.Shards = append(all.Shards, sh.Message())
		}
		return &metadatav1.GetTopologyResponse{Topology: all, Position: position}, nil
	}
	return nil, errNoRead
}

func answerService(s *projections.Service, request proto.Message) (proto.Message, error) {
	q, ok := request.(*metadatav1.GetConsumerRequest)
	if !ok {
		return nil, errNoRead
	}
	consumer, ok := s.Model.Consumer(q.GetName())
	if !ok {
		return nil, notFound("there is no consumer %q", q.GetName())
	}
	return &metadatav1.GetConsumerResponse{Consumer: consumer.Message()}, nil
}

// maxHoles is how many holes an answer names, as in package server.
const maxHoles = 1000

func findShard(m *projections.TopologyModel, q *metadatav1.GetShardRequest) (*topology.Shard, bool) {
	if by, ok := q.GetShard().(*metadatav1.GetShardRequest_Key); ok {
		return m.ShardAt(by.Key)
	}
	return m.Shard(q.GetShardId())
}
