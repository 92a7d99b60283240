package past

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/replica"
	pb "go.etcd.io/raft/v3/raftpb"
)

// tables is how many tables a member here has created, one with each change.
const tables = 60

var identity = func() raftlog.Identity {
	peers := []raftlog.Peer{{ID: 1, Addr: "one:5000"}}
	return raftlog.Identity{Format: raftlog.IdentityFormat, ClusterID: raftlog.ClusterID("c", peers), ClusterName: "c", Member: 1, Peers: peers}
}()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// member stores what a member would that has taken the changes: one to an entry, history
// behind each, checkpoints at revisions 20 and 40.
type member struct {
	t       *testing.T
	dir     string
	store   *pebblestore.Store
	state   *projections.Schema
	distort func(record *raftlog.Record)
}

// newMember returns a member's store, which is open.
func newMember(t *testing.T, distort func(*raftlog.Record)) *member {
	t.Helper()
	m := &member{t: t, dir: filepath.Join(t.TempDir(), "member"), distort: distort}
	var err error
	m.store, err = pebblestore.Open(m.dir, pebblestore.Options{ReserveBytes: 1})
	must(t, err)
	groups := []raftlog.GroupID{raftlog.GroupID(schemaStream), raftlog.GroupID(topologyStream), raftlog.GroupID(serviceStream)}
	must(t, m.store.Bootstrap(identity, groups, []uint64{1}))
	m.state = projections.NewSchema(events.ClusterID(identity.ClusterID), 0)
	for _, c := range historytest.Tables(tables, 1) {
		m.change(c)
		if r := c.Revision(); r == 20 || r == 40 {
			m.checkpoint(r + 1)
		}
	}
	return m
}

func (m *member) change(c *events.Change) {
	m.t.Helper()
	head := m.state.Head
	batch := events.Batch{Stream: head.Stream, Cluster: head.Cluster, Term: 2, Previous: head.Digest, Changes: []*events.Change{c}}
	m.state = m.state.Fold(c)
	digest, revision := m.state.Head.Digest, c.Revision()
	record := raftlog.Record{First: revision, Last: revision, Entry: revision + 1, Data: digest[:]}
	if m.distort != nil {
		m.distort(&record)
	}
	must(m.t, m.store.Write([]*raftlog.Write{{
		Group: raftlog.GroupID(schemaStream), Sync: true, HardState: &raftlog.HardState{Term: 2, Vote: 1, Commit: revision + 1},
		Entries: []*pb.Entry{{Index: new(revision + 1), Term: new(uint64(2)), Data: batch.Encode()}}, History: []raftlog.Record{record},
	}}))
}

func (m *member) checkpoint(index uint64) {
	m.t.Helper()
	var meta []byte
	enough := errors.New("enough")
	if err := m.state.Export(func(r []byte) error { meta = bytes.Clone(r); return enough }); !errors.Is(err, enough) {
		m.t.Fatal(err)
	}
	d, err := replica.WriteCheckpoint(m.t.Context(), m.store, &replica.CheckpointJob[schemaModel]{State: m.state, Descriptor: raftlog.Descriptor{
		Format: raftlog.DescriptorFormat, Group: raftlog.GroupID(schemaStream), Index: index, Term: 2, Seq: m.state.Head.Revision,
		ConfState: &pb.ConfState{Voters: []uint64{1}}, Meta: meta,
	}})
	must(m.t, err)
	must(m.t, m.store.Write([]*raftlog.Write{{Group: d.Group, Checkpoint: &d, CutTo: index - 5, Sync: true}}))
}

// open stops the member and opens its directory.
func (m *member) open() Past {
	m.t.Helper()
	must(m.t, m.store.Close())
	p, err := OpenData(m.dir)
	must(m.t, err)
	m.t.Cleanup(func() { must(m.t, p.Close()) })
	return p
}

// exported writes histories in memory into a file.
func exported(t testing.TB, heads []*metadatav1.SignedHead, sources ...history.Source) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "some.export")
	must(t, export.Create(name, func(to io.Writer) error {
		header := export.Header{ClusterName: "c", Time: historytest.Start, Build: "test"}
		_, err := export.Write(t.Context(), to, header, sources, export.Options{SignedHeads: heads})
		return err
	}))
	return name
}

// openFile opens a file with the tables of a member and two nodes.
func openFile(t *testing.T, heads ...*metadatav1.SignedHead) *File {
	t.Helper()
	f, err := OpenFile(exported(t, heads, schemaHistory(), historytest.New(topologyStream, historytest.Nodes(2))))
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return f
}

func schemaHistory() *historytest.Memory {
	return historytest.New(schemaStream, historytest.Tables(tables, 1))
}

// key is a private key of a name's own.
func key(t *testing.T, name string) ed25519.PrivateKey {
	t.Helper()
	k, err := audit.GenerateKey(bytes.NewReader(bytes.Repeat([]byte(name), ed25519.SeedSize)))
	must(t, err)
	return k
}

// signed is a head of a history, as it is or with another digest.
func signed(t *testing.T, k ed25519.PrivateKey, m *historytest.Memory, revision uint64, digest events.Digest) *metadatav1.SignedHead {
	t.Helper()
	h, err := audit.Sign(k, historytest.Cluster, historytest.Epoch, &metadatav1.SignedHead{
		Stream: m.Stream, Revision: revision, Digest: digest[:], Time: timestamppb.New(historytest.Start),
	})
	must(t, err)
	return h
}

func at(revision uint64) *metadatav1.HistoryPoint {
	return &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: revision}}
}

func atTime(seconds int) *metadatav1.HistoryPoint {
	t := historytest.Start.Add(time.Duration(seconds) * time.Second)
	return &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Time{Time: timestamppb.New(t)}}
}

// tableNamed names the table that the change of a revision has created.
func tableNamed(revision uint64) *metadatav1.TableRef {
	return &metadatav1.TableRef{Name: fmt.Sprintf("table_%08d", revision*7919%100_000_007)}
}
