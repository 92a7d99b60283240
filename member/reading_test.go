package member

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// smallMemory makes feeds forget changes early, so that the past is read from the storage.
func smallMemory(c *Config) {
	shortLogs(c)
	c.LogBytes = 1 << 10
}

// past returns a member's past of the schema stream.
func (c *cluster) past(id uint64) *stored.Source {
	c.t.Helper()
	live, err := c.up[id].History(c.t.Context(), schemaStream)
	if err != nil {
		c.t.Fatal(err)
	}
	return live.(*stored.Source)
}

// all reads a history from a revision to its end.
func all(t testing.TB, source history.Source, from uint64) (changes []*events.Change) {
	t.Helper()
	bounds, err := source.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for chunk, err := range history.Scan(t.Context(), source, from, bounds.Last) {
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, chunk...)
	}
	return changes
}

// What is read of the past is what happened, from memory and from the storage; models of any
// revision are what folding makes, digests those of the chain.
func TestThePastIsWhatHappened(t *testing.T) {
	c := newCluster(t, 1, smallMemory)
	c.start(1)
	const tables = 75
	for i := range tables {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	source := c.past(1)
	changes := all(t, source, 1)
	if len(changes) != tables || c.schema(1).feed.Recent(1, 1) != nil {
		t.Fatalf("%d changes, %d wanted, in memory from the first on: %v", len(changes), tables, c.schema(1).feed.Recent(1, 1) != nil)
	}
	genesis := projections.NewSchema(source.Origin().Cluster, source.Origin().RecoveryEpoch)
	folded := []*projections.Schema{genesis}
	for _, change := range changes {
		folded = append(folded, folded[len(folded)-1].Fold(change))
	}
	for revision, want := range folded {
		digest, err := source.Digest(t.Context(), uint64(revision))
		if err != nil || digest != want.Head.Digest {
			t.Errorf("the digest behind %d is %v (%v), want %v", revision, digest, err, want.Head.Digest)
		}
		if revision%7 != 0 && revision != tables {
			continue
		}
		got, err := c.up[1].SchemaAt(t.Context(), uint64(revision))
		if err != nil || got.Head != want.Head || got.Hash() != want.Hash() {
			t.Errorf("the model at %d is at %+v (%v)", revision, got.Head, err)
		}
	}
	now, err := c.up[1].SchemaAt(t.Context(), history.Now)
	if err != nil || now.Head != folded[tables].Head {
		t.Errorf("now it is %+v (%v)", now.Head, err)
	}
	if _, err := c.up[1].SchemaAt(t.Context(), tables+1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION) {
		t.Errorf("a model of the future: %v", err)
	}
	verified, err := c.up[1].VerifyHistory(t.Context(), schemaStream, nil)
	if err != nil || verified.Changes() != tables || verified.Digest != folded[tables].Head.Digest {
		t.Errorf("verified %+v (%v)", verified, err)
	}
}

// What was carried out and is not stored yet is part of the past too.
func TestThePastHasWhatIsAboutToBeStored(t *testing.T) {
	late := &lateHistory{gate: make(chan struct{})}
	c := newCluster(t, 1, func(c *Config) {
		late.Storage = c.Store
		c.Store = late
	})
	open := sync.OnceFunc(func() { close(late.gate) })
	t.Cleanup(open)
	c.start(1)
	c.mustCreate(1, "t")
	source := c.past(1)
	changes, err := source.Read(t.Context(), 1, 1)
	if err != nil || len(changes) != 1 {
		t.Fatalf("before it is stored: %v (%v)", changes, err)
	}
	state, err := c.up[1].SchemaAt(t.Context(), history.Now)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		digest, err := source.Digest(t.Context(), 1)
		if err != nil || digest != state.Head.Digest {
			t.Errorf("the digest is %v (%v), want %v", digest, err, state.Head.Digest)
		}
		if before, err := source.Digest(t.Context(), 0); err != nil || before != events.FirstDigest(source.Origin().Cluster, schemaStream) {
			t.Errorf("the digest before it is %v (%v)", before, err)
		}
		verified, err := c.up[1].VerifyHistory(t.Context(), schemaStream, nil)
		if err != nil || verified.Last != 1 {
			t.Errorf("verified %+v (%v)", verified, err)
		}
		open()
		c.eventually("it is stored", func() bool { return c.schema(1).feed.Durable() == 1 })
	}
}

// tampered gives other records of history than were written, of the entry that holds revision 3.
type tampered struct {
	raftlog.Storage
	change func(*raftlog.Past)
}

