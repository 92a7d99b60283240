package hashwatch

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const schemaStream = metadatav1.Stream_STREAM_SCHEMA

// hash is a checkpoint of a revision whose bytes are told apart by a letter.
func hash(revision uint64, letter, build string) *metadatav1.CheckpointHash {
	return &metadatav1.CheckpointHash{
		Stream: schemaStream, Revision: revision, Index: revision + 1, Format: "f", Hash: bytes.Repeat([]byte(letter), hashBytes), Build: build,
	}
}

func past(c *metadatav1.CheckpointHash) *metadatav1.CheckpointHash { c.Past = true; return c }
func format(c *metadatav1.CheckpointHash, f string) *metadatav1.CheckpointHash {
	c.Format = f
	return c
}

func report(cs ...*metadatav1.CheckpointHash) *metadatav1.CheckpointHashes {
	return &metadatav1.CheckpointHashes{Checkpoints: cs}
}

func watch(n int, build string) *Watch {
	var all []uint64
	for id := range n {
		all = append(all, uint64(id+1))
	}
	return New(Options{Member: 1, Members: all, Build: build})
}

// hears asks all that are due and has some of them answer.
func hears(t *testing.T, w *Watch, reports map[uint64]*metadatav1.CheckpointHashes) (all Output) {
	t.Helper()
	for _, id := range w.Tick().Ask {
		if reports[id] == nil {
			w.Failed(id)
			continue
		}
		out, err := w.Reported(id, reports[id])
		if err != nil {
			t.Fatal(err)
		}
		all.Alarms = append(all.Alarms, out.Alarms...)
		all.Condemned = out.Condemned
	}
	return all
}

// TestDecision lists what member 1, which wrote an x, makes of what others say.
func TestDecision(t *testing.T) {
	type all map[uint64]*metadatav1.CheckpointHashes
	x, y, z := hash(5, "x", "b"), hash(5, "y", "b"), hash(5, "z", "b")
	for _, test := range []struct {
		name  string
		n     int
		build string
		of    all
		want  []uint64 // members named; 0: nobody can say
	}{
		{"all agree", 3, "b", all{2: report(x), 3: report(x)}, nil},
		{"another one differs", 3, "b", all{2: report(y), 3: report(x)}, []uint64{2}},
		{"two others agree", 3, "b", all{2: report(y), 3: report(y)}, []uint64{1}},
		{"three ways", 3, "b", all{2: report(y), 3: report(z)}, []uint64{0}},
		{"one witness only", 3, "b", all{2: report(y)}, []uint64{0}},
		{"two members", 2, "b", all{2: report(y)}, []uint64{0}},
		{"two of five are no majority", 5, "b", all{2: report(y), 3: report(y)}, []uint64{0}},
		{"three of five are", 5, "b", all{2: report(y), 3: report(y), 4: report(y)}, []uint64{1}},
		{"three of five, and one more differs", 5, "b", all{2: report(y), 3: report(y), 4: report(z), 5: report(y)}, []uint64{1, 4}},
		{"the others run another build", 3, "b", all{2: report(hash(5, "y", "c")), 3: report(hash(5, "y", "c"))}, []uint64{0}},
		{"one of the others runs another build", 3, "b", all{2: report(y), 3: report(hash(5, "y", "c"))}, []uint64{0}},
		{"another one differs, by another build", 3, "b", all{2: report(hash(5, "y", "c")), 3: report(x)}, []uint64{0}},
		{"nobody knows the builds", 3, "", all{2: report(hash(5, "y", "")), 3: report(hash(5, "y", ""))}, []uint64{0}},
		{"another format", 3, "b", all{2: report(format(hash(5, "y", "b"), "g")), 3: report(format(hash(5, "y", "b"), "g"))}, nil},
		{"another revision", 3, "b", all{2: report(hash(6, "y", "b")), 3: report(hash(6, "y", "b"))}, nil},
		{"from before a quarantine", 3, "b", all{2: report(past(hash(5, "y", "b"))), 3: report(y)}, []uint64{0}},
		{"the one that was in quarantine is named", 3, "b", all{2: report(past(hash(5, "y", "b"))), 3: report(x)}, []uint64{2}},
		{"before and after a quarantine", 3, "b", all{2: report(past(hash(5, "z", "b")), y), 3: report(y)}, []uint64{1}},
		{"the same thing twice is one vote", 3, "b", all{2: report(y, y)}, []uint64{0}},
		{"two things of one place are none", 3, "b", all{2: report(y, z), 3: report(y)}, []uint64{0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := watch(test.n, test.build)
			w.Wrote(hash(5, "x", ""))
			out := hears(t, w, test.of)
			var named []uint64
			for _, d := range w.Found() {
				named = append(named, d.GetMemberId())
			}
			if !slices.Equal(named, test.want) {
				t.Errorf("named %v, want %v", named, test.want)
			}
			if condemned := slices.Contains(test.want, 1); (out.Condemned != "") != condemned {
				t.Errorf("condemned: %q, want %v", out.Condemned, condemned)
			}
		})
	}
}

// The own checkpoint may come last: the others' reports are there already.
func TestTheOwnCheckpointComesLast(t *testing.T) {
	w := watch(3, "b")
	hears(t, w, map[uint64]*metadatav1.CheckpointHashes{2: report(hash(5, "y", "b")), 3: report(hash(5, "y", "b"))})
	if out := w.Wrote(hash(5, "x", "")); out.Condemned == "" {
		t.Fatal("it goes on with another model than all others")
	}
}

