package member

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// timeless makes a cluster whose own clocks do not tick while a test lasts, so that what
// happens does not happen because raft's time-outs have passed.
func timeless(t *testing.T) (c *cluster, leader uint64, followers []uint64) {
	t.Helper()
	return timelessWith(t, func(*Config) {})
}

func timelessWith(t *testing.T, change func(*Config)) (c *cluster, leader uint64, followers []uint64) {
	t.Helper()
	c = newCluster(t, 3, func(c *Config) {
		c.Tick = MaxTick
		change(c)
	})
	c.start(1, 2, 3)
	for id := range c.up {
		c.eventually("it runs", func() bool { return c.up[id].running.Load() != nil })
	}
	c.eventually("all follow a leader", func() bool {
		time.Sleep(20 * time.Millisecond)
		followed := 0
		for id := range c.up {
			for _, s := range c.up[id].running.Load().all() {
				s.peerBack() // without a leader it stands for election
				if s.leader() == id {
					s.tick(false) // a beat for those that have not met it yet
				}
				if s.leader() != 0 {
					followed++
				}
			}
		}
		return followed == len(streamIDs)*len(c.up)
	})
	leader = c.leader(schemaStream)
	c.mustCreate(leader, "first")
	for id := range c.up {
		if id != leader {
			followers = append(followers, id)
		}
	}
	return c, leader, followers
}

func (c *cluster) schema(id uint64) *stream[*schema.Model] { return c.up[id].running.Load().schema }

// do carries something out on the goroutine of a stream.
func do[D projections.Domain[D]](s *stream[D], f func()) {
	done := make(chan struct{})
	s.inputs.push(func() { f(); close(done) })
	<-done
}

// replaced waits until another member leads than before, and writes through all.
func (c *cluster) replaced(old uint64, by []uint64, term uint64) {
	c.t.Helper()
	c.eventually("another leader", func() bool {
		for _, id := range by {
			if s := c.schema(id).soft.Load(); s.Role == raftlog.Leader && s.Term > term {
				return true
			}
		}
		return false
	})
	for id := range c.up {
		c.mustCreate(id, fmt.Sprintf("after_%d_%d", term, id))
	}
	if s := c.schema(old).soft.Load(); s.Role == raftlog.Leader {
		c.t.Errorf("member %d still leads", old)
	}
}

