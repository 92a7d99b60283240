package simulation

import (
	"fmt"

	"github.com/heliosdb/metadata/events"
)

// scene describes the world as it is: who leads, what each member has, what is in
// flight.
func (w *world) scene() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("the world at %v, %d events to come:", w.now, w.queue.len())
	for _, m := range w.members {
		switch {
		case !m.alive:
			add("  m%d is down", m.id)
			continue
		case m.rebuild != nil:
			add("  m%d is in quarantine: %s", m.id, m.rebuild.why)
			for _, c := range m.rebuild.cases {
				add("    %-8s %+v", events.StreamName(c.stream), c.Status())
			}
			continue
		case m.run == nil:
			add("  m%d waits for genesis, it claims %s", m.id, m.claim)
			continue
		}
		add("  m%d, start %d, paused %v, disk: %d writes wait, %d under way, stalled %v", m.id, m.life, m.paused, len(m.disk.pending), len(m.disk.writing), m.disk.stalled)
		for _, s := range m.run.all() {
			st := s.status()
			add("    %-8s %s, commit %d, applied %d, log %d to %d, revision %d, digest %.8s, pending %d, waiting %d, inputs %d",
				events.StreamName(s.streamID()), softText(st.SoftState), st.Commit, st.Applied, st.First, st.Last,
				st.Head.Revision, st.Head.Digest, st.Pending, st.Waiting, s.waiting())
			for _, p := range w.peers {
				if progress, ok := st.Progress[p.ID]; ok {
					add("             m%d: %s, match %d, next %d, active %v", p.ID, progress.State, progress.Match, progress.Next, progress.RecentActive)
				}
			}
		}
	}
	return lines
}
