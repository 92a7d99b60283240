package raftlog_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

var five = []uint64{1, 2, 3, 4, 5}

// rebuildOf returns the machine of member 5 and drains its first questions.
func rebuildOf(t *testing.T, voters []uint64, promise raftlog.Promise, known bool) *rebuildScript {
	t.Helper()
	r, err := raftlog.NewRebuild(raftlog.RebuildConfig{
		Group: testGroup, Member: voters[len(voters)-1], Voters: voters, Promise: promise, Known: known, Seed: math.MaxUint64 - 1,
		MaxEntryBytes: 100, BatchBytes: 150,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &rebuildScript{Rebuild: r, t: t}
	r.Begin()
	out := s.step()
	if len(out.Offers) != len(voters)-1 || out.Stores() {
		t.Fatalf("it begins with %+v", out)
	}
	s.round = out.Offers[0].Round
	return s
}

type rebuildScript struct {
	*raftlog.Rebuild
	t      *testing.T
	round  uint64
	writes []*raftlog.Write
}

// step takes one output; its storage part succeeds at once.
func (s *rebuildScript) step() raftlog.RebuildOutput {
	out, _ := s.Ready()
	if out.Stores() {
		s.Stored(nil)
	}
	if out.Write != nil {
		s.writes = append(s.writes, out.Write)
	}
	return out
}

// quiet reports that it wants nothing.
func (s *rebuildScript) quiet() bool {
	_, more := s.Ready()
	return !more
}

func (s *rebuildScript) says(from, term uint64) {
	s.t.Helper()
	if err := s.Offered(from, raftlog.OfferAnswer{Round: s.round, Term: term}); err != nil {
		s.t.Fatal(err)
	}
}

// genesisOffer is the offer of a young cluster: entries 2 to 4, all there is.
func genesisOffer(term uint64) raftlog.Offer {
	return raftlog.Offer{
		Term: term, Last: 4, Commit: 3, Start: raftlog.LogStart{Index: 1, Term: 1},
		Checkpoint: raftlog.GenesisDescriptor(testGroup, five),
	}
}

// oldOffer is one with a checkpoint at 10 and a log from 8 to 12.
func oldOffer(term uint64) raftlog.Offer {
	cp := raftlog.GenesisDescriptor(testGroup, five)
	cp.Index, cp.Term, cp.Chunks, cp.Bytes = 10, 2, 1, 3
	return raftlog.Offer{Term: term, Last: 12, Commit: 11, Start: raftlog.LogStart{Index: 7, Term: 2}, Checkpoint: cp}
}

func (s *rebuildScript) offers(from uint64, o raftlog.Offer) {
	s.t.Helper()
	if err := s.Offered(from, raftlog.OfferAnswer{Round: s.round, Term: o.Term, Leader: from, Offer: &o}); err != nil {
		s.t.Fatal(err)
	}
}

func logEntries(first uint64, terms ...uint64) (es []*pb.Entry) {
	for i, term := range terms {
		es = append(es, &pb.Entry{Index: new(first + uint64(i)), Term: new(term), Data: []byte("data")})
	}
	return es
}

// Nothing is taken before the caller has set the directory aside, which it does when all
// groups have an offer; and an offer does not stay for ever.
func TestRebuildAsksFirst(t *testing.T) {
	r, err := raftlog.NewRebuild(raftlog.RebuildConfig{Group: testGroup, Member: 3, Voters: five[:3], Known: true, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	s := &rebuildScript{Rebuild: r, t: t}
	for range 3 {
		s.round = s.step().Offers[0].Round
		if s.Found() {
			t.Fatal("an offer of the round before still counts")
		}
		s.offers(1, oldOffer(5))
		if !s.Found() || !s.quiet() || s.Status().From != 0 || !strings.Contains(s.Status().Waiting, "member 1 offers what it needs") {
			t.Fatalf("found %t, it goes on: %+v", s.Found(), s.Status())
		}
		for range raftlog.DefaultAskTicks {
			s.Tick()
		}
	}
	s.round = s.step().Offers[0].Round
	s.Begin() // in between, the offer was lost
	s.offers(1, oldOffer(5))
	if out := s.step(); out.Stage == nil || len(out.Chunks) == 0 || s.Found() {
		t.Fatalf("it does not take what is offered: %+v", out)
	}
	r, _ = raftlog.NewRebuild(raftlog.RebuildConfig{Group: testGroup, Member: 3, Voters: five[:3], Known: true, Seed: 7})
	s = &rebuildScript{Rebuild: r, t: t}
	s.round = s.step().Offers[0].Round
	s.offers(1, oldOffer(5))
	s.Begin()
	if out := s.step(); out.Stage == nil || len(out.Chunks) == 0 {
		t.Fatalf("it does not take what was offered: %+v", out)
	}
}

// A member that has forgotten its votes waits for all others; one that knows does not.
func TestRebuildWaitsForWhoMayHaveItsVote(t *testing.T) {
	s := rebuildOf(t, five, raftlog.Promise{}, false)
	s.offers(1, genesisOffer(5))
	s.says(2, 5)
	s.says(3, 4)
	if !s.quiet() || !strings.Contains(s.Status().Waiting, "member 4 has to answer once") {
		t.Fatalf("it goes on without member 4: %+v", s.Status())
	}
	s.says(4, 6) // a candidate of term 6, perhaps with this member's vote
	if !s.quiet() || !strings.Contains(s.Status().Waiting, "member 4 has to follow leader 1") {
		t.Fatalf("it goes on although member 4 is ahead: %+v", s.Status())
	}
	s.offers(2, genesisOffer(6))
	if out := s.step(); out.Entries == nil || out.Entries.To != 2 || out.Entries.Term != 6 {
		t.Fatalf("it does not follow the leader of term 6: %+v", out)
	}

	s = rebuildOf(t, five, raftlog.Promise{}, false)
	s.offers(1, genesisOffer(5))
	s.says(2, 5)
	s.says(3, 5)
	if err := s.Offered(4, raftlog.OfferAnswer{Round: s.round, Quarantined: true}); err != nil {
		t.Fatal(err)
	}
	if out := s.step(); out.Entries == nil {
		t.Fatalf("it waits for a member in quarantine: %+v", s.Status())
	}
	for _, quick := range []*rebuildScript{
		rebuildOf(t, five, raftlog.Promise{Last: 3, Term: 4, Vote: 2}, true),
		rebuildOf(t, five[:3], raftlog.Promise{}, false), // the leader's quorum is all others
	} {
		quick.offers(1, genesisOffer(5))
		if out := quick.step(); out.Entries == nil {
			t.Fatalf("it waits: %+v", quick.Status())
		}
	}
}

// The hard state never goes back behind what was promised.
func TestRebuildKeepsItsPromise(t *testing.T) {
	for _, test := range []struct {
		name    string
		promise raftlog.Promise
		known   bool
		want    raftlog.HardState
	}{
		{"below the leader's term", raftlog.Promise{Last: 3, Term: 4, Vote: 2}, true, raftlog.HardState{Term: 5, Vote: 1, Commit: 3}},
		{"in the leader's term", raftlog.Promise{Last: 3, Term: 5, Vote: 2}, true, raftlog.HardState{Term: 5, Vote: 1, Commit: 3}},
		{"above the leader's term", raftlog.Promise{Last: 3, Term: 6, Vote: 2}, true, raftlog.HardState{Term: 6, Vote: 2, Commit: 3}},
		{"above it, perhaps not all", raftlog.Promise{Last: 3, Term: 6}, false, raftlog.HardState{Term: 6, Vote: 0, Commit: 3}},
		{"further than the leader's log", raftlog.Promise{Last: 900, Term: 4}, true, raftlog.HardState{Term: 5, Vote: 1, Commit: 3}},
		{"not known", raftlog.Promise{}, false, raftlog.HardState{Term: 5, Vote: 1, Commit: 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := rebuildOf(t, five[:3], test.promise, test.known)
			s.offers(1, genesisOffer(5))
			q := s.step().Entries
			if err := s.Entries(*q, logEntries(2, 3, 3, 5)); err != nil {
				t.Fatal(err)
			}
			s.step()
			if !s.Done() || len(s.writes) != 1 || !s.writes[0].Sync || *s.writes[0].HardState != test.want || len(s.writes[0].Entries) != 3 {
				t.Fatalf("done %t, %+v", s.Done(), s.writes)
			}
			if p := s.Status().Percent; p != 100 {
				t.Fatalf("%d %%", p)
			}
		})
	}
}

func TestRebuildRefusesOffersThatLie(t *testing.T) {
	for what, change := range map[string]func(*raftlog.Offer, *raftlog.OfferAnswer){
		"of another term":               func(_ *raftlog.Offer, a *raftlog.OfferAnswer) { a.Term = 9 },
		"of a term out of reach":        func(o *raftlog.Offer, a *raftlog.OfferAnswer) { o.Term = 1 << 40; a.Term = 1 << 40 },
		"of another group":              func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Checkpoint.Group++ },
		"of an unreadable checkpoint":   func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Checkpoint.ConfState = nil },
		"of an empty checkpoint":        func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Checkpoint.Chunks, o.Checkpoint.Bytes = 0, 0 },
		"of a log behind a checkpoint":  func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Start.Index = 11 },
		"of an uncommitted checkpoint":  func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Commit = 9 },
		"of a commit behind the end":    func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Commit = 13 },
		"of a checkpoint of the future": func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Checkpoint.Term = 6 },
		"of an older checkpoint":        func(o *raftlog.Offer, _ *raftlog.OfferAnswer) { o.Start.Term = 3 },
	} {
		t.Run(what, func(t *testing.T) {
			s := rebuildOf(t, five[:3], raftlog.Promise{Last: 9, Term: 4}, true)
			o := oldOffer(5)
			a := raftlog.OfferAnswer{Round: s.round, Term: 5, Leader: 1, Offer: &o}
			change(&o, &a)
			var bad *raftlog.BadAnswerError
			if err := s.Offered(1, a); !errors.As(err, &bad) || !s.quiet() {
				t.Fatalf("taken: %v", err)
			}
		})
	}
	// Answers to questions that were never asked, of strangers, and of earlier lives.
	s := rebuildOf(t, five[:3], raftlog.Promise{}, true)
	o := oldOffer(5)
	for from, round := range map[uint64]uint64{1: s.round + 1, 2: s.round - 1, 9: s.round} {
		if err := s.Offered(from, raftlog.OfferAnswer{Round: round, Term: 5, Offer: &o}); err != nil || !s.quiet() {
			t.Fatalf("an answer of member %d to question %d was taken, %v", from, round, err)
		}
	}
}

