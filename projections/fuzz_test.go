package projections

import (
	"fmt"
	"slices"
	"testing"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// FuzzFold takes any bytes for a log entry and folds what decodes: into a state that
// can be written out and read back, or it ends with a FoldError. Nothing else may
// panic: a member names the entry that it cannot apply.
func FuzzFold(f *testing.F) {
	const known = 12 // changes folded before
	schemas, topologies, services := schemaHistory(5, known+8), topologyHistory(5, known+8), serviceHistory(5, known+8)
	schema, topology := NewSchema(cluster, 1).FoldAll(schemas[:known]), NewTopology(cluster, 1).FoldAll(topologies[:known])
	service := NewService(cluster, 1).FoldAll(services[:known])
	seed := func(h Head, changes []*events.Change) {
		for _, n := range []int{1, 8} {
			b := &events.Batch{Stream: h.Stream, Cluster: h.Cluster, RecoveryEpoch: 1, Term: 3, Previous: h.Digest, Changes: changes[known : known+n]}
			f.Add(b.Encode())
		}
	}
	seed(schema.Head, schemas)
	seed(topology.Head, topologies)
	seed(service.Head, services)
	f.Fuzz(func(t *testing.T, entry []byte) {
		b, err := events.DecodeBatch(entry)
		if err != nil {
			return
		}
		switch b.Stream {
		case metadatav1.Stream_STREAM_SCHEMA:
			foldAndReadBack(t, schema, b.Changes)
		case metadatav1.Stream_STREAM_TOPOLOGY:
			foldAndReadBack(t, topology, b.Changes)
		default:
			foldAndReadBack(t, service, b.Changes)
		}
	})
}

func foldAndReadBack[D Domain[D]](t *testing.T, s *State[D], changes []*events.Change) {
	t.Helper()
	var next *State[D]
	if caught := panicOf(func() { next = s.FoldAll(changes) }); caught != nil {
		if err, ok := caught.(*FoldError); !ok || err.Reason == "" {
			panic(caught)
		}
		return
	}
	again, err := s.Import(oneBuffer(records(t, next)))
	if err != nil {
		t.Fatalf("the checkpoint of a folded state cannot be read: %v", err)
	}
	if again.Hash() != next.Hash() {
		t.Fatal("the state that was read back is another one")
	}
	use(again)
}

// use decodes every object: those that were never decoded must be as they claim.
func use(state any) {
	switch s := state.(type) {
	case *Schema:
		for n := range s.Model.Namespaces("") {
			_ = n.Message().GetName()
		}
		for table := range s.Model.TablesByID(0) {
			_ = table.Message().GetName()
		}
	case *Topology:
		for n := range s.Model.Nodes("") {
			_ = n.Message().GetNodeId()
		}
		for shard := range s.Model.Shards(nil) {
			_ = shard.Message().GetShardId()
		}
	case *Service:
		for c := range s.Model.Consumers("") {
			_ = c.Message().GetName()
			_ = c.Reads(metadatav1.Stream_STREAM_SCHEMA)
		}
		for stream := range metadatav1.Stream_name {
			for h := range s.Model.SignedHeads(metadatav1.Stream(stream)) {
				_ = h.Message().GetRevision()
			}
			_ = s.Model.Floor(metadatav1.Stream(stream)).Message().GetOldestRevision()
		}
	default:
		panic(fmt.Sprintf("%T is no state", state))
	}
}

// FuzzImport takes any records for a checkpoint. What is read from them is written out
// as what is read again. If Verify finds nothing, each object and each remembered
// change decodes.
func FuzzImport(f *testing.F) {
	for n := range 3 {
		f.Add(byte(0), joined(records(f, NewSchema(cluster, 1).FoldAll(schemaHistory(uint64(n), 8*n)))))
		f.Add(byte(1), joined(records(f, NewTopology(cluster, 1).FoldAll(topologyHistory(uint64(n), 8*n)))))
		f.Add(byte(2), joined(records(f, NewService(cluster, 1).FoldAll(serviceHistory(uint64(n), 8*n)))))
	}
	f.Fuzz(func(t *testing.T, stream byte, raw []byte) {
		switch stream % 3 {
		case 0:
			importAndWriteBack(t, NewSchema(cluster, 1), raw)
		case 1:
			importAndWriteBack(t, NewTopology(cluster, 1), raw)
		case 2:
			importAndWriteBack(t, NewService(cluster, 1), raw)
		}
	})
}

func importAndWriteBack[D Domain[D]](t *testing.T, blank *State[D], raw []byte) {
	t.Helper()
	s, err := blank.Import(oneBuffer(split(raw)))
	if err != nil {
		return
	}
	again, err := blank.Import(oneBuffer(records(t, s)))
	if err != nil {
		t.Fatalf("what was read cannot be read again: %v", err)
	}
	if again.Hash() != s.Hash() {
		t.Fatal("what was read again is another state")
	}
	if s.Verify() != nil {
		return
	}
	use(s)
	for r := range s.Requests.ids.All() {
		if c, ok := s.Requests.Lookup(r.id); !ok || c.RequestID() != r.id {
			t.Fatalf("request %q is remembered with the change of another", r.id)
		}
	}
}

// joined puts records behind one another, each behind its length.
func joined(records [][]byte) (all []byte) {
	for _, r := range records {
		all = protowire.AppendBytes(all, r)
	}
	return all
}

func split(all []byte) (records [][]byte) {
	for len(all) > 0 {
		r, n := protowire.ConsumeBytes(all)
		if n < 0 {
			return append(records, slices.Clone(all))
		}
		records, all = append(records, r), all[n:]
	}
	return records
}
