package server

import (
	"context"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	consumers "github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// fakePast is the history of a stream of a fake: the changes that its feed has in memory, from
// first on.
type fakePast struct {
	fake  *fake
	log   *feed.Log
	first uint64 // what is before it, the member lacks
	hurt  uint64 // this revision is damaged; 0: none is
	trace *objects.Log
}

type fakeModels struct {
	schema   *history.Models[*schema.Model]
	topology *history.Models[*projections.TopologyModel]
	service  *history.Models[*consumers.Model]
}

func (f *fake) rememberPast() {
	for i, log := range f.logs {
		p := &fakePast{fake: f, log: log, first: 1}
		p.trace = objects.NewLog(p, objects.NewIndex(p, new(objects.MemoryMarks)))
		f.pasts[i] = p
	}
	f.models.schema = history.NewModels(f.pasts[0], history.Beginning[*schema.Model]{State: f.schema.Load()}, nil)
	f.models.topology = history.NewModels(f.pasts[1], history.Beginning[*projections.TopologyModel]{State: f.topology.Load()}, nil)
	f.models.service = history.NewModels(f.pasts[2], history.Beginning[*consumers.Model]{State: f.service.Load()}, nil)
}

func (p *fakePast) Origin() history.Origin {
	return history.Origin{Stream: p.log.Stream(), Cluster: testCluster, RecoveryEpoch: 1}
}

func (p *fakePast) Bounds(ctx context.Context) (history.Bounds, error) {
	first := max(p.first, p.fake.service.Load().Model.Floor(p.log.Stream()).OldestRevision())
	b := history.Bounds{First: first, Last: p.log.Head(), Previous: events.FirstDigest(testCluster, p.log.Stream())}
	for _, c := range p.log.Recent(1, 1<<30) {
		if c.Revision() < first {
			b.Previous = b.Previous.Next(c.Raw())
		}
	}
	return b, ctx.Err()
}

func (p *fakePast) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	if oldest := p.fake.service.Load().Model.Floor(p.log.Stream()).OldestRevision(); from < oldest {
		return nil, history.Trimmed(p.log.Stream(), from, oldest)
	}
	if from < p.first {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP, "this member lacks revision %d; member 9 has it", from)
	}
	changes := p.log.Recent(from, maxBytes)
	if p.hurt >= from && p.hurt < from+uint64(len(changes)) {
		if changes = changes[:p.hurt-from]; len(changes) == 0 {
			return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED, "revision %d is damaged on this member", from)
		}
	}
	return changes, ctx.Err()
}

func (p *fakePast) Originals(ctx context.Context, from uint64, maxBytes int) (originals [][]byte, err error) {
	changes, err := p.Read(ctx, from, maxBytes)
	for _, c := range changes {
		originals = append(originals, c.Raw())
	}
	return originals, err
}

func (p *fakePast) Await(ctx context.Context, revision uint64) error {
	for {
		changed := p.log.Changed()
		if p.log.Head() >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *fakePast) Digest(ctx context.Context, revision uint64) (events.Digest, error) {
	bounds, err := p.Bounds(ctx)
	digest := bounds.Previous
	for _, c := range p.log.Recent(bounds.First, 1<<30) {
		if c.Revision() <= revision {
			digest = digest.Next(c.Raw())
		}
	}
	return digest, err
}

func (f *fake) Service(_ context.Context, o *metadatav1.ReadOptions) (*projections.Service, error) {
	s := f.service.Load()
	if o.GetConsistency() == metadatav1.Consistency_CONSISTENCY_AT_LEAST {
		o = nil
	}
	return s, f.check(o, s.Head)
}

func (f *fake) History(_ context.Context, stream metadatav1.Stream) (history.Live, error) {
	return f.pasts[stream-1], nil
}

func (f *fake) Objects(_ context.Context, stream metadatav1.Stream) (*objects.Log, error) {
	return f.pasts[stream-1].trace, nil
}

func (f *fake) SchemaAt(ctx context.Context, revision uint64) (*projections.Schema, error) {
	if revision == history.Now {
		f.models.schema.Keep(f.schema.Load())
		return f.schema.Load(), nil
	}
	if f.onAsOf != nil {
		if err := f.onAsOf(ctx); err != nil {
			return nil, err
		}
	}
	return f.models.schema.At(ctx, revision)
}

func (f *fake) TopologyAt(ctx context.Context, revision uint64) (*projections.Topology, error) {
	if revision == history.Now {
		f.models.topology.Keep(f.topology.Load())
		return f.topology.Load(), nil
	}
	return f.models.topology.At(ctx, revision)
}

func (f *fake) ServiceAt(ctx context.Context, revision uint64) (*projections.Service, error) {
	if revision == history.Now {
		f.models.service.Keep(f.service.Load())
		return f.service.Load(), nil
	}
	return f.models.service.At(ctx, revision)
}

func (f *fake) VerifyHistory(ctx context.Context, stream metadatav1.Stream, progress history.Progress) (history.Verified, error) {
	return history.Verify(ctx, f.pasts[stream-1], history.VerifyOptions{Progress: progress})
}
