package history_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A golden history is a promise: every later build folds it to the same models. -update writes one
// that is not there yet, and never touches one that is.
var update = flag.Bool("update", false, "write golden histories that do not exist yet")

const (
	goldenChanges = 300 // of the schema, and of the topology
	goldenEvery   = 50  // revisions between two models that are held against what was said
)

// goldens are the golden histories, one for each release whose events differ. A release that has new
// ones gets another line, with another name.
var goldens = []struct {
	name    string
	sources func(t *testing.T) []history.Source // as it was written
}{
	{"v1", func(t *testing.T) []history.Source {
		schema := pasts.Schema(1, goldenChanges)
		return []history.Source{
			pasts.NewSource(schema), pasts.NewSource(pasts.Topology(1, goldenChanges)), pasts.NewSource(goldenService(t, schema)),
		}
	}},
}

// Every later build folds what this one has written to the same models, and there is an event of each
// kind in it.
func TestGoldenHistories(t *testing.T) {
	seen := make(map[events.Kind]bool)
	for _, golden := range goldens {
		path, models := filepath.Join("testdata", golden.name+".export"), filepath.Join("testdata", golden.name+".models")
		if _, err := os.Stat(path); os.IsNotExist(err) && *update {
			var b bytes.Buffer
			header := export.Header{ClusterName: "golden", Time: pasts.Start, Build: golden.name}
			_, err := export.Write(t.Context(), &b, header, golden.sources(t), export.Options{})
			mustDo(t, err)
			mustDo(t, os.WriteFile(path, b.Bytes(), 0o644))
			mustDo(t, os.WriteFile(models, []byte(strings.Join(goldenModels(t, path, seen), "\n")+"\n"), 0o644))
		}
		want, err := os.ReadFile(models)
		mustDo(t, err)
		if diff := cmp.Diff(strings.Fields(string(want)), strings.Fields(strings.Join(goldenModels(t, path, seen), "\n"))); diff != "" {
			t.Errorf("%s is folded to other models than when it was written (-then +now): data of releases would be read as something else\n%s", path, diff)
		}
	}
	kinds := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		if !seen[events.Kind(kinds.Get(i).Number())] {
			t.Errorf("no golden history has %s: add one that has, with -update", kinds.Get(i).Name())
		}
	}
}

// goldenModels folds a file, and says to what, a line for each model. It notes the kinds of events.
func goldenModels(t *testing.T, path string, seen map[events.Kind]bool) (lines []string) {
	t.Helper()
	f, err := export.Open(path)
	mustDo(t, err)
	defer func() { mustDo(t, f.Close()) }()
	_, err = f.Verify(t.Context(), nil)
	mustDo(t, err)
	for _, source := range f.Sources() {
		o := source.Origin()
		switch o.Stream {
		case metadatav1.Stream_STREAM_SCHEMA:
			lines = append(lines, folded(t, source, projections.NewSchema(o.Cluster, o.RecoveryEpoch), seen)...)
		case metadatav1.Stream_STREAM_TOPOLOGY:
			lines = append(lines, folded(t, source, projections.NewTopology(o.Cluster, o.RecoveryEpoch), seen)...)
		case metadatav1.Stream_STREAM_SERVICE:
			lines = append(lines, folded(t, source, projections.NewService(o.Cluster, o.RecoveryEpoch), seen)...)
		}
	}
	return lines
}

func folded[D projections.Domain[D]](t *testing.T, source history.Source, state *projections.State[D], seen map[events.Kind]bool) (lines []string) {
	t.Helper()
	bounds, err := source.Bounds(t.Context())
	mustDo(t, err)
	for changes, err := range history.Scan(t.Context(), source, 1, bounds.Last) {
		mustDo(t, err)
		for _, c := range changes {
			for _, e := range c.Events() {
				seen[e.Kind()] = true
			}
			state = state.Fold(c)
			if r := c.Revision(); r%goldenEvery == 0 || r == bounds.Last {
				lines = append(lines, fmt.Sprintf("%s %d %v %x", events.StreamName(c.Stream()), r, state.Head.Digest, state.Hash()))
			}
		}
	}
	return lines
}

// goldenService returns changes of the service stream, as commands make them: it keeps heads of the
// schema's.
func goldenService(t *testing.T, schema []*events.Change) (changes []*events.Change) {
	t.Helper()
	digests := []events.Digest{events.FirstDigest(pasts.Cluster, metadatav1.Stream_STREAM_SCHEMA)}
	for _, c := range schema {
		digests = append(digests, digests[len(digests)-1].Next(c.Raw()))
	}
	state := projections.NewService(pasts.Cluster, pasts.Epoch)
	try := func(command proto.Message) {
		d, err := commands.Service(state, commands.Env{Now: pasts.Start.Add(time.Duration(len(changes)) * time.Second), Actor: "golden"}, command)
		mustDo(t, err)
		state, changes = state.Fold(d.Change), append(changes, d.Change)
	}
	for i := range uint64(12) {
		name := fmt.Sprintf("consumer-%d", i%4)
		position := &metadatav1.Position{ClusterId: pasts.Cluster.String(), RecoveryEpoch: pasts.Epoch, SchemaRevision: 20 + i, TopologyRevision: 30 + i}
		try(&metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{Name: name, Position: position, Filter: &metadatav1.Filter{Tables: []string{"orders"}}}})
		try(&metadatav1.OpenConsumerRequest{Name: name, Owner: "host"})
		position.SchemaRevision += 5
		try(&metadatav1.AcknowledgeConsumerRequest{Name: name, Epoch: state.Head.Revision, Position: position})
		if i < 8 {
			try(&metadatav1.DeleteConsumerRequest{Name: name})
		}
		try(&metadatav1.SignHead{Head: &metadatav1.SignedHead{
			Stream: metadatav1.Stream_STREAM_SCHEMA, Revision: 10 + i, Digest: digests[10+i][:], Time: timestamppb.New(pasts.Start),
			KeyId: []byte("the key."), Signature: slices.Repeat([]byte{byte(i)}, 64),
		}})
	}
	try(&metadatav1.TrimHistory{Floor: &metadatav1.HistoryFloor{
		Stream: metadatav1.Stream_STREAM_SCHEMA, OldestRevision: 9, PreviousDigest: digests[8][:], OldestTime: timestamppb.New(pasts.Start),
	}})
	try(&metadatav1.TrimHistory{PassConsumers: true, Floor: &metadatav1.HistoryFloor{
		Stream: metadatav1.Stream_STREAM_TOPOLOGY, OldestRevision: 60, PreviousDigest: digests[0][:], OldestTime: timestamppb.New(pasts.Start),
	}})
	return changes
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
