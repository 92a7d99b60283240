package raftlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// State is what a member says about its own directory before it starts.
type State uint8

// States, in the order a member goes through them.
const (
	StateBlank   State = 1 + iota // nothing is stored
	StateGenesis                  // genesis is written, nothing after it
	StateLived                    // terms, votes or entries after genesis
	// StateQuarantined has lost what others may count on. It takes part in nothing
	// until it has been rebuilt (see Rebuild), and has lived then.
	StateQuarantined
)

func (s State) String() string {
	switch s {
	case StateBlank:
		return "blank"
	case StateGenesis:
		return "genesis"
	case StateLived:
		return "lived"
	case StateQuarantined:
		return "in quarantine"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// PeerClaim is what a peer says about itself when its connection opens.
type PeerClaim struct {
	State     State
	ClusterID [16]byte // of its identity, or of its configuration while blank
	// Configured is what the cluster id was computed from, for people.
	Configured string
}

// Action is what a member does next on its way to its first start.
type Action uint8

// Actions of Genesis.
const (
	Wait         Action = 1 + iota // ask the peers again
	WriteGenesis                   // Storage.Bootstrap, then claim StateGenesis, then ask again
	Start                          // start the groups
	Quarantine                     // Storage.Condemn, then rebuild it from the others, see Rebuild
)

func (a Action) String() string {
	switch a {
	case Wait:
		return "wait"
	case WriteGenesis:
		return "write genesis"
	case Start:
		return "start"
	case Quarantine:
		return "quarantine"
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// MembershipMismatchError means that two members were configured differently.
type MembershipMismatchError struct {
	Member, Peer uint64
	Mine, Theirs [16]byte
	// What the two were told.
	MyConfiguration, TheirConfiguration string
}

func (e *MembershipMismatchError) Error() string {
	return fmt.Sprintf("raftlog: the members were configured differently: member %d has %s, but member %d has %s: "+
		"give all members the same cluster name and the same list of initial peers",
		e.Member, e.MyConfiguration, e.Peer, e.TheirConfiguration)
}

// Configured says in words what ClusterID is computed from.
func Configured(name string, peers []Peer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %q, members", name)
	for i, p := range sortedPeers(peers) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %d=%s", p.ID, p.Addr)
	}
	return b.String()
}

// ClusterID derives the cluster's id from its name and its initial peers, in
// whatever order: the first 16 bytes of the SHA-256 over the name and the sorted
// "id=addr" pairs, each followed by a zero byte.
func ClusterID(name string, peers []Peer) [16]byte {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(0)
	for _, p := range sortedPeers(peers) {
		fmt.Fprintf(&b, "%d=%s\x00", p.ID, p.Addr)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return [16]byte(sum[:16])
}

func sortedPeers(peers []Peer) []Peer {
	return slices.SortedFunc(slices.Values(peers), func(a, b Peer) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return strings.Compare(a.Addr, b.Addr)
	})
}

// Genesis decides what a member does before its first start. me is the state of
// its own directory, mine its identity (as configured while blank), peers what the
// other initial members claim, reachable ones only; initial lists all initial
// members, itself included. It is pure: ask again whenever a claim changes.
//
// A blank member writes genesis only when every initial peer is reachable and blank
// or at genesis too. A member at genesis starts when no peer is blank any more:
// by then every peer has written the same genesis. One peer that has lived proves
// as much, whatever became of the others since. One that has lived starts.
//
// A blank member beside one that has lived has lost its directory: it may have voted and
// acknowledged entries that it no longer knows. It never bootstraps, it goes into
// quarantine.
//
// A peer in quarantine proves nothing: there may have been anything in its directory before
// the cluster's first start. Beside it a blank member waits, and neither bootstraps nor condemns
// itself: to be rebuilt takes members that have lived, and the first of them decides.
// That may be members at genesis: where they are a majority, they start beside one in
// quarantine without waiting for the blank ones, which can then be rebuilt. Starting is always
// safe for them, since they have promised nothing yet.
func Genesis(me State, mine Identity, peers map[uint64]PeerClaim, initial []uint64) (Action, error) {
	switch me {
	case StateLived:
		return Start, nil
	case StateQuarantined:
		return Quarantine, nil
	}
	missing, blank, begun, quarantined := false, false, false, false
	holders := 0 // members at genesis
	if me == StateGenesis {
		holders++
	}
	for _, id := range slices.Sorted(slices.Values(initial)) {
		if id == mine.Member {
			continue
		}
		claim, reachable := peers[id]
		switch {
		case !reachable:
			missing = true
		case claim.ClusterID != mine.ClusterID:
			return 0, &MembershipMismatchError{
				Member: mine.Member, Peer: id, Mine: mine.ClusterID, Theirs: claim.ClusterID,
				MyConfiguration: Configured(mine.ClusterName, mine.Peers), TheirConfiguration: claim.Configured,
			}
		case claim.State == StateBlank:
			blank = true
		case claim.State == StateLived:
			begun = true
		case claim.State == StateQuarantined:
			quarantined = true
		case claim.State == StateGenesis:
			holders++
		}
	}
	switch {
	case begun && me == StateBlank:
		return Quarantine, nil
	case begun, quarantined && me == StateGenesis && 2*holders > len(initial):
		return Start, nil
	case missing, quarantined && me == StateBlank:
		return Wait, nil
	case me == StateBlank:
		return WriteGenesis, nil
	case blank:
		return Wait, nil
	}
	return Start, nil
}

// StateOf says what a member with these logs may claim: StateGenesis while none of
// them holds anything after genesis, else StateLived; StateBlank without logs.
func StateOf(logs ...*Loaded) State {
	if len(logs) == 0 {
		return StateBlank
	}
	for _, l := range logs {
		if l.HardState.Term > GenesisTerm || l.HardState.Vote != 0 || l.LastIndex() > GenesisIndex {
			return StateLived
		}
	}
	return StateGenesis
}

// CheckIdentity compares the identity found in a directory with the configured
// one. The peers' addresses may have changed since genesis; the rest may not.
func CheckIdentity(have, want Identity) error {
	switch {
	case have.ClusterName != want.ClusterName:
		return &IdentityError{What: "cluster", Have: have.ClusterName, Want: want.ClusterName}
	case have.ClusterID != want.ClusterID:
		return &IdentityError{What: "cluster id", Have: hex.EncodeToString(have.ClusterID[:]), Want: hex.EncodeToString(want.ClusterID[:])}
	case have.Member != want.Member:
		return &IdentityError{What: "member", Have: fmt.Sprint(have.Member), Want: fmt.Sprint(want.Member)}
	case have.RecoveryEpoch != want.RecoveryEpoch:
		return &IdentityError{What: "recovery epoch", Have: fmt.Sprint(have.RecoveryEpoch), Want: fmt.Sprint(want.RecoveryEpoch)}
	}
	return nil
}