func TestRebuildRefusesEntriesThatLie(t *testing.T) {
	long := logEntries(2, 3, 3, 5)
	long[1].Data = make([]byte, 101)
	many := logEntries(2, 3, 3, 5)
	many[0].Data, many[1].Data = make([]byte, 80), make([]byte, 80)
	conf := logEntries(2, 3)
	conf[0].Type = new(pb.EntryConfChangeV2)
	conf[0].Data = []byte{0xff}
	for what, entries := range map[string][]*pb.Entry{
		"a gap":                        logEntries(3, 3),
		"a repetition":                 logEntries(1, 1),
		"a term that runs backwards":   logEntries(2, 3, 2),
		"a term of the future":         logEntries(2, 6),
		"more than was asked for":      logEntries(2, 5, 5, 5, 5),
		"an end that is not his":       logEntries(2, 3, 3, 3),
		"an entry too long":            long,
		"too many bytes":               many,
		"an unreadable change of conf": conf,
	} {
		t.Run(what, func(t *testing.T) {
			s := rebuildOf(t, five[:3], raftlog.Promise{}, true)
			s.offers(1, genesisOffer(5))
			q := s.step().Entries
			var bad *raftlog.BadAnswerError
			if err := s.Entries(*q, entries); !errors.As(err, &bad) || !s.quiet() || len(s.writes) != 0 || s.Done() {
				t.Fatalf("taken: %v", err)
			}
			for range raftlog.DefaultAskTicks {
				s.Tick()
			}
			if out := s.step(); len(out.Offers) != 2 {
				t.Fatalf("it does not ask again: %+v", out)
			}
		})
	}
}

