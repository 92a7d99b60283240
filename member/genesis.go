package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/transport"
)

const (
	genesisRetry = 200 * time.Millisecond // between two rounds of asking the peers
	probeTimeout = time.Second            // for one peer's answer
	waitingLog   = 10 * time.Second       // between two log lines while waiting
	lingerFor    = 5 * genesisRetry       // before a member that must not start ends
)

// awaitGenesis brings a member to the point where its groups may start: at once
// if it has lived, else after the initial members have agreed on genesis. It
// sets the state that the member is in, or returns why it must not start.
func (m *Member) awaitGenesis(ctx context.Context) error {
	for lastLog := (time.Time{}); ; {
		var claims map[uint64]raftlog.PeerClaim
		if m.state != raftlog.StateLived {
			claims = m.probePeers(ctx)
		}
		action, err := raftlog.Genesis(m.state, m.identity, claims, m.initial())
		if err != nil {
			m.linger(ctx, err)
			return err
		}
		switch action {
		case raftlog.Start:
			m.state = raftlog.StateLived
			return m.claim(m.state)
		case raftlog.Quarantine:
			m.state = raftlog.StateQuarantined
			if err := m.store.Condemn(wiped(claims), raftlog.VotesUnknown); err != nil {
				return fmt.Errorf("putting a blank directory into quarantine: %w", err)
			}
			return nil
		case raftlog.WriteGenesis:
			if err := m.store.Bootstrap(m.identity, groups(), m.initial()); err != nil {
				return fmt.Errorf("writing genesis: %w", err)
			}
			m.state = raftlog.StateGenesis
			if err := m.claim(m.state); err != nil {
				return err
			}
			continue
		}
		m.waitReason.Store(new(m.waitingFor(claims)))
		if time.Since(lastLog) > waitingLog {
			lastLog = time.Now()
			m.log.Info(m.waitingFor(claims))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(genesisRetry):
		}
	}
}

// linger keeps a member that was configured differently from another answering
// for a moment, so that the other one hears of it too.
func (m *Member) linger(ctx context.Context, err error) {
	if _, ok := errors.AsType[*raftlog.MembershipMismatchError](err); !ok {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(lingerFor):
	}
}

// probePeers asks every other initial member what it claims.
func (m *Member) probePeers(ctx context.Context) map[uint64]raftlog.PeerClaim {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		claims = make(map[uint64]raftlog.PeerClaim)
	)
	for _, id := range m.initial() {
		if id == m.identity.Member {
			continue
		}
		wg.Go(func() {
			hello, err := m.transport.Probe(ctx, id)
			if err != nil {
				if refused, ok := errors.AsType[*transport.RefusedError](err); ok {
					m.log.Warn("a peer refused this member", "peer", id, "reason", refused.Error())
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			claims[id] = raftlog.PeerClaim{State: hello.Claim, ClusterID: hello.ClusterID, Configured: hello.Configured}
		})
	}
	wg.Wait()
	return claims
}

// claim tells peers from now on what this member is.
func (m *Member) claim(s raftlog.State) error {
	return m.transport.SetHello(func(h *transport.Hello) { h.Claim = s })
}

// waitingFor says which members hold up the first start.
func (m *Member) waitingFor(claims map[uint64]raftlog.PeerClaim) string {
	var missing, quarantined []string
	for _, p := range m.identity.Peers {
		claim, ok := claims[p.ID]
		switch name := fmt.Sprintf("%d (%s)", p.ID, p.Addr); {
		case p.ID == m.identity.Member:
		case !ok:
			missing = append(missing, name)
		case claim.State == raftlog.StateQuarantined:
			quarantined = append(quarantined, name)
		}
	}
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "waiting for member "+strings.Join(missing, ", "))
	}
	if len(quarantined) > 0 {
		parts = append(parts, fmt.Sprintf("member %s is in quarantine, so it is not known whether the cluster has lived: this member goes on when one that has lived "+
			"answers; if the cluster is new, look at that member's directory, stop it and empty it", strings.Join(quarantined, ", ")))
	}
	if len(parts) == 0 {
		return "first start: the other members are about to write genesis"
	}
	return "first start: " + strings.Join(parts, "; ")
}

// initial returns the ids of the initial members in order.
func (m *Member) initial() []uint64 {
	ids := make([]uint64, 0, len(m.identity.Peers))
	for _, p := range m.identity.Peers {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return ids
}
