package simulation

import (
	"time"

	"github.com/heliosdb/metadata/raftlog"
)

// genesisRetry lies between two rounds of asking the peers.
const genesisRetry = 200 * time.Millisecond

// awaitGenesis brings a process to where its streams may run, as package member does.
func (m *member) awaitGenesis() {
	m.claim = raftlog.StateBlank
	if m.store.Condemned() != "" {
		m.quarantine()
		return
	}
	id, err := m.store.Identity()
	if err == nil && id != nil {
		m.claim, err = m.storedState()
	}
	switch {
	case lost(err):
		m.condemn(raftlog.Why(err))
	case err != nil:
		m.w.violate("restart", "member %d cannot start: %v", m.id, err)
	default:
		m.settleGenesis()
	}
}

// storedState tells a member at genesis from one that has lived.
func (m *member) storedState() (raftlog.State, error) {
	var logs []*raftlog.Loaded
	for _, g := range groups() {
		loaded, err := m.store.Load(g)
		if err != nil {
			return 0, err
		}
		logs = append(logs, loaded)
	}
	return raftlog.StateOf(logs...), nil
}

// settleGenesis asks the peers, if it has to, and takes the next step.
func (m *member) settleGenesis() {
	if m.claim == raftlog.StateLived {
		m.actOn(nil)
		return
	}
	claims, asked := map[uint64]raftlog.PeerClaim{}, 0
	for _, p := range m.w.peers {
		if p.ID == m.id {
			continue
		}
		m.callPeer(p.ID, time.Second, func(peer *member, answer func(any, error)) {
			answer(raftlog.PeerClaim{State: peer.claim, ClusterID: m.w.cluster}, nil)
		}, func(reply any, err error) {
			if claim, ok := reply.(raftlog.PeerClaim); ok && err == nil {
				claims[p.ID] = claim
			}
			if asked++; asked == len(m.w.peers)-1 {
				m.actOn(claims)
			}
		})
	}
}

func (m *member) actOn(claims map[uint64]raftlog.PeerClaim) {
	action, err := raftlog.Genesis(m.claim, m.identity(), claims, m.initial())
	if err != nil {
		m.refused(err)
		return
	}
	switch action {
	case raftlog.Start:
		m.claim = raftlog.StateLived
		m.runStreams()
	case raftlog.WriteGenesis:
		if err := m.store.Bootstrap(m.identity(), groups(), m.initial()); err != nil {
			m.w.violate("genesis", "member %d: %v", m.id, err)
			return
		}
		m.log("wrote genesis")
		m.claim = raftlog.StateGenesis
		m.settleGenesis()
	case raftlog.Quarantine:
		m.condemn("its directory is blank although the cluster has lived")
	default:
		m.later(genesisRetry, m.settleGenesis)
	}
}

// refused is called when a member was configured differently from another.
func (m *member) refused(err error) {
	m.w.violate("genesis", "member %d: %v", m.id, err)
}
