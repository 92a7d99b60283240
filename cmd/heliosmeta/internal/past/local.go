package past

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/diff"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// local is a Past that lies here: sources of changes, and what is worked out from them.
type local struct {
	name    string
	cluster string // its name
	streams []*stream
	heads   func(context.Context, metadatav1.Stream) ([]*metadatav1.SignedHead, error)
	close   func() error
}

// stream is one stream of a local Past.
type stream struct {
	source    history.Source
	watched   *watched // the source for log and models
	log       *objects.Log
	models    models
	beginning func(context.Context) (State, error)
	said      func(context.Context) ([]Said, error)
}

func (s *stream) id() metadatav1.Stream { return s.source.Origin().Stream }

// models are the states of one stream as they were.
type models interface {
	At(ctx context.Context, revision uint64) (State, error)
}

// modelsOf are models of one kind.
type modelsOf[D projections.Domain[D]] struct{ *history.Models[D] }

func (m modelsOf[D]) At(ctx context.Context, revision uint64) (State, error) {
	s, err := m.Models.At(ctx, revision)
	if err != nil {
		return nil, err
	}
	return state[D]{s}, nil
}

func (l *local) Name() string                                { return l.name }
func (l *local) ClusterName(context.Context) (string, error) { return l.cluster, nil }
func (l *local) Close() error                                { return l.close() }

func (l *local) Watch(progress export.Progress) {
	for _, s := range l.streams {
		s.watched.tell = progress
	}
}

func (l *local) Streams() []metadatav1.Stream {
	var ids []metadatav1.Stream
	for _, s := range l.streams {
		ids = append(ids, s.id())
	}
	return ids
}

func (l *local) stream(id metadatav1.Stream) (*stream, error) {
	for _, s := range l.streams {
		if s.id() == id {
			return s, nil
		}
	}
	return nil, noStream(l.name, id)
}

func (l *local) Source(_ context.Context, id metadatav1.Stream) (history.Source, error) {
	s, err := l.stream(id)
	if err != nil {
		return nil, err
	}
	return s.source, nil
}

func (l *local) Beginning(ctx context.Context, id metadatav1.Stream) (State, error) {
	s, err := l.stream(id)
	if err != nil {
		return nil, err
	}
	return s.beginning(ctx)
}

func (l *local) Heads(ctx context.Context, id metadatav1.Stream) ([]*metadatav1.SignedHead, error) {
	return l.heads(ctx, id)
}

func (l *local) Said(ctx context.Context, id metadatav1.Stream) ([]Said, error) {
	s, err := l.stream(id)
	if err != nil {
		return nil, err
	}
	return s.said(ctx)
}

func (l *local) Follow(context.Context, *metadatav1.ChangeSelection) iter.Seq2[*metadatav1.Change, error] {
	return failed[*metadatav1.Change](fmt.Errorf("%s does not change: only a running service can be followed", l.name))
}

func (l *local) ObjectLog(ctx context.Context, ref *metadatav1.ObjectRef, first, last uint64) iter.Seq2[*metadatav1.ObjectChange, error] {
	s, err := l.stream(objects.StreamOf(ref))
	if err != nil {
		return failed[*metadatav1.ObjectChange](err)
	}
	bounds, err := s.source.Bounds(ctx)
	if err != nil {
		return failed[*metadatav1.ObjectChange](err)
	}
	last = cmp.Or(last, bounds.Last)
	object, err := s.log.Resolve(ctx, ref, last)
	if err != nil {
		return failed[*metadatav1.ObjectChange](err)
	}
	return func(yield func(*metadatav1.ObjectChange, error) bool) {
		none := true
		for v, err := range s.log.Versions(ctx, object, first, last, true) {
			if err != nil {
				yield(nil, err)
				return
			}
			none = false
			if !yield(v.Message(), nil) {
				return
			}
		}
		if none && max(first, bounds.First) == 1 && last == bounds.Last {
			yield(nil, object.NeverWas())
		}
	}
}

// at returns the revision and the state of a stream at a point.
func (l *local) at(ctx context.Context, id metadatav1.Stream, at *metadatav1.HistoryPoint) (State, uint64, error) {
	s, err := l.stream(id)
	if err != nil {
		return nil, 0, err
	}
	revision, err := Revision(ctx, s.source, at)
	if err != nil {
		return nil, 0, err
	}
	state, err := s.models.At(ctx, revision)
	return state, revision, err
}