// A leader who is deposed in the middle costs the entries, not the checkpoint.
func TestRebuildKeepsACheckpointThatFits(t *testing.T) {
	s := rebuildOf(t, five[:3], raftlog.Promise{}, true)
	s.offers(1, oldOffer(5))
	out := s.step()
	if out.Stage == nil || len(out.Chunks) != 1 {
		t.Fatalf("%+v", out)
	}
	s.Chunk(1, 10, 0, []byte("abc"))
	if out = s.step(); len(out.Append) != 1 || !out.Commit {
		t.Fatalf("%+v", out)
	}
	if out = s.step(); out.Write == nil || out.Write.Install == nil || out.Write.Install.Index != 10 {
		t.Fatalf("%+v", out)
	}
	q := s.step().Entries
	if q == nil || q.After != (raftlog.LogStart{Index: 10, Term: 2}) {
		t.Fatalf("%+v", q)
	}
	if err := s.Entries(*q, logEntries(11, 4)); err != nil {
		t.Fatal(err)
	}
	s.step()
	q = s.step().Entries
	s.EntriesFailed(*q, raftlog.ErrNotLeader)
	for range raftlog.DefaultAskTicks {
		s.Tick()
	}
	s.round = s.step().Offers[0].Round
	next := oldOffer(6)
	next.Checkpoint.Index, next.Commit, next.Last = 12, 13, 13
	s.offers(2, next)
	out = s.step()
	if out.Stage != nil || out.Entries == nil || out.Entries.To != 2 || out.Entries.After.Index != 10 || out.Entries.UpTo != 13 {
		t.Fatalf("%+v", out)
	}
	if err := s.Entries(*out.Entries, logEntries(11, 3, 6, 6)); err != nil {
		t.Fatal(err)
	}
	s.step()
	if !s.Done() {
		t.Fatal("not done")
	}
}

