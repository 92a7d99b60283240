package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

const schemaStream = metadatav1.Stream_STREAM_SCHEMA

func TestAloneFindsEverythingBackAfterARestart(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	first := c.mustCreate(1, "orders")
	if first.GetTable().GetTableId() == 0 || first.GetResult().GetPosition().GetSchemaRevision() != 1 {
		t.Fatalf("got %v", first)
	}
	c.stop(1)
	c.start(1)
	c.leader(schemaStream)
	state, err := c.up[1].Schema(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if table, ok := state.Model.TableByName("public", "orders"); !ok || table.ID() != first.GetTable().GetTableId() {
		t.Fatalf("orders is %v", table)
	}
	c.kill(1)
	c.start(1)
	if second := c.mustCreate(1, "lines"); second.GetResult().GetPosition().GetSchemaRevision() != 2 {
		t.Fatalf("got %v", second)
	}
}

func TestAnyMemberTakesAnyWrite(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	for id := uint64(1); id <= 3; id++ {
		name := fmt.Sprintf("t%d", id)
		reply := c.mustCreate(id, name)
		// The write is visible at every member by its position, and to a
		// linearizable read without one.
		for other := uint64(1); other <= 3; other++ {
			for _, options := range []*metadatav1.ReadOptions{nil, {
				Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: reply.GetResult().GetPosition(),
			}} {
				state, err := c.up[other].Schema(t.Context(), options)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := state.Model.TableByName("public", name); !ok {
					t.Fatalf("member %d does not know %s with %v", other, name, options)
				}
			}
		}
	}
	_, err := c.create(2, "t1")
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS) {
		t.Fatalf("creating t1 again: %v", err)
	}
	if n := c.converged(); n != 3 {
		t.Fatalf("%d tables", n)
	}
}

func TestReadsAtPositionsThatMakeNoSense(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	c.mustCreate(1, "t")
	for want, options := range map[metadatav1.ErrorReason]*metadatav1.ReadOptions{
		metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD: {
			Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST,
		},
		metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION: {
			Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST,
			AtLeast:     &metadatav1.Position{ClusterId: strings.Repeat("0", 32)},
		},
	} {
		if _, err := c.up[1].Schema(t.Context(), options); !failure.Is(err, want) {
			t.Errorf("%v: %v, want %v", options, err, want)
		}
	}
}

// The answer to a retry is the answer to the first attempt: with the revision at
// which the write took effect, not the one at which the retry came.
func TestARetryIsToldTheRevisionOfItsFirstAttempt(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	request := createTable("t")
	request.Write = &metadatav1.WriteOptions{RequestId: "once"}
	for attempt := range uint64(4) {
		reply, err := c.up[attempt%3+1].Write(t.Context(), proto.CloneOf(request), "test")
		if err != nil {
			t.Fatal(err)
		}
		result := reply.(*metadatav1.CreateTableResponse).GetResult()
		if got := result.GetPosition().GetSchemaRevision(); got != 1 || result.GetDeduplicated() != (attempt > 0) {
			t.Fatalf("attempt %d: %v", attempt, result)
		}
		c.mustCreate(1, fmt.Sprintf("other%d", attempt))
	}
}

func TestAKilledLeaderIsReplacedAndComesBack(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	acknowledged := 0
	for round := range 3 {
		leader := c.leader(schemaStream)
		for i := range 5 {
			c.mustCreate(leader, fmt.Sprintf("r%d_%d", round, i))
			acknowledged++
		}
		c.kill(leader)
		survivor := leader%3 + 1
		c.mustCreate(survivor, fmt.Sprintf("r%d_after", round))
		acknowledged++
		c.start(leader)
	}
	if n := c.converged(); n != acknowledged {
		t.Fatalf("%d tables, %d acknowledged", n, acknowledged)
	}
}

// Nothing that was acknowledged may need a byte that was not synced.
func TestPowerLossOnAllMembersLosesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := newCluster(t, 3, nil)
	c.start(1, 2, 3)
	acknowledged := 0
	for round := range 4 {
		for i := range 10 {
			c.mustCreate(uint64(i%3+1), fmt.Sprintf("r%d_%d", round, i))
			acknowledged++
		}
		c.losePower(rng)
		c.start(1, 2, 3)
		c.leader(schemaStream)
		if n := c.converged(); n != acknowledged {
			t.Fatalf("round %d: %d tables, %d acknowledged", round, n, acknowledged)
		}
	}
}

