package raftlog_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

var genesisPeers = []raftlog.Peer{{ID: 1, Addr: "a:1"}, {ID: 2, Addr: "b:1"}, {ID: 3, Addr: "c:1"}}

func genesisIdentity(member uint64) raftlog.Identity {
	return raftlog.Identity{
		Format: raftlog.IdentityFormat, ClusterName: "c", ClusterID: raftlog.ClusterID("c", genesisPeers), Member: member, Peers: genesisPeers,
	}
}

func TestGenesis(t *testing.T) {
	const blank, genesis, lived, condemned = raftlog.StateBlank, raftlog.StateGenesis, raftlog.StateLived, raftlog.StateQuarantined
	id := raftlog.ClusterID("c", genesisPeers)
	for _, test := range []struct {
		name  string
		me    raftlog.State
		peers map[uint64]raftlog.State
		want  raftlog.Action
	}{
		{"alone", blank, nil, raftlog.Wait},
		{"one missing", blank, map[uint64]raftlog.State{2: blank}, raftlog.Wait},
		{"all blank", blank, map[uint64]raftlog.State{2: blank, 3: blank}, raftlog.WriteGenesis},
		{"others ahead", blank, map[uint64]raftlog.State{2: genesis, 3: genesis}, raftlog.WriteGenesis},
		{"one lived", blank, map[uint64]raftlog.State{2: blank, 3: lived}, raftlog.Quarantine},
		{"one lived, one missing", blank, map[uint64]raftlog.State{3: lived}, raftlog.Quarantine},
		{"genesis alone", genesis, nil, raftlog.Wait},
		{"genesis, one blank", genesis, map[uint64]raftlog.State{2: blank, 3: genesis}, raftlog.Wait},
		{"genesis, all there", genesis, map[uint64]raftlog.State{2: genesis, 3: lived}, raftlog.Start},
		{"genesis, one missing", genesis, map[uint64]raftlog.State{3: genesis}, raftlog.Wait},
		{"genesis, one missing, one lived", genesis, map[uint64]raftlog.State{3: lived}, raftlog.Start},
		{"genesis, one replaced since, one lived", genesis, map[uint64]raftlog.State{2: blank, 3: lived}, raftlog.Start},
		{"one in quarantine", blank, map[uint64]raftlog.State{2: blank, 3: condemned}, raftlog.Wait},
		{"one in quarantine, one missing", blank, map[uint64]raftlog.State{3: condemned}, raftlog.Wait},
		{"one in quarantine, one at genesis", blank, map[uint64]raftlog.State{2: genesis, 3: condemned}, raftlog.Wait},
		{"one in quarantine, one lived", blank, map[uint64]raftlog.State{2: lived, 3: condemned}, raftlog.Quarantine},
		{"all others in quarantine", blank, map[uint64]raftlog.State{2: condemned, 3: condemned}, raftlog.Wait},
		{"genesis, one in quarantine, one blank", genesis, map[uint64]raftlog.State{2: blank, 3: condemned}, raftlog.Wait},
		{"genesis, one in quarantine", genesis, map[uint64]raftlog.State{2: genesis, 3: condemned}, raftlog.Start},
		{"in quarantine, all others blank", condemned, map[uint64]raftlog.State{2: blank, 3: blank}, raftlog.Quarantine},
		{"lived alone", lived, nil, raftlog.Start},
		{"lived beside a blank one", lived, map[uint64]raftlog.State{2: blank}, raftlog.Start},
	} {
		t.Run(test.name, func(t *testing.T) {
			claims := map[uint64]raftlog.PeerClaim{}
			for p, s := range test.peers {
				claims[p] = raftlog.PeerClaim{State: s, ClusterID: id}
			}
			got, err := raftlog.Genesis(test.me, genesisIdentity(1), claims, []uint64{1, 2, 3})
			if err != nil || got != test.want {
				t.Fatalf("%s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// A majority at genesis goes ahead beside a member in quarantine, so that those who lost
// everything can be rebuilt; fewer do not, and nobody does in an ordinary first start.
func TestAMajorityAtGenesisGoesAhead(t *testing.T) {
	const blank, genesis, condemned = raftlog.StateBlank, raftlog.StateGenesis, raftlog.StateQuarantined
	id := raftlog.ClusterID("c", genesisPeers)
	for _, test := range []struct {
		me    raftlog.State
		peers map[uint64]raftlog.State
		want  raftlog.Action
	}{
		{genesis, map[uint64]raftlog.State{2: condemned, 3: blank, 4: genesis, 5: genesis}, raftlog.Start},
		{genesis, map[uint64]raftlog.State{2: condemned, 4: genesis, 5: genesis}, raftlog.Start},
		{genesis, map[uint64]raftlog.State{2: condemned, 3: blank, 4: blank, 5: genesis}, raftlog.Wait},
		{genesis, map[uint64]raftlog.State{2: genesis, 3: blank, 4: genesis, 5: genesis}, raftlog.Wait},
		{blank, map[uint64]raftlog.State{2: condemned, 3: genesis, 4: genesis, 5: genesis}, raftlog.Wait},
	} {
		claims := map[uint64]raftlog.PeerClaim{}
		for p, s := range test.peers {
			claims[p] = raftlog.PeerClaim{State: s, ClusterID: id}
		}
		got, err := raftlog.Genesis(test.me, genesisIdentity(1), claims, []uint64{1, 2, 3, 4, 5})
		if err != nil || got != test.want {
			t.Errorf("%s beside %v: %s, %v; want %s", test.me, test.peers, got, err, test.want)
		}
	}
}

func TestGenesisMismatch(t *testing.T) {
	other := raftlog.ClusterID("c", genesisPeers[:2])
	_, err := raftlog.Genesis(raftlog.StateBlank, genesisIdentity(1), map[uint64]raftlog.PeerClaim{2: {State: raftlog.StateBlank, ClusterID: other}}, []uint64{1, 2, 3})
	var mismatch *raftlog.MembershipMismatchError
	if !errors.As(err, &mismatch) || mismatch.Peer != 2 || mismatch.Theirs != other {
		t.Fatalf("a peer with another configuration: %v", err)
	}
	shuffled := []raftlog.Peer{genesisPeers[2], genesisPeers[0], genesisPeers[1]}
	if raftlog.ClusterID("c", shuffled) != raftlog.ClusterID("c", genesisPeers) {
		t.Fatal("the cluster id depends on the order of the peers")
	}
	if raftlog.ClusterID("d", genesisPeers) == raftlog.ClusterID("c", genesisPeers) {
		t.Fatal("the cluster id does not depend on the name")
	}
}

// TestGenesisInterleaved lets members see each other's states late and in any order:
// nobody ever starts while another could still be refused, and all start in the end.
func TestGenesisInterleaved(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		state := map[uint64]raftlog.State{1: raftlog.StateBlank, 2: raftlog.StateBlank, 3: raftlog.StateBlank}
		seen := map[uint64]map[uint64]raftlog.PeerClaim{1: {}, 2: {}, 3: {}}
		started := map[uint64]bool{}
		for step := 0; len(started) < 3; step++ {
			if step > 2000 {
				t.Fatalf("seed %d: not all started: %v", seed, started)
			}
			me, peer := 1+rng.Uint64N(3), 1+rng.Uint64N(3)
			if rng.IntN(3) == 0 && me != peer {
				seen[me][peer] = raftlog.PeerClaim{State: state[peer], ClusterID: raftlog.ClusterID("c", genesisPeers)}
				continue
			}
			action, err := raftlog.Genesis(state[me], genesisIdentity(me), maps.Clone(seen[me]), []uint64{1, 2, 3})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			switch action {
			case raftlog.WriteGenesis:
				state[me] = raftlog.StateGenesis
			case raftlog.Start:
				for id, s := range state {
					if s == raftlog.StateBlank {
						t.Fatalf("seed %d: member %d starts while member %d is blank", seed, me, id)
					}
				}
				started[me], state[me] = true, raftlog.StateLived
			}
		}
	}
}

func TestCheckIdentity(t *testing.T) {
	have := genesisIdentity(1)
	if err := raftlog.CheckIdentity(have, have); err != nil {
		t.Fatal(err)
	}
	moved := have
	moved.Peers = []raftlog.Peer{{ID: 1, Addr: "elsewhere:1"}}
	if err := raftlog.CheckIdentity(have, moved); err != nil {
		t.Fatalf("a changed address: %v", err)
	}
	for what, change := range map[string]func(*raftlog.Identity){
		"cluster":        func(id *raftlog.Identity) { id.ClusterName = "other" },
		"cluster id":     func(id *raftlog.Identity) { id.ClusterID[0]++ },
		"member":         func(id *raftlog.Identity) { id.Member = 2 },
		"recovery epoch": func(id *raftlog.Identity) { id.RecoveryEpoch++ },
	} {
		want := have
		change(&want)
		var e *raftlog.IdentityError
		if err := raftlog.CheckIdentity(have, want); !errors.As(err, &e) || e.What != what || e.Have == e.Want {
			t.Errorf("another %s: %v", what, err)
		}
	}
}