// Bytes that are not what was promised, and a leader that goes silent, cost a new start.
func TestRebuildBeginsAgain(t *testing.T) {
	s := rebuildOf(t, five[:3], raftlog.Promise{}, true)
	s.offers(1, oldOffer(5))
	s.step()
	s.Chunk(1, 10, 0, []byte("abc"))
	if out, _ := s.Ready(); !out.Commit {
		t.Fatalf("%+v", out)
	}
	s.Stored(&raftlog.DamageError{Path: "staged", Detail: "another hash"})
	if s.Status().From != 0 || !strings.Contains(s.Status().Waiting, "another hash") {
		t.Fatalf("%+v", s.Status())
	}
	for range raftlog.DefaultAskTicks {
		s.Tick()
	}
	s.round = s.step().Offers[0].Round
	s.offers(1, genesisOffer(5))
	asked := 0
	for range 3 * raftlog.DefaultEntriesTicks * raftlog.DefaultEntriesTries {
		out := s.step()
		if out.Entries != nil {
			asked++
		}
		if len(out.Offers) > 0 {
			break
		}
		s.Tick()
	}
	if asked != raftlog.DefaultEntriesTries {
		t.Fatalf("a silent leader was asked %d times", asked)
	}
}

// With a majority in quarantine it says that it cannot end.
func TestRebuildSaysThatItIsStuck(t *testing.T) {
	s := rebuildOf(t, five[:3], raftlog.Promise{}, false)
	s.says(1, 5)
	if err := s.Offered(2, raftlog.OfferAnswer{Round: s.round, Quarantined: true}); err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); !st.Stuck || !strings.Contains(st.Waiting, "2 of 3 members are needed") || !strings.Contains(st.Waiting, "members 2, 3") {
		t.Fatalf("%+v", st)
	}
	if _, err := raftlog.NewRebuild(raftlog.RebuildConfig{Group: testGroup, Member: 1, Voters: []uint64{1}}); err == nil {
		t.Fatal("a lone member is rebuilt from nobody")
	}
}