func (s *tampered) ReadHistory(g raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Past, error) {
	past, err := s.Storage.ReadHistory(g, from, maxBytes)
	for i := range past {
		if g == groupOf(schemaStream) && past[i].First <= 3 && past[i].Last >= 3 {
			s.change(&past[i])
		}
	}
	return past, err
}

// Verification reads what is stored, also what is still in memory, and holds it against the
// digests that were kept beside it.
func TestVerificationFindsDamage(t *testing.T) {
	for name, change := range map[string]func(*raftlog.Past){
		"digest":  func(p *raftlog.Past) { p.Data = append([]byte{p.Data[0] ^ 1}, p.Data[1:]...) },
		"content": func(p *raftlog.Past) { p.Content = p.Content[:len(p.Content)-1] },
		"term":    func(p *raftlog.Past) { p.Term++ },
	} {
		c := newCluster(t, 1, func(c *Config) { c.Store = &tampered{c.Store, change} })
		c.start(1)
		for i := range 5 {
			c.mustCreate(1, fmt.Sprintf("t%d", i))
		}
		c.eventually("it is stored", func() bool { return c.schema(1).feed.Durable() == 5 })
		verified, err := c.up[1].VerifyHistory(t.Context(), schemaStream, nil)
		damaged, ok := errors.AsType[*history.DamagedError](err)
		if !ok || damaged.Revision != 3 || verified.Last != 2 {
			t.Errorf("%s: verified %+v (%v)", name, verified, err)
		}
	}
}

// A fold that took long becomes a checkpoint, which later folds begin with.
func TestAFoldedModelIsArchived(t *testing.T) {
	c := newCluster(t, 1, func(c *Config) {
		smallMemory(c)
		c.HistoryFoldChanges = 10
	})
	c.start(1)
	for i := range 30 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.checkpoint(1, raftlog.GenesisIndex)
	p := c.up[1].running.Load().pasts.schema
	state, err := p.at(t.Context(), 11)
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("it is archived", func() bool {
		archived, err := p.stream.member.store.Archived(p.stream.group)
		return err == nil && len(archived) == 1 && archived[0].Seq == 11
	})
	genesis := projections.NewSchema(state.Head.Cluster, state.Head.RecoveryEpoch)
	published := func() *projections.Schema { return p.stream.replica.View() }
	bases := stored.Bases[*schema.Model]{Store: p.stream.member.store, Genesis: genesis, Published: published, Unreadable: p.unreadable}
	base, err := bases.Nearest(t.Context(), 0, 12)
	if err != nil || base.Head != state.Head || base.Hash() != state.Hash() {
		t.Errorf("folds to 12 begin with %+v (%v)", base.Head, err)
	}
}

// smallSegment is the size of segments of smallMarks.
const smallSegment = 8

// smallMarks keep the marks of small segments where those of the storage's own would be.
type smallMarks struct{ raftlog.Storage }

func (s smallMarks) PutMarks(g raftlog.GroupID, segment uint64, marks []raftlog.Mark) error {
	for i := range marks {
		marks[i].Seq += segment * (raftlog.MarkSegment - smallSegment)
	}
	return s.Storage.PutMarks(g, segment, marks)
}

func (s smallMarks) ReadMarks(g raftlog.GroupID, segment, tag uint64) ([]uint64, bool, error) {
	seqs, complete, err := s.Storage.ReadMarks(g, segment, tag)
	for i := range seqs {
		seqs[i] -= segment * (raftlog.MarkSegment - smallSegment)
	}
	return seqs, complete, err
}

// Objects are found by the index, which the member makes by itself before anybody asks.
func TestTheIndexFindsObjects(t *testing.T) {
	c := newCluster(t, 1, func(c *Config) {
		smallMemory(c)
		c.segment, c.Store = smallSegment, smallMarks{c.Store}
	})
	c.start(1)
	for i := range 30 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.stop(1)
	c.start(1) // then it looks at once
	c.leader(schemaStream)
	for segment := range uint64(3) { // of 1 to 23
		c.eventually(fmt.Sprintf("segment %d is indexed", segment), func() bool {
			_, complete, err := c.up[1].store.ReadMarks(groupOf(schemaStream), segment, 0)
			return err == nil && complete
		})
	}
	log, err := c.up[1].Objects(t.Context(), schemaStream)
	if err != nil {
		t.Fatal(err)
	}
	ref := &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: &metadatav1.TableRef{Name: "t17"}}}
	v, err := log.AsOf(t.Context(), ref, 30)
	if err != nil || v.Change.Revision() != 18 {
		t.Errorf("t17 was made by %v (%v)", v.Change, err)
	}
}

