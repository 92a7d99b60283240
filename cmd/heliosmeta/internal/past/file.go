package past

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// File is a Past in an exported file.
type File struct {
	local
	export *export.File
}

// OpenFile opens an exported file. Its changes are not verified yet; a file that is damaged
// elsewhere is an *export.DamagedError.
func OpenFile(path string) (*File, error) {
	exported, err := export.Open(path)
	if err != nil {
		return nil, err
	}
	f := &File{export: exported, local: local{name: path, cluster: exported.Header().ClusterName, close: exported.Close}}
	f.heads = func(_ context.Context, id metadatav1.Stream) ([]*metadatav1.SignedHead, error) {
		return f.headsOf(id), nil
	}
	for i, source := range exported.Sources() {
		s, err := f.stream(source, exported.Trailer().Streams[i].Digest)
		if err != nil {
			return nil, errors.Join(err, exported.Close())
		}
		f.streams = append(f.streams, s)
	}
	return f, nil
}

// Export returns the file itself.
func (f *File) Export() *export.File { return f.export }

func (f *File) headsOf(id metadatav1.Stream) []*metadatav1.SignedHead {
	return slices.DeleteFunc(slices.Clone(f.export.Trailer().SignedHeads), func(h *metadatav1.SignedHead) bool { return h.GetStream() != id })
}

// stream returns a stream of the file, at the end of which is a digest.
func (f *File) stream(source history.Source, digest events.Digest) (*stream, error) {
	first, err := genesis(source.Origin())
	if err != nil {
		return nil, err
	}
	w := &watched{Source: source}
	return &stream{
		source:    source,
		watched:   w,
		log:       objects.NewLog(w, objects.NewIndex(w, new(objects.MemoryMarks))),
		models:    modelsFrom(w, first, keepBase(source).nearest),
		beginning: func(ctx context.Context) (State, error) { return beginning(ctx, source) },
		said:      func(ctx context.Context) ([]Said, error) { return f.saidOf(ctx, source, digest) },
	}, nil
}

// saidOf is what a file says: the trailer about its end, signed heads about revisions in it.
func (f *File) saidOf(ctx context.Context, source history.Source, end events.Digest) ([]Said, error) {
	bounds, err := source.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	all := []Said{onlyDigest("trailer", source.Origin(), bounds.Last, end[:])}
	for _, h := range f.headsOf(source.Origin().Stream) {
		if h.GetRevision() >= bounds.First && h.GetRevision() <= bounds.Last {
			all = append(all, onlyDigest(fmt.Sprintf("signed head, key %x", h.GetKeyId()), source.Origin(), h.GetRevision(), h.GetDigest()))
		}
	}
	return bySaid(all), nil
}

// onlyDigest is what somebody says who knows a digest and nothing else.
func onlyDigest(by string, o history.Origin, revision uint64, digest []byte) Said {
	return Said{By: by, OnlyDigest: true, Head: &metadatav1.GetHeadResponse{
		ClusterId: o.Cluster.String(), RecoveryEpoch: o.RecoveryEpoch, Revision: revision, Digest: digest,
	}}
}

// modelsFrom returns the models of a source. stored finds states that are stored somewhere,
// nearest to a revision, besides the first.
func modelsFrom(source history.Source, first State, stored nearest) models {
	switch s := first.(type) {
	case state[schemaModel]:
		return modelsOf[schemaModel]{history.NewModels(source, basesOf[schemaModel]{s.of, stored}, nil)}
	case state[topologyModel]:
		return modelsOf[topologyModel]{history.NewModels(source, basesOf[topologyModel]{s.of, stored}, nil)}
	}
	return modelsOf[serviceModel]{history.NewModels(source, basesOf[serviceModel]{first.(state[serviceModel]).of, stored}, nil)}
}

// nearest returns the stored state with the highest revision between two; nil if there is
// none.
type nearest func(ctx context.Context, from, to uint64) (State, error)

// basesOf are the states that folds begin with: stored ones, and the first.
type basesOf[D projections.Domain[D]] struct {
	first  *projections.State[D]
	stored nearest
}

func (b basesOf[D]) Nearest(ctx context.Context, from, to uint64) (*projections.State[D], error) {
	found, err := b.stored(ctx, from, to)
	if err != nil {
		return nil, err
	}
	if found != nil {
		return found.(state[D]).of, nil
	}
	return history.Beginning[D]{State: b.first}.Nearest(ctx, from, to)
}
