package simulation

import "time"

// stopPatience is how long a stopping member tries to hand leadership over.
const stopPatience = 5 * time.Second

// stop ends a process as an operator does: leadership is handed over, calls are
// refused, the storage is closed. It comes back after a while.
func (m *member) stop() {
	m.log("stops")
	m.run.draining = true
	for _, s := range m.run.all() {
		s.drain()
	}
	m.awaitDrained(m.monotonic() + stopPatience)
}

func (m *member) awaitDrained(deadline time.Duration) {
	m.later(m.w.plan.tick/4, func() {
		drained := true
		for _, s := range m.run.all() {
			drained = drained && s.drained()
		}
		if !drained && m.monotonic() < deadline {
			m.awaitDrained(deadline)
			return
		}
		m.log("is stopped, drained: %v", drained)
		if err := m.disk.close(); err != nil {
			m.log("is not stopped cleanly: %v", err)
		}
		m.end(m.survives())
		m.w.after(within(m.w.rng, 50*time.Millisecond, 5*time.Second), m.start)
	})
}