func TestASilentLeaderIsReplacedAtTheFirstTimeOut(t *testing.T) {
	c, leader, followers := timeless(t)
	term := c.schema(leader).soft.Load().Term
	c.eventually("another leader", func() bool {
		for _, id := range followers {
			s := c.schema(id)
			do(s, func() { // ticks of this alone: raft's clock stands still
				if s.soft.Load().Leader != leader {
					return // a message on its way may have made it follow again
				}
				s.hearing.last[leader] = s.hearing.now
				for range ElectionTicks - 1 {
					s.listen()
				}
				if s.replica.Status().Leader != leader {
					t.Errorf("member %d gives its leader up before the time-out", id)
				}
				s.listen()
				if s.replica.Status().Leader == leader {
					t.Errorf("member %d follows a leader that is silent", id)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		return max(c.schema(followers[0]).soft.Load().Term, c.schema(followers[1]).soft.Load().Term) > term
	})
	c.replaced(leader, followers, term)
}

// A follower that alone does not hear its leader unseats nobody.
func TestAFollowerThatHearsNobodyUnseatsNobody(t *testing.T) {
	c, leader, followers := timeless(t)
	term := c.schema(leader).soft.Load().Term
	c.eventually("it stands for election in vain", func() bool {
		for range ElectionTicks { // a message on its way may end one silence
			c.schema(followers[0]).tick(false)
		}
		do(c.schema(followers[0]), func() {})
		s := c.schema(followers[0]).soft.Load()
		return s.Role == raftlog.PreCandidate && s.Leader == 0
	})
	c.mustCreate(leader, "second")
	c.eventually("it follows again", func() bool { return c.schema(followers[0]).soft.Load().Leader == leader })
	if s := c.schema(leader).soft.Load(); s.Role != raftlog.Leader || s.Term != term {
		t.Fatalf("the leader of term %d is %+v", term, s)
	}
}

// A leader that hears no majority says so, and the others do without it, though they
// hear it.
func TestALeaderThatHearsNobodyResigns(t *testing.T) {
	c, leader, followers := timeless(t)
	s := c.schema(leader)
	term := s.soft.Load().Term
	do(s, func() {
		s.hearing.now += ElectionTicks - 2
		s.listen()
	})
	do(s, func() {
		if s.unheard() {
			t.Error("it counts as unheard before the time-out")
		}
	})
	c.eventually("it resigns", func() (resigned bool) { // a tick later each time: an answer may have been on its way
		do(s, func() {
			before := s.hearing.resigned
			s.listen()
			resigned = s.hearing.resigned != before
		})
		return resigned
	})
	c.replaced(leader, followers, term)
}

// Only the leader of the present term can resign.
func TestResignationsThatMakeNoSense(t *testing.T) {
	c, leader, followers := timeless(t)
	r, s := c.up[followers[0]].running.Load(), c.schema(followers[0])
	before := *s.soft.Load()
	for what, payload := range map[string][]byte{
		"empty": nil, "short": make([]byte, resignationBytes-1), "long": make([]byte, resignationBytes+1),
		"a stream that is not there": appendResignation(nil, 99, before.Term),
	} {
		if err := serveResigned(r, leader, payload); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for from, term := range map[uint64]uint64{followers[1]: before.Term, leader: before.Term - 1} {
		if err := serveResigned(r, from, appendResignation(nil, schemaStream, term)); err != nil {
			t.Error(err)
		}
	}
	if err := serveResigned(r, leader, appendResignation(nil, schemaStream, before.Term+1)); err != nil {
		t.Error(err)
	}
	do(s, func() {})
	do(s, func() {})
	if now := *s.soft.Load(); now != before {
		t.Fatalf("it followed %+v, now %+v", before, now)
	}
}

// A leader whose port refuses while it lives, and goes on sending, is replaced.
func TestALeaderThatCannotBeReachedIsReplaced(t *testing.T) {
	c, leader, followers := timeless(t)
	term := c.schema(leader).soft.Load().Term
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = c.create(leader, fmt.Sprintf("load%d", i)) // appends, which followers would listen to
			}
		}
	}()
	for _, id := range followers {
		peers{c.up[id].Member}.PeerDown(leader, true)
	}
	c.eventually("another leader", func() bool {
		return max(c.schema(followers[0]).soft.Load().Term, c.schema(followers[1]).soft.Load().Term) > term
	})
	close(stop)
	<-stopped
	c.replaced(leader, followers, term)
}

// sendingConn tells when a text that is waited for has been sent.
type sendingConn struct {
	net.Conn
	text string
	sent func()
}

func (c *sendingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if bytes.Contains(b[:n], []byte(c.text)) {
		c.sent()
	}
	return n, err
}

// lostOnTheWay creates a table through a follower while the leader does not answer, and has
// another member lead when the command was sent. It returns what the caller hears and
// lets the old leader go on.
func lostOnTheWay(t *testing.T, table string, prepare func(c *cluster, leader uint64)) (*cluster, uint64, error) {
	t.Helper()
	sent := make(chan struct{})
	signal := sync.OnceFunc(func() { close(sent) })
	var waiting atomic.Bool
	c, leader, followers := timelessWith(t, func(c *Config) {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return &sendingConn{conn, table, func() {
				if waiting.Load() {
					signal()
				}
			}}, nil
		}
	})
	prepare(c, leader)
	stuck := make(chan struct{})
	held := make(chan struct{})
	c.schema(leader).inputs.push(func() { close(held); <-stuck })
	defer close(stuck)
	<-held // it sends nothing of its own any more
	waiting.Store(true)
	reply := make(chan error, 1)
	go func() {
		_, err := c.create(followers[0], table)
		reply <- err
	}()
	select {
	case <-sent:
	case <-time.After(20 * time.Second):
		t.Fatal("the command is not sent")
	}
	for _, id := range followers {
		peers{c.up[id].Member}.PeerDown(leader, true)
	}
	select {
	case err := <-reply:
		return c, leader, err
	case <-time.After(20 * time.Second):
		t.Fatal("the write hangs")
		return nil, 0, nil
	}
}

// A write on its way to a leader that does not answer is sent to the next leader as soon as
// there is one, and takes effect once.
func TestAForwardedWriteFollowsTheLeader(t *testing.T) {
	c, leader, err := lostOnTheWay(t, "on_its_way", func(*cluster, uint64) {})
	if err != nil {
		t.Error(err)
	}
	c.mustCreate(leader, "after")
	reads, err := c.up[leader].Schema(t.Context(), &metadatav1.ReadOptions{})
	if err != nil || reads.Model.TableCount() != 3 {
		t.Fatalf("%v; want 3 tables: first, on_its_way, after", err)
	}
}

// The next leader's refusal says nothing of the attempt that is still on its way.
func TestARefusalLeavesOpenWhatAnEarlierAttemptDoes(t *testing.T) {
	_, _, err := lostOnTheWay(t, "there_already", func(c *cluster, leader uint64) {
		c.mustCreate(leader, "there_already")
		c.converged() // nobody sends its name any more
	})
	f := failure.As(err)
	if f == nil || f.Reason != metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN || f.RequestID == "" ||
		!strings.Contains(f.Message, f.RequestID) || !strings.Contains(f.Message, "there_already") {
		t.Fatalf("the caller hears: %v", err)
	}
}

// A member asks campaignTries times whether the others would elect it, and nobody is heard
// while nobody leads.
func TestAMemberStandsForElectionAsOftenAsItSays(t *testing.T) {
	c, leader, followers := timeless(t)
	for _, id := range append(followers[1:], leader) {
		c.kill(id)
	}
	s := c.schema(followers[0])
	c.eventually("it has no leader", func() bool {
		do(s, func() { s.doWithout(leader, true) })
		return s.soft.Load().Leader == 0
	})
	do(s, func() {
		s.seenTerm, s.campaigns = s.soft.Load().Term, campaignTries
		stood := 0
		for before := s.nextCampaign; stood <= 2*campaignTries; before = s.nextCampaign {
			if s.campaign(); s.nextCampaign == before {
				break
			}
			stood++
		}
		if stood != campaignTries {
			t.Errorf("it stood for election %d times, want %d", stood, campaignTries)
		}
		if _, noted := s.hearing.last[0]; noted {
			t.Error("nobody was heard as a leader")
		}
	})
}