func (l *local) Table(ctx context.Context, ref *metadatav1.TableRef, at *metadatav1.HistoryPoint) (*metadatav1.GetTableAsOfResponse, error) {
	s, err := l.stream(schemaStream)
	if err != nil {
		return nil, err
	}
	revision, err := Revision(ctx, s.source, at)
	if err != nil {
		return nil, err
	}
	v, err := s.log.AsOf(ctx, &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: ref}}, revision)
	if err == nil {
		table, _ := v.After.(*metadatav1.TableSchema)
		return &metadatav1.GetTableAsOfResponse{Table: table, Revision: revision, ChangedBy: history.Info(v.Change)}, nil
	}
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) {
		return nil, err
	}
	// Nothing that is left is about the table: what it was is in the model alone.
	state, modelErr := s.models.At(ctx, revision)
	if modelErr != nil {
		return nil, err
	}
	table, found := tableIn(state, ref)
	if !found {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "there was no such table at revision %d", revision)
	}
	return &metadatav1.GetTableAsOfResponse{Table: table, Revision: revision}, nil
}

// tableIn finds a table in a state of the schema stream.
func tableIn(s State, ref *metadatav1.TableRef) (*metadatav1.TableSchema, bool) {
	model := s.(state[schemaModel]).of.Model
	t, found := model.Table(ref.GetTableId())
	if ref.GetTableId() == 0 {
		t, found = model.TableByName(ref.GetNamespace(), ref.GetName())
	}
	if !found {
		return nil, false
	}
	return t.Message(), true
}

func (l *local) Tables(ctx context.Context, namespace string, at *metadatav1.HistoryPoint) (*metadatav1.ListTablesAsOfResponse, error) {
	s, revision, err := l.at(ctx, schemaStream, at)
	if err != nil {
		return nil, err
	}
	res := &metadatav1.ListTablesAsOfResponse{Revision: revision}
	for t := range s.(state[schemaModel]).of.Model.TablesByName(namespace, "") {
		if namespace != "" && t.Namespace() != namespace {
			break
		}
		res.Tables = append(res.Tables, t.Message())
	}
	return res, nil
}

// maxHoles is how many holes of the shard map are told.
const maxHoles = 100

func (l *local) Topology(ctx context.Context, at *metadatav1.HistoryPoint) (*metadatav1.GetTopologyAsOfResponse, error) {
	s, revision, err := l.at(ctx, topologyStream, at)
	if err != nil {
		return nil, err
	}
	model := s.(state[topologyModel]).of.Model
	t := &metadatav1.Topology{Holes: model.Holes(maxHoles)}
	for n := range model.Nodes("") {
		t.Nodes = append(t.Nodes, n.Message())
	}
	for shard := range model.Shards(nil) {
		t.Shards = append(t.Shards, shard.Message())
	}
	return &metadatav1.GetTopologyAsOfResponse{Topology: t, Revision: revision}, nil
}

func (l *local) Diff(ctx context.Context, id metadatav1.Stream, from, to *metadatav1.HistoryPoint) (*metadatav1.DiffRevisionsResponse, error) {
	before, first, err := l.at(ctx, id, from)
	if err != nil {
		return nil, err
	}
	after, last, err := l.at(ctx, id, to)
	if err != nil {
		return nil, err
	}
	if first > last {
		return nil, failure.InvalidField("to", "revision %d lies before revision %d; name the older one first", last, first)
	}
	res := &metadatav1.DiffRevisionsResponse{FromRevision: first, ToRevision: last}
	for d, err := range difference(before, after) {
		if err != nil {
			return nil, err
		}
		res.Objects = append(res.Objects, d)
	}
	return res, nil
}

// difference yields in what two states of one stream differ.
func difference(before, after State) iter.Seq2[*metadatav1.ObjectDiff, error] {
	switch b := before.(type) {
	case state[schemaModel]:
		return diff.Schema(b.of.Model, after.(state[schemaModel]).of.Model, nil, diff.Place{})
	case state[topologyModel]:
		return diff.Topology(b.of.Model, after.(state[topologyModel]).of.Model, nil, diff.Place{})
	}
	return diff.Service(before.(state[serviceModel]).of.Model, after.(state[serviceModel]).of.Model, nil, diff.Place{})
}

// failed yields an error and nothing else.
func failed[V any](err error) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		var none V
		yield(none, err)
	}
}