// Who does not answer has no vote, whatever it said before.
func TestSilenceIsNoVote(t *testing.T) {
	w := watch(3, "b")
	hears(t, w, map[uint64]*metadatav1.CheckpointHashes{2: report(hash(5, "y", "b")), 3: report(hash(5, "y", "b"))})
	hears(t, w, map[uint64]*metadatav1.CheckpointHashes{2: report(hash(5, "y", "b"))})
	if out := w.Wrote(hash(5, "x", "")); out.Condemned != "" {
		t.Fatalf("condemned by what nobody says any more: %s", out.Condemned)
	}
}

// A difference is an alarm once, and named for good when it is known who differs.
func TestAlarmsComeOnce(t *testing.T) {
	w := watch(3, "b")
	w.Wrote(hash(5, "x", ""))
	one := map[uint64]*metadatav1.CheckpointHashes{2: report(hash(5, "y", "b")), 3: report()}
	both := map[uint64]*metadatav1.CheckpointHashes{2: one[2], 3: report(hash(5, "x", "b"))}
	for i, step := range []struct {
		hears map[uint64]*metadatav1.CheckpointHashes
		fresh int
		named uint64
	}{{one, 1, 0}, {one, 0, 0}, {both, 1, 2}, {both, 0, 2}, {one, 0, 2}} {
		out := hears(t, w, step.hears)
		if len(out.Alarms) != step.fresh || len(w.Found()) != 1 || w.Found()[0].GetMemberId() != step.named {
			t.Fatalf("step %d: %d new alarms, found %v", i, len(out.Alarms), w.Found())
		}
	}
	if w.Total() != 2 {
		t.Errorf("total %d", w.Total())
	}
	for range keepDivergence + 1 {
		hears(t, w, map[uint64]*metadatav1.CheckpointHashes{2: report(), 3: report()})
	}
	if found := w.Found(); len(found) != 0 {
		t.Errorf("it is remembered for ever: %v", found)
	}
}

// A member that keeps failing is asked more and more seldom, but never given up.
func TestBackOff(t *testing.T) {
	w := watch(2, "b")
	var asked []uint64
	for round := uint64(1); round <= 40; round++ {
		if len(w.Tick().Ask) > 0 {
			asked = append(asked, round)
			w.Failed(2)
		}
	}
	if want := []uint64{1, 2, 4, 8, 16, 24, 32, 40}; !slices.Equal(asked, want) {
		t.Errorf("asked in rounds %v, want %v", asked, want)
	}
	for len(w.Tick().Ask) == 0 {
	}
	if w.Tick().Ask != nil {
		t.Error("asked again before it has answered")
	}
	if _, err := w.Reported(2, report()); err != nil {
		t.Fatal(err)
	}
	if w.Tick().Ask == nil {
		t.Error("not asked in the next round although it answers")
	}
}

// What others send is bounded, and nonsense is refused.
func TestLimits(t *testing.T) {
	long := strings.Repeat("x", MaxTextBytes+1)
	var many []*metadatav1.CheckpointHash
	for i := range uint64(MaxReported + 1) {
		many = append(many, hash(i, "x", "b"))
	}
	for name, r := range map[string]*metadatav1.CheckpointHashes{
		"too many": report(many...), "long build": report(hash(1, "x", long)), "long format": report(format(hash(1, "x", "b"), long)),
		"short hash": report(&metadatav1.CheckpointHash{Stream: schemaStream, Revision: 1, Hash: []byte("x")}),
	} {
		w := watch(2, "b")
		w.Tick()
		if _, err := w.Reported(2, r); err == nil {
			t.Errorf("%s: taken", name)
		}
		if len(w.peers[2].votes) != 0 || w.peers[2].failures != 1 {
			t.Errorf("%s: remembered", name)
		}
	}
	w := watch(2, "b")
	if _, err := w.Reported(2, report()); err == nil {
		t.Error("a report that nobody asked for is taken")
	}
	for i := range uint64(5 * MaxDivergences) {
		w.Wrote(hash(i, "x", ""))
		hears(t, w, map[uint64]*metadatav1.CheckpointHashes{2: report(hash(i, "y", "b"))})
	}
	found := w.Found()
	if len(found) != MaxDivergences || found[0].GetRevision() != 4*MaxDivergences {
		t.Errorf("%d differences are remembered, from revision %d on", len(found), found[0].GetRevision())
	}
	if n := len(w.Report().GetCheckpoints()); n != KeepHashes {
		t.Errorf("it reports %d checkpoints", n)
	}
}

// A new life tells of the one before for a while, as of something past, and is not
// judged by it.
func TestANewLife(t *testing.T) {
	w := watch(3, "b")
	w.Wrote(hash(5, "x", ""))
	w.Begin()
	out := hears(t, w, map[uint64]*metadatav1.CheckpointHashes{2: report(hash(5, "y", "b")), 3: report(hash(5, "y", "b"))})
	if out.Condemned != "" {
		t.Fatal("condemned again for what it has got rid of")
	}
	if r := w.Report().GetCheckpoints(); len(r) != 1 || !r[0].GetPast() {
		t.Fatalf("it tells of %v", r)
	}
	for range keepPast {
		w.Tick()
	}
	if r := w.Report().GetCheckpoints(); len(r) != 0 {
		t.Fatalf("it still tells of %v", r)
	}
}
