package simulation

import (
	"fmt"
	"strings"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/events"
)

// rest is the state that a world without faults has to come to: everybody runs, agrees
// and has been answered.
type rest struct {
	w        *world
	deadline time.Duration
	looked   time.Duration
	since    time.Duration // at rest; 0: not
}

// restFor is how long everything has to stay as it is.
const restFor = 2 * time.Second

func newRest(w *world) *rest { return &rest{w: w, deadline: w.now + settleWithin} }

// reached reports whether the world is at rest. It is a violation if that takes too
// long.
func (r *rest) reached() bool {
	const interval = 100 * time.Millisecond
	w := r.w
	if w.now-r.looked < interval {
		return false
	}
	r.looked = w.now
	missing := r.missing()
	switch {
	case missing == "" && r.since == 0:
		r.since = w.now
	case missing == "":
		return w.now-r.since >= restFor
	default:
		r.since = 0
	}
	if w.now > r.deadline {
		w.violate("no rest", "%v after the last fault: %s", settleWithin, missing)
	}
	return false
}

// missing says what keeps the world from rest.
func (r *rest) missing() string {
	var wrong []string
	for _, m := range r.w.members {
		if m.run == nil {
			wrong = append(wrong, fmt.Sprintf("member %d does not run", m.id))
		}
	}
	if len(wrong) > 0 {
		return strings.Join(wrong, "; ")
	}
	for _, m := range r.w.members {
		if m.unnoticed() {
			wrong = append(wrong, fmt.Sprintf("member %d goes on although its checkpoint differs", m.id))
		}
	}
	for _, s := range streams {
		wrong = append(wrong, r.disagreement(s)...)
	}
	if ok, why := r.w.load.settled(); !ok {
		wrong = append(wrong, why)
	}
	return strings.Join(wrong, "; ")
}

func (r *rest) disagreement(s metadatav1.Stream) (wrong []string) {
	leader, term := uint64(0), uint64(0)
	newest := uint64(len(r.w.judge.chain(s).changes))
	for _, m := range r.w.members {
		d := m.run.of(s)
		if d.status().Leading {
			leader = m.id
		}
		soft := d.softState()
		if soft.Leader == 0 || (term != 0 && soft.Term != term) {
			wrong = append(wrong, fmt.Sprintf("%s: member %d %s", events.StreamName(s), m.id, softText(soft)))
		}
		term = soft.Term
		if at := d.head().Revision; at != newest {
			wrong = append(wrong, fmt.Sprintf("%s: member %d is at revision %d of %d", events.StreamName(s), m.id, at, newest))
		} else if lacks := m.lacks(s); lacks != "" {
			wrong = append(wrong, fmt.Sprintf("%s: member %d %s", events.StreamName(s), m.id, lacks))
		}
	}
	if leader == 0 {
		wrong = append(wrong, fmt.Sprintf("%s: nobody leads", events.StreamName(s)))
	}
	return wrong
}

// atRest checks what holds when everybody agrees.
func (j *judge) atRest() {
	for _, s := range streams {
		var hash [32]byte
		for i, m := range j.w.members {
			have := m.run.of(s).hash()
			if i > 0 && have != hash {
				j.w.violate("diverged", "members %d and %d have other models of the %s at the same revision", j.w.members[0].id, m.id, s)
			}
			hash = have
			j.history(m, s)
			for range pastReadsAtRest {
				m.run.of(s).readPast()
			}
		}
	}
	j.w.trace.line(j.w.now, "", "at rest: schema at revision %d, topology at %d", len(j.chain(streams[0]).changes), len(j.chain(streams[1]).changes))
}
