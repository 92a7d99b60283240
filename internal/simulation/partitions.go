package simulation

import "time"

// sever cuts links until healed. Both ends notice after a while that a connection is
// broken, and again that it is back.
func (w *world) sever(pairs [][2]end, d time.Duration) {
	var heals []func()
	for _, p := range pairs {
		heals = append(heals, w.net.cut(p[0], p[1]))
		w.noticeCut(p)
	}
	w.after(d, func() {
		for _, heal := range heals {
			heal()
		}
		for _, p := range pairs {
			w.noticeHealed(p)
		}
	})
}

// noticeCut has the members at both ends take the connection for broken, if it is still
// cut by then.
func (w *world) noticeCut(p [2]end) {
	if p[0] >= firstClient || p[1] >= firstClient {
		return
	}
	w.after(within(w.rng, 300*time.Millisecond, 3*time.Second), func() {
		if !w.net.isCut(p[0], p[1]) {
			return
		}
		for i := range p {
			m, other := w.member(uint64(p[i])), uint64(p[1-i])
			m.receive(func() {
				m.linkDown[other] = true
				m.linkBroke(other)
			})
		}
	})
}

func (w *world) noticeHealed(p [2]end) {
	if p[0] >= firstClient || p[1] >= firstClient || w.net.isCut(p[0], p[1]) || w.net.isCut(p[1], p[0]) {
		return
	}
	for i := range p {
		w.member(uint64(p[i])).peerUp(uint64(p[1-i]))
	}
}

// both returns the links of all pairs in both directions.
func both(left, right []end) (pairs [][2]end) {
	for _, a := range left {
		for _, b := range right {
			pairs = append(pairs, [2]end{a, b}, [2]end{b, a})
		}
	}
	return pairs
}

// sides splits all ends at random: some members on one side, the clients anywhere.
func (w *world) sides() (left, right []end) {
	ms := w.shuffled()
	n := 1 + w.rng.IntN(len(ms)-1)
	for i, m := range ms {
		if i < n {
			left = append(left, end(m.id))
		} else {
			right = append(right, end(m.id))
		}
	}
	if w.chance(0.5) {
		return left, right // clients reach both sides
	}
	for c := range w.plan.clients {
		if w.chance(0.5) {
			left = append(left, clientEnd(c))
		} else {
			right = append(right, clientEnd(c))
		}
	}
	return left, right
}

func (w *world) outage() time.Duration {
	return pick(w.rng, around(w.rng, 300*time.Millisecond), around(w.rng, 3*time.Second), within(w.rng, 0, 15*time.Second))
}

func (w *world) partition() bool {
	left, right := w.sides()
	d := w.outage()
	w.trace.line(w.now, "", "partition for %v: %v | %v", d, left, right)
	w.sever(both(left, right), d)
	return true
}

// usurp cuts a leader off from the other members, not from its clients, and has the
// others elect another one at once: for a while there are two, and one does not know.
func (w *world) usurp() bool {
	leader := w.likelyLeader()
	if leader == nil {
		return false
	}
	var others []end
	for _, m := range w.members {
		if m != leader {
			others = append(others, end(m.id))
			m.receive(func() { m.peerGone(leader.id) })
		}
	}
	d := within(w.rng, 200*time.Millisecond, 3*time.Second)
	w.trace.line(w.now, leader.name(), "is cut off from members for %v and taken for gone", d)
	w.sever(both([]end{end(leader.id)}, others), d)
	return true
}

func (w *world) partitionOneWay() bool {
	var pairs [][2]end
	left, right := w.sides()
	for _, a := range left {
		for _, b := range right {
			if w.chance(0.7) {
				pairs = append(pairs, [2]end{a, b})
			}
		}
	}
	d := w.outage()
	w.trace.line(w.now, "", "one-way partition for %v: %v", d, pairs)
	w.sever(pairs, d)
	return true
}

// swizzle cuts off members one after the other and heals them in another order.
func (w *world) swizzle() bool {
	w.trace.line(w.now, "", "swizzle")
	for i, m := range w.shuffled() {
		begin := time.Duration(i)*time.Second + around(w.rng, 500*time.Millisecond)
		d := within(w.rng, time.Second, 6*time.Second)
		w.after(begin, func() {
			if !w.quiet {
				w.sever(both([]end{end(m.id)}, w.othersOf(m)), d)
			}
		})
	}
	return true
}

func (w *world) othersOf(m *member) (others []end) {
	for _, other := range w.members {
		if other != m {
			others = append(others, end(other.id))
		}
	}
	return others
}

// leaveBehind cuts a member off for so long that others drop what it needs.
func (w *world) leaveBehind() bool {
	m := w.members[w.rng.IntN(len(w.members))]
	d := within(w.rng, 6*time.Second, 20*time.Second)
	m.log("is left behind for %v", d)
	w.sever(both([]end{end(m.id)}, w.othersOf(m)), d)
	return true
}

// delayAnswer has a member wait for the answer to its read index for so long that it asks
// again, and hear nothing else meanwhile: what it is told in the end says nothing of the
// reads that have come since.
func (w *world) delayAnswer(m *member, deliver func()) bool {
	if !w.readTrap || w.quiet || m.run == nil {
		return false
	}
	w.readTrap = false
	tick := w.plan.tick
	late := within(w.rng, 2*tick, time.Duration(w.plan.election)*tick)
	m.log("hears only in %v which reads are confirmed", late)
	w.fault(faultLateRead)
	var pairs [][2]end
	for _, other := range w.othersOf(m) {
		pairs = append(pairs, [2]end{other, end(m.id)})
	}
	w.sever(pairs, late+tick)
	w.after(late, deliver)
	return true
}

func (w *world) cutClient() bool {
	c := clientEnd(w.rng.IntN(w.plan.clients))
	m := end(1 + w.rng.IntN(len(w.members)))
	pairs := both([]end{c}, []end{m})
	if w.chance(0.5) {
		pairs = pairs[w.rng.IntN(2):][:1]
	}
	w.sever(pairs, w.outage())
	return true
}

// badLinks has an end lose most of what it sends and is sent.
func (w *world) badLinks() bool {
	e := end(1 + w.rng.IntN(len(w.members)))
	w.net.loss[e] = pick(w.rng, 0.3, 0.6, 0.9)
	w.after(w.outage(), func() { delete(w.net.loss, e) })
	return true
}

// breakConnection has two members lose what is under way between them.
func (w *world) breakConnection() bool {
	ms := w.shuffled()
	for i, m := range ms[:2] {
		other := ms[1-i].id
		m.receive(func() { m.linkBroke(other) })
	}
	return true
}