func readFile(t testing.TB, disk *vfs.MemFS, name string) []byte {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, disk *vfs.MemFS, name string, data []byte) {
	t.Helper()
	out, err := disk.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = out.Write(data)
	}
	if err == nil {
		err = errors.Join(out.Sync(), out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAMemberThatIsTooFarBehindTakesACheckpoint(t *testing.T) {
	c := newCluster(t, 3, unfilled)
	c.start(1, 2, 3)
	c.mustCreate(1, "before")
	c.converged()
	c.stop(3)
	for i := range 100 {
		c.mustCreate(uint64(i%2+1), fmt.Sprintf("t%d", i))
	}
	c.start(3)
	if n := c.converged(); n != 101 {
		t.Fatalf("%d tables", n)
	}
	c.eventually("a checkpoint of another member is installed", func() bool {
		return c.up[3].running.Load().schema.status.Load().Installs > 0
	})
	// Until it is filled in, what came before the checkpoint is not in this member's history;
	// it says so instead of leaving it out.
	err := c.up[3].Subscribe(t.Context(), &metadatav1.SubscribeRequest{
		Start:     &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{SchemaRevision: 1}},
		Filter:    &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}},
		FailOnGap: true,
	}, func(f feed.Frame) error { return fmt.Errorf("got %v", f.Message()) })
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP) {
		t.Fatalf("subscribing behind the gap: %v", err)
	}
	if holder := failure.As(err).Metadata["member"]; holder != "1" && holder != "2" {
		t.Fatalf("no member is named: %v", err)
	}
}

func TestTheFirstStartWaitsForAllMembers(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start(1, 2)
	c.eventually("a reason that names member 3", func() bool {
		err := c.up[1].Ready()
		return err != nil && strings.Contains(err.Error(), "waiting for member 3")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.up[1].Write(ctx, createTable("t"), "test")
	if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NO_LEADER) {
		t.Fatalf("got %v", err)
	}
	c.start(3)
	c.leader(schemaStream)
	c.mustCreate(2, "t")
}

func TestMembersThatDisagreeDoNotStart(t *testing.T) {
	c := newCluster(t, 2, func(c *Config) {
		if c.ID == 2 {
			c.ClusterName = "other"
		}
	})
	c.start(1)
	m, err := c.open(2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = m.Run(ctx)
	// Both hear of it, and of what differs.
	for id, err := range map[int]error{2: err, 1: <-c.up[1].ended} {
		if _, ok := errors.AsType[*raftlog.MembershipMismatchError](err); !ok {
			t.Fatalf("member %d: %v", id, err)
		}
		for _, want := range []string{`"test"`, `"other"`, c.peers[0].Addr} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("member %d: %q does not name %s", id, err, want)
			}
		}
	}
	delete(c.up, 1)
}

func TestADirectoryOfAnotherMemberIsRefused(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	c.mustCreate(1, "t")
	c.stop(1)
	c.name = "other"
	_, err := c.open(1)
	if e, ok := errors.AsType[*raftlog.IdentityError](err); !ok || !strings.Contains(e.Error(), "other") {
		t.Fatalf("got %v", err)
	}
}

func TestConfigsThatMakeNoSense(t *testing.T) {
	peers := []raftlog.Peer{{ID: 1, Addr: "127.0.0.1:1"}, {ID: 2, Addr: "127.0.0.1:2"}}
	for want, change := range map[string]func(*Config){
		"node id 0":             func(c *Config) { c.ID = 0 },
		"not among the peers":   func(c *Config) { c.ID = 3 },
		"cluster name is empty": func(c *Config) { c.ClusterName = "" },
		"0 peers":               func(c *Config) { c.Peers = nil },
		"named twice":           func(c *Config) { c.Peers = []raftlog.Peer{peers[0], {ID: 1, Addr: "127.0.0.1:3"}} },
		"same address":          func(c *Config) { c.Peers = []raftlog.Peer{peers[0], {ID: 2, Addr: peers[0].Addr}} },
		"write HOST:PORT":       func(c *Config) { c.Peers = []raftlog.Peer{peers[0], {ID: 2, Addr: "nowhere"}} },
		"a tick of 1ms":         func(c *Config) { c.Tick = time.Millisecond },
		"lease_duration":        func(c *Config) { c.Leases.Lease = time.Millisecond },
	} {
		config := Config{ID: 1, ClusterName: "c", Peers: peers}
		change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