// A member that was given a checkpoint says from where on it has the past, and who has the rest,
// until that is filled in.
func TestAMemberThatLacksThePastNamesOneThatHasIt(t *testing.T) {
	c := newCluster(t, 3, func(c *Config) { unfilled(c); smallMemory(c) })
	c.start(1, 2, 3)
	c.mustCreate(1, "before")
	c.converged()
	c.stop(3)
	for i := range 90 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.start(3)
	c.converged()
	source := c.past(3)
	c.eventually("it joined by a checkpoint", func() bool {
		bounds, err := source.Bounds(t.Context())
		return err == nil && bounds.First > 1
	})
	bounds, err := source.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := c.past(1).Digest(t.Context(), bounds.First-1)
	if err != nil || digest != bounds.Previous {
		t.Errorf("the digest before %d is %v, but %v on member 1 (%v)", bounds.First, bounds.Previous, digest, err)
	}
	for _, revision := range []uint64{1, 2, bounds.First - 1} {
		_, err := source.Read(t.Context(), revision, 1)
		if f := failure.As(err); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) || f.Metadata["member"] == "" || f.Metadata["member"] == "3" {
			t.Errorf("reading %d: %v", revision, err)
		}
	}
	verified, err := c.up[3].VerifyHistory(t.Context(), schemaStream, nil)
	if err != nil || verified.First != bounds.First || verified.Last != 91 {
		t.Errorf("verified %+v (%v)", verified, err)
	}
	// Its own checkpoint is a base, so that it has the models from there on.
	if state, err := c.up[3].SchemaAt(t.Context(), bounds.First); err != nil || state.Head.Revision != bounds.First {
		t.Errorf("the model at %d: %v", bounds.First, err)
	}
	if _, err := c.up[3].SchemaAt(t.Context(), 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		t.Errorf("the model at 1: %v", err)
	}
}

// A source of a member that stops says so, also to those who wait.
func TestThePastEndsWithTheMember(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	c.mustCreate(1, "t")
	source := c.past(1)
	waited := make(chan error, 1)
	go func() { waited <- source.Await(context.Background(), 99) }()
	c.stop(1)
	if err := <-waited; !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_STOPPING) {
		t.Errorf("waiting ended with %v", err)
	}
	if _, err := source.Read(t.Context(), 1, 1); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_STOPPING) {
		t.Errorf("reading ended with %v", err)
	}
}

func consumer(name string, at *metadatav1.Position, streams ...metadatav1.Stream) *metadatav1.CreateConsumerRequest {
	return &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{
		Name: name, Position: at, Filter: &metadatav1.Filter{Streams: streams},
	}}
}

// A consumer begins where the leader is, and is never moved to where the cluster is not.
func TestConsumersStayWithinThePast(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	for i := range 5 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.converged()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for id := uint64(1); id <= 3; id++ {
		name := "c" + strconv.FormatUint(id, 10)
		reply, err := c.up[id].Write(ctx, consumer(name, nil), "test")
		if err != nil {
			t.Fatal(err)
		}
		if at := reply.(*metadatav1.CreateConsumerResponse).GetConsumer().GetPosition().GetSchemaRevision(); at != 5 {
			t.Errorf("member %d: it begins at %d", id, at)
		}
		_, err = c.up[id].Write(ctx, consumer("f"+name, &metadatav1.Position{SchemaRevision: 6}), "test")
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION) || failure.As(err).Metadata["newest_revision"] != "5" {
			t.Errorf("member %d: beginning in the future: %v", id, err)
		}
		_, err = c.up[id].Write(ctx, consumer("o"+name, &metadatav1.Position{SchemaRevision: 6}, metadatav1.Stream_STREAM_TOPOLOGY), "test")
		if err != nil {
			t.Errorf("member %d: beginning in the future of a stream that it does not read: %v", id, err)
		}
		foreign := &metadatav1.Position{ClusterId: strings.Repeat("0", 32), SchemaRevision: 6}
		if _, err = c.up[id].Write(ctx, consumer("x"+name, foreign), "test"); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION) {
			t.Errorf("member %d: beginning elsewhere: %v", id, err)
		}
		opened, err := c.up[id].Write(ctx, &metadatav1.OpenConsumerRequest{Name: name}, "test")
		if err != nil {
			t.Fatal(err)
		}
		acknowledge := &metadatav1.AcknowledgeConsumerRequest{
			Name: name, Epoch: opened.(*metadatav1.OpenConsumerResponse).GetConsumer().GetEpoch(), Position: &metadatav1.Position{TopologyRevision: 1},
		}
		if _, err = c.up[id].Write(ctx, acknowledge, "test"); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION) {
			t.Errorf("member %d: acknowledging the future: %v", id, err)
		}
	}
}
