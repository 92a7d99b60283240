package clienttest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/clienttest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const schema = metadatav1.Stream_STREAM_SCHEMA

func leaderOf(t *testing.T, s *clienttest.Service) *clienttest.Member {
	t.Helper()
	leader, err := s.Leader(schema)
	if err != nil {
		t.Fatal(err)
	}
	return leader
}

// A leader ends, as an operator or a power cut ends it: writes go on, a cache never goes back and
// comes to them, and the member comes back with all that there is.
func TestAClusterGetsOverItsLeadersEnd(t *testing.T) {
	for name, end := range map[string]func(*clienttest.Member) error{
		"stopped": (*clienttest.Member).Stop,
		"killed":  func(m *clienttest.Member) error { m.Kill(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s, c := clienttest.New(t, clienttest.Options{Members: 3})
			ctx := soon(t)
			cache, err := c.NewCache(client.CacheOptions{BookmarkInterval: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if err := cache.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			last := uint64(0)
			for round := range 3 {
				leader := leaderOf(t, s)
				if err := end(leader); err != nil {
					t.Fatal(err)
				}
				if next := leaderOf(t, s); next == leader {
					t.Fatal("a member that does not run leads")
				}
				written, err := c.CreateNamespace(ctx, namespace(fmt.Sprintf("n%d", round)))
				if err != nil {
					t.Fatal(err)
				}
				for last < written.GetResult().GetPosition().GetSchemaRevision() {
					now := cache.Position().GetSchemaRevision()
					if now < last || ctx.Err() != nil {
						t.Fatalf("the cache went from revision %d to %d: %v", last, now, ctx.Err())
					}
					last = now
				}
				if err := leader.Start(); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range s.Members() {
				only, err := client.New(client.Options{Endpoints: []string{m.Endpoint()}})
				if err != nil {
					t.Fatal(err)
				}
				list, err := only.ListNamespaces(ctx, &metadatav1.ListNamespacesRequest{})
				only.Close()
				if err != nil || len(list.GetNamespaces()) != 4 {
					t.Fatalf("member %d has %v: %v", m.ID(), list.GetNamespaces(), err)
				}
			}
		})
	}
}

// All members lose their power at once, and nothing that was acknowledged.
func TestAPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	for _, members := range []int{1, 3} {
		s, c := clienttest.New(t, clienttest.Options{Members: members})
		ctx := soon(t)
		for round := range 3 {
			if _, err := c.CreateNamespace(ctx, namespace(fmt.Sprintf("n%d", round))); err != nil {
				t.Fatal(err)
			}
			for _, m := range s.Members() {
				m.Kill()
				m.Kill()
			}
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			list, err := c.ListNamespaces(ctx, &metadatav1.ListNamespacesRequest{})
			if err != nil || len(list.GetNamespaces()) != round+2 {
				t.Fatalf("of %d members: after round %d there is %v: %v", members, round, list.GetNamespaces(), err)
			}
		}
	}
}

// Without a majority nobody leads and nothing is answered, until one member more is there.
func TestAMinorityAnswersNobody(t *testing.T) {
	s, c := clienttest.New(t, clienttest.Options{Members: 3})
	members := s.Members()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := members[0].Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Leader(schema); err == nil || !strings.Contains(err.Error(), "majority") {
		t.Fatalf("one of three members: %v", err)
	}
	short, cancel := contextOf(t, 200*time.Millisecond)
	defer cancel()
	if _, err := c.CreateNamespace(short, namespace("early")); !client.IsUnavailable(err) {
		t.Fatalf("one of three members: %v", err)
	}
	if err := errors.Join(members[1].Start(), members[0].Stop(), members[0].Start()); err != nil {
		t.Fatal(err)
	}
	if err := members[1].Start(); err == nil {
		t.Fatal("a member was started twice")
	}
	if _, err := c.CreateNamespace(soon(t), namespace("late")); err != nil {
		t.Fatal(err)
	}
}
