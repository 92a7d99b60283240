// Package historytest has histories in memory for tests: a source of changes, and changes
// that fold. Every read decodes anew, as from a disk. Nothing here is random.
package historytest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Cluster is the cluster of all histories here; its recovery epoch is Epoch.
var Cluster = events.ClusterID{0: 0xc1, 15: 0x1d}

// Epoch is the recovery epoch of all histories here.
const Epoch = 3

// Start is the time before the first change. Each change is a second later.
var Start = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// Memory is the history of a stream, as encoded changes. It may be changed between calls.
type Memory struct {
	Stream   metadatav1.Stream
	First    uint64
	Previous events.Digest // of the stream before First
	Encoded  [][]byte      // from First on
	AtMost   int           // so many changes in one read; 0: as many as fit
}

// New returns the history of a stream from its first change on.
func New(stream metadatav1.Stream, changes []*events.Change) *Memory {
	m := &Memory{Stream: stream, First: 1, Previous: events.FirstDigest(Cluster, stream)}
	for _, c := range changes {
		m.Encoded = append(m.Encoded, c.Raw())
	}
	return m
}

// Trim returns the history without what comes before a revision.
func (m *Memory) Trim(first uint64) *Memory {
	trimmed := *m
	trimmed.First, trimmed.Previous, trimmed.Encoded = first, m.Digest(first-1), m.Encoded[first-m.First:]
	return &trimmed
}

// Digest returns the digest of the stream behind a revision.
func (m *Memory) Digest(revision uint64) events.Digest {
	d := m.Previous
	for _, raw := range m.Encoded[:revision+1-m.First] {
		d = d.Next(raw)
	}
	return d
}

// Origin returns whose history it is.
func (m *Memory) Origin() history.Origin {
	return history.Origin{Stream: m.Stream, Cluster: Cluster, RecoveryEpoch: Epoch}
}

// Bounds returns what there is.
func (m *Memory) Bounds(context.Context) (history.Bounds, error) {
	return history.Bounds{First: m.First, Last: m.First + uint64(len(m.Encoded)) - 1, Previous: m.Previous}, nil
}

// Read decodes changes from a revision on.
func (m *Memory) Read(_ context.Context, from uint64, maxBytes int) (changes []*events.Change, err error) {
	if from < m.First {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, "the history begins at %d", m.First)
	}
	for i := from - m.First; i < uint64(len(m.Encoded)); i++ {
		if maxBytes -= len(m.Encoded[i]); len(changes) > 0 && (maxBytes < 0 || len(changes) == m.AtMost) {
			break
		}
		c, err := events.DecodeChange(m.Encoded[i])
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// Keeper is a history with digests beside it.
type Keeper struct {
	*Memory
	Every   uint64 // revisions with a digest
	Digests map[uint64]events.Digest
}

// Keep returns the history with a digest behind every so many changes.
func (m *Memory) Keep(every uint64) *Keeper {
	k := &Keeper{m, every, make(map[uint64]events.Digest)}
	d := m.Previous
	for i, raw := range m.Encoded {
		d = d.Next(raw)
		if revision := m.First + uint64(i); revision%every == 0 {
			k.Digests[revision] = d
		}
	}
	return k
}

// KeptDigest returns the next digest.
func (k *Keeper) KeptDigest(_ context.Context, from uint64) (uint64, events.Digest, error) {
	revision := (from + k.Every - 1) / k.Every * k.Every
	if d, ok := k.Digests[revision]; ok {
		return revision, d, nil
	}
	return 0, events.Digest{}, nil
}

// Based is a history with a base before it.
type Based struct {
	*Memory
	Checkpoint []byte // of the model right before First
	Size       int    // of the chunks that it is given in
	Broken     error  // behind half of it; nil: it is whole
}

// Base returns the history with the checkpoint of the model right before it.
func (m *Memory) Base(checkpoint []byte) *Based { return &Based{m, checkpoint, 1000, nil} }

// Base yields the checkpoint.
func (b *Based) Base(_ context.Context, revision uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if revision+1 != b.First || len(b.Checkpoint) == 0 {
			yield(nil, history.NoBase(b.Stream, b.First, "it was never here"))
			return
		}
		whole := b.Checkpoint
		if b.Broken != nil {
			whole = whole[:len(whole)/2]
		}
		for chunk := range slices.Chunk(whole, b.Size) {
			if !yield(slices.Clone(chunk), nil) {
				return
			}
		}
		if b.Broken != nil {
			yield(nil, b.Broken)
		}
	}
}

// Seal returns a change of one event.
func Seal(revision uint64, event *metadatav1.Event) *events.Change {
	return events.Seal(events.Header{
		Revision: revision, Time: Start.Add(time.Duration(revision) * time.Second), Actor: "ann", RequestID: fmt.Sprintf("request-%d", revision),
	}, []events.Event{events.New(event)})
}

// Tables returns changes of the schema stream: each creates a table with so many columns.
func Tables(n, columns int) []*events.Change {
	changes := make([]*events.Change, n)
	for i := range changes {
		revision := uint64(i + 1)
		t := &metadatav1.TableSchema{
			TableId: revision, Namespace: "public", NamespaceId: 1, Name: fmt.Sprintf("table_%08d", revision*7919%100_000_007),
			Version: 1, CreatedRevision: revision, UpdatedRevision: revision,
		}
		for c := range columns {
			t.Columns = append(t.Columns, &metadatav1.ColumnSchema{
				ColumnId: uint32(c + 1), Name: fmt.Sprintf("column_%02d", c),
				DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING},
			})
		}
		changes[i] = Seal(revision, &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}})
	}
	return changes
}

// Nodes returns changes of the topology stream: each registers a node.
func Nodes(n int) []*events.Change {
	changes := make([]*events.Change, n)
	for i := range changes {
		revision := uint64(i + 1)
		node := &metadatav1.NodeInfo{
			NodeId: fmt.Sprintf("s%d", i), Addr: "10.0.0.1:7000", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE,
			Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE, Epoch: revision, Incarnation: fmt.Sprintf("run-%d", i),
			RegisteredRevision: revision, UpdatedRevision: revision, StatusTime: timestamppb.New(Start.Add(time.Duration(revision) * time.Second)),
		}
		changes[i] = Seal(revision, &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: node}}})
	}
	return changes
}
