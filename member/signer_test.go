package member

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/internal/canonical"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The leader of the service stream signs heads, and the history holds against them on every
// member.
func TestHeadsAreSigned(t *testing.T) {
	key, err := audit.GenerateKey(strings.NewReader(strings.Repeat("seed", 8)))
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 3, func(c *Config) { c.AuditKey, c.Audit = key, audit.Policy{Every: 5} })
	c.start(1, 2, 3)
	for i := range 12 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	c.converged()
	var heads []*metadatav1.SignedHead
	for id := range c.up {
		c.eventually("a head is signed", func() bool {
			state, err := c.up[id].Service(t.Context(), &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL})
			if err != nil {
				t.Fatal(err)
			}
			heads = heads[:0]
			for h := range state.Model.SignedHeads(schemaStream) {
				heads = append(heads, h.Message())
			}
			return len(heads) > 0 && heads[len(heads)-1].GetRevision() > 7
		})
		verdict, err := audit.VerifyHeads(t.Context(), c.past(id), heads, []ed25519.PublicKey{audit.Public(key)}, nil)
		if err != nil || verdict.Fit != len(heads) || verdict.Proven < 8 {
			t.Errorf("member %d: %+v (%v)", id, verdict, err)
		}
	}
	// The service stream's own heads are not signed, and what is signed is not signed again.
	state, err := c.up[1].Service(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Collect(state.Model.SignedHeads(metadatav1.Stream_STREAM_SERVICE))); n != 0 {
		t.Errorf("%d heads of the service stream are signed", n)
	}
	time.Sleep(5 * signTicks * c.up[1].config.Tick)
	again, err := c.up[1].Service(t.Context(), nil)
	if err != nil || again.Head.Revision != state.Head.Revision {
		t.Errorf("without a change the service stream moved from %d to %d (%v)", state.Head.Revision, again.Head.Revision, err)
	}
}

// Members without a key do not sign; where another has one, an alarm says that nobody does, and why.
func TestNobodySignsIsSaid(t *testing.T) {
	key, err := audit.GenerateKey(strings.NewReader(strings.Repeat("seed", 8)))
	if err != nil {
		t.Fatal(err)
	}
	everybody := false
	c := newCluster(t, 3, func(c *Config) {
		c.Audit, c.Tick = audit.Policy{Every: 5}, MinTick
		if c.ID == 3 || everybody {
			c.AuditKey = key
		}
	})
	c.start(1, 2, 3)
	c.eventually("a member without a key leads", func() bool {
		leads := c.leader(metadatav1.Stream_STREAM_SERVICE) != 3
		if !leads {
			c.stop(3)
			c.start(3)
		}
		return leads
	})
	unsigned := func(id uint64) string {
		status, err := c.up[id].Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range status.GetAlarms() {
			if strings.Contains(a.GetMessage(), "was to be signed") {
				return a.GetMessage()
			}
		}
		return ""
	}
	for i := range 6 {
		c.mustCreate(1, fmt.Sprintf("t%d", i))
	}
	leader := c.leader(metadatav1.Stream_STREAM_SERVICE)
	c.eventually("an alarm says so", func() bool {
		said := unsigned(1)
		return strings.Contains(said, "schema stream") && strings.Contains(said, fmt.Sprintf("member %d, which leads the service stream, has no key", leader))
	})
	c.stop(3)
	if said := unsigned(1); said != "" || !c.up[1].running.Load().overdue.of(schemaStream).Load() {
		t.Errorf("nobody has a key: %s", said)
	}
	everybody = true
	for id := range uint64(3) {
		if c.up[id+1] != nil {
			c.stop(id + 1)
		}
		c.start(id + 1)
	}
	c.eventually("the head is signed, and the alarm ends", func() bool { return unsigned(3) == "" })
}

// What a leader says of the streams comes from nobody else.
func TestSignedHeadsAndTrimsAreNotForwarded(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start(1)
	c.mustCreate(1, "t")
	head := &metadatav1.SignedHead{
		Stream: schemaStream, Revision: 1, Digest: make([]byte, 32), Time: timestamppb.Now(), KeyId: make([]byte, 8), Signature: make([]byte, 64),
	}
	floor := &metadatav1.HistoryFloor{Stream: schemaStream, OldestRevision: 2, PreviousDigest: make([]byte, 32), OldestTime: timestamppb.Now()}
	for _, command := range []proto.Message{&metadatav1.SignHead{Head: head}, &metadatav1.TrimHistory{Floor: floor}} {
		raw, err := canonical.Marshal(command)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := proto.Marshal(&metadatav1.ForwardedCommand{
			Stream: metadatav1.Stream_STREAM_SERVICE, Type: string(command.ProtoReflect().Descriptor().FullName()), Command: raw, RequestId: "r",
		})
		if err != nil {
			t.Fatal(err)
		}
		m := c.up[1].Member
		if _, err := m.serveForwarded(t.Context(), m.running.Load(), payload); err == nil || !strings.Contains(err.Error(), "never forwarded") {
			t.Errorf("a forwarded %T: %v", command, err)
		}
	}
}
