package server

import (
	"context"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The streams of tables and of nodes and shards.
const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
)

// GetTableAsOf is of the contract. The index of objects finds the change that had made the table
// what it was; only where that is not kept any more the whole model is made.
func (s service) GetTableAsOf(ctx context.Context, r *metadatav1.GetTableAsOfRequest) (*metadatav1.GetTableAsOfResponse, error) {
	ref := r.GetTable()
	if ref.GetTableId() == 0 && ref.GetName() == "" {
		return nil, failure.InvalidField("table", "names neither a table_id nor a name; give one")
	}
	source, err := s.past(ctx, schemaStream, nil, r.GetRead())
	if err != nil {
		return nil, err
	}
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	revision := bounds.Last
	if r.GetAt() != nil {
		if revision, err = revisionAt(ctx, source, "at", r.GetAt()); err != nil {
			return nil, err
		}
	}
	log, err := s.member.Objects(ctx, schemaStream)
	if err != nil {
		return nil, err
	}
	v, err := log.AsOf(ctx, &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: ref}}, revision)
	if isGone(err) {
		return s.tableOfModel(ctx, ref, revision)
	}
	if err != nil {
		return nil, err
	}
	table, _ := v.After.(*metadatav1.TableSchema)
	return &metadatav1.GetTableAsOfResponse{Table: table, Revision: revision, ChangedBy: history.Info(v.Change)}, nil
}

// isGone reports whether a failure is about changes that the member does not have.
func isGone(err error) bool {
	return failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) ||
		failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP)
}

// tableOfModel reads a table from the model of a revision. Of the change that had made it what
// it was, only the revision is known.
func (s service) tableOfModel(ctx context.Context, ref *metadatav1.TableRef, revision uint64) (*metadatav1.GetTableAsOfResponse, error) {
	state, err := s.member.SchemaAt(ctx, revision)
	if err != nil {
		return nil, err
	}
	found, ok := findTable(state.Model, ref)
	if !ok {
		return nil, noTable(ref)
	}
	table := found.Message()
	return &metadatav1.GetTableAsOfResponse{Table: table, Revision: revision, ChangedBy: &metadatav1.ChangeInfo{
		Stream: schemaStream, Revision: table.GetUpdatedRevision(),
	}}, nil
}

// ListTablesAsOf is of the contract.
func (s service) ListTablesAsOf(ctx context.Context, r *metadatav1.ListTablesAsOfRequest) (*metadatav1.ListTablesAsOfResponse, error) {
	filter := filterHash([]byte(r.GetNamespace()), encodingOf(r.GetAt()))
	t, err := parseToken(r.GetPageToken(), listTablesAsOf, filter)
	if err != nil {
		return nil, err
	}
	source, err := s.past(ctx, schemaStream, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	revision, err := pageRevision(ctx, source, t, r.GetAt())
	if err != nil {
		return nil, err
	}
	state, err := s.member.SchemaAt(ctx, revision)
	if err != nil {
		return nil, err
	}
	revision = state.Head.Revision
	if name := r.GetNamespace(); name != "" {
		if _, ok := state.Model.Namespace(name); !ok {
			return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there was no namespace %q at revision %d", name, revision)
		}
	}
	answer := &metadatav1.ListTablesAsOfResponse{Revision: revision}
	p := newPage(ctx, r.GetPageSize())
	var last *schema.Table
	for table := range tablesBehind(state.Model, r.GetNamespace(), t) {
		if !put(p, &answer.Tables, 1, table) {
			answer.NextPageToken = pastToken(originOf(state.Head), listTablesAsOf, revision, filter, tableKey(last))
			break
		}
		last = table
	}
	p.into(answer)
	return answer, nil
}

// GetTopologyAsOf is of the contract.
func (s service) GetTopologyAsOf(ctx context.Context, r *metadatav1.GetTopologyAsOfRequest) (*metadatav1.GetTopologyAsOfResponse, error) {
	filter := filterHash(encodingOf(r.GetAt()))
	t, err := parseToken(r.GetPageToken(), topologyAsOf, filter)
	if err != nil {
		return nil, err
	}
	if t != nil && len(t.cursor) == 0 {
		return nil, badToken("is damaged; begin without a token")
	}
	source, err := s.past(ctx, topologyStream, t, r.GetRead())
	if err != nil {
		return nil, err
	}
	revision, err := pageRevision(ctx, source, t, r.GetAt())
	if err != nil {
		return nil, err
	}
	state, err := s.member.TopologyAt(ctx, revision)
	if err != nil {
		return nil, err
	}
	revision = state.Head.Revision
	answer := &metadatav1.GetTopologyAsOfResponse{Revision: revision, Topology: &metadatav1.Topology{}}
	p := newPage(ctx, r.GetPageSize())
	if t == nil {
		answer.Topology.Holes = boundHoles(state.Model.Holes(commands.MaxListedHoles))
	}
	if next := fillTopology(p, state.Model, t, answer.Topology); next != nil {
		answer.NextPageToken = pastToken(originOf(state.Head), topologyAsOf, revision, filter, next)
	}
	p.into(answer.Topology)
	return answer, nil
}
