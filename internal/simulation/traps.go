package simulation

import "time"

// Faults that wait for their moment.

// patientOr returns, now and then, a member in quarantine instead of another one.
func (w *world) patientOr(other func() *member) *member {
	for _, m := range w.members {
		if m.rebuild != nil && w.chance(0.3) {
			return m
		}
	}
	return other()
}

// crashInRebuild waits for the next step of a rebuild.
func (w *world) crashInRebuild() bool {
	w.rebuildTrap = true
	return false
}

// rebuildGoesOn springs the trap: the member that is being rebuilt or the one that it
// is rebuilt from crashes in the middle.
func (w *world) rebuildGoesOn(m *member, from uint64) {
	if !w.rebuildTrap || w.quiet {
		return
	}
	w.rebuildTrap = false
	harmed := m
	if from != 0 && w.chance(0.4) {
		harmed = w.member(from)
	}
	w.after(around(w.rng, 2*w.plan.network.delay+2*w.plan.disk.sync), func() {
		if w.quiet || !harmed.alive || m.rebuild == nil {
			return
		}
		w.fault(faultInRebuild)
		harmed.crash()
		w.after(within(w.rng, 50*time.Millisecond, 3*time.Second), harmed.start)
	})
}

// loseInElection waits for the next candidate.
func (w *world) loseInElection() bool {
	w.electionTrap = true
	return false
}

// campaigns springs the trap: the candidate has promised a term and a vote, and forgets
// them, perhaps before anybody has heard of it.
func (w *world) campaigns(m *member) {
	if !w.electionTrap || w.quiet {
		return
	}
	w.electionTrap = false
	life, take := m.life, pick(w.rng, loseDatabase, loseVote, damageEntry, wipe)
	w.after(around(w.rng, w.plan.disk.sync+500*time.Microsecond), func() {
		if !w.quiet && m.life == life && w.loseOf(m, take) {
			w.fault(faultInElection)
		}
	})
}
