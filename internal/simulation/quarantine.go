package simulation

import (
	"errors"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

// offerPatience is how long an answer to a question of a member in quarantine is waited
// for.
const offerPatience = 2 * time.Second

// rebuilding drives the Rebuild of each group of a member in quarantine, as package member
// does. A crash ends it; the next start begins another one.
type rebuilding struct {
	m     *member
	why   string
	cases []*groupRebuild
	begun bool // the directory is set aside
	ended bool // all groups are rebuilt
}

type groupRebuild struct {
	*raftlog.Rebuild
	re     *rebuilding
	stream metadatav1.Stream
	group  raftlog.GroupID
	staged raftlog.CheckpointWriter
}

// lost reports that a log cannot be used as it is, and that others can bring it back.
func lost(err error) bool {
	_, short := errors.AsType[*raftlog.ShortError](err)
	_, damaged := errors.AsType[*raftlog.DamageError](err)
	return short || damaged
}

// condemn notes that the directory must not be used as it is, and begins the
// quarantine. The floor, if there is one, knows all votes.
func (m *member) condemn(why string) { m.condemnAs(why, raftlog.VotesKnown) }

func (m *member) condemnAs(why string, votes raftlog.Votes) {
	if err := m.store.Condemn(why, votes); err != nil {
		m.storageFailed("condemn", err)
		return
	}
	m.quarantine()
}

// outOfDate puts a member into quarantine whose streams run: it has found out that it
// lacks what others count on.
func (m *member) outOfDate(why string) {
	m.w.counts.add("found out of date", 1)
	m.leave()()
	if err := m.disk.drain(); err != nil {
		m.fail(err)
		return
	}
	m.condemnAs(why, raftlog.VotesUnknown)
	if h := m.w.harms[m.id]; h != nil && m.store.Condemned() != "" {
		h.copied, h.known = false, false // from now on it knows
	}
}

// storageFailed ends the process if the disk has failed. Everything else is a bug.
func (m *member) storageFailed(what string, err error) {
	switch {
	case errors.Is(err, memstore.ErrSync):
		m.w.fault(faultSync)
	case errors.Is(err, raftlog.ErrFull):
		m.w.fault(faultFull)
	case errors.Is(err, errWrite):
		m.w.fault(m.disk.fault)
	default:
		m.w.violate("quarantine", "member %d, %s: %v", m.id, what, err)
		return
	}
	m.fail(err)
}

// quarantine brings a condemned directory back from the other members.
func (m *member) quarantine() {
	m.claim = raftlog.StateQuarantined
	re := &rebuilding{m: m, why: m.store.Condemned()}
	m.rebuild = re
	m.log("is in quarantine: %s", re.why)
	m.w.counts.add("quarantines", 1)
	m.connect()
	re.storage(re.ask)
}

func (re *rebuilding) ask() {
	m := re.m
	for _, s := range streams {
		g := groupOf(s)
		promise, known := m.store.Promise(g)
		r, err := raftlog.NewRebuild(raftlog.RebuildConfig{
			Group: g, Member: m.id, Voters: m.initial(), Promise: promise, Known: known,
			Seed: m.w.rng.Uint64(), BatchBytes: pick(m.w.rng, 0, 1, 2000),
		})
		if err != nil {
			m.w.violate("quarantine", "member %d: %v", m.id, err)
			return
		}
		re.cases = append(re.cases, &groupRebuild{Rebuild: r, re: re, stream: s, group: g})
	}
	re.tick()
	re.carryOutAll()
}

// begin sets aside what the directory holds once all of it is offered.
func (re *rebuilding) begin() {
	for _, c := range re.cases {
		if re.begun || !c.Found() {
			return
		}
	}
	re.begun = true
	m := re.m
	m.log("sets its directory aside")
	m.w.counts.add("directories set aside", 1)
	re.storage(func() {
		if err := m.store.BeginRebuild(m.identity(), groups(), m.initial()); err != nil {
			m.storageFailed("beginning a rebuild", err)
			return
		}
		for _, c := range re.cases {
			c.Begin()
		}
		re.carryOutAll()
	})
}

func (re *rebuilding) tick() {
	re.m.later(re.m.w.plan.tick, func() {
		if re.ended {
			return
		}
		for _, c := range re.cases {
			c.Tick()
		}
		re.carryOutAll()
		re.tick()
	})
}

func (re *rebuilding) carryOutAll() {
	for _, c := range re.cases {
		re.carryOut(c)
	}
}

// carryOut carries out what a machine wants, and ends the quarantine when all of them are
// done.
func (re *rebuilding) carryOut(c *groupRebuild) {
	if re.m.rebuild != re || re.ended {
		return
	}
	for {
		out, more := c.Ready()
		if !more {
			break
		}
		for _, q := range out.Offers {
			c.askOffer(q)
		}
		for _, q := range out.Chunks {
			c.askChunk(q)
		}
		if q := out.Entries; q != nil {
			c.askEntries(*q)
		}
		if out.Stores() {
			re.m.w.rebuildGoesOn(re.m, c.Status().From)
			re.storage(func() { c.store(&out) })
		}
	}
	re.begin()
	for _, c := range re.cases {
		if !c.Done() {
			return
		}
	}
	re.ended = true
	re.storage(re.end)
}

// storage has the disk do something; a stalled one does it later.
func (re *rebuilding) storage(job func()) {
	re.m.later(re.m.disk.latency(), func() {
		if re.m.disk.stalled {
			re.m.later(10*time.Millisecond, func() { re.storage(job) })
			return
		}
		job()
	})
}

// store carries out the storage part of a step.
func (c *groupRebuild) store(out *raftlog.RebuildOutput) {
	m := c.re.m
	err := c.stage(out)
	if errors.Is(err, memstore.ErrSync) {
		m.storageFailed("staging a checkpoint", err)
		return
	}
	if err != nil {
		m.log("rebuild: checkpoint not taken over: %v", err)
	}
	if err == nil && out.Write != nil {
		if m.disk.refuses {
			m.storageFailed("writing", errWrite)
			return
		}
		if err := m.store.Write([]*raftlog.Write{out.Write}); err != nil {
			m.storageFailed("writing", err)
			return
		}
	}
	c.Stored(err)
	c.re.carryOut(c)
}

// stage carries out what concerns a staged checkpoint.
func (c *groupRebuild) stage(out *raftlog.RebuildOutput) (err error) {
	if out.Abort && c.staged != nil {
		if err := c.staged.Abort(); err != nil {
			return err
		}
		c.staged = nil
	}
	if d := out.Stage; d != nil {
		c.re.m.w.counts.add("rebuilds with a checkpoint", 1)
		if c.staged, err = c.re.m.store.StageCheckpoint(c.group, *d); err != nil {
			return err
		}
	}
	for _, chunk := range out.Append {
		if c.staged == nil {
			return errors.New("there is no staged checkpoint")
		}
		if err := c.staged.WriteChunk(chunk); err != nil {
			return err
		}
	}
	if out.Commit && c.staged != nil {
		_, err = c.staged.Commit()
		c.staged = nil
	}
	return err
}

// end ends the quarantine: the streams run in the same process.
func (re *rebuilding) end() {
	m := re.m
	if err := m.store.EndRebuild(); err != nil {
		m.storageFailed("ending a rebuild", err)
		return
	}
	m.rebuild, m.claim = nil, raftlog.StateLived
	if h := m.w.harms[m.id]; h != nil {
		h.rebuilt = true
	}
	m.log("is out of quarantine")
	m.w.counts.add("rebuilds", 1)
	m.runStreams()
	if m.run != nil {
		m.callForLogs()
	}
}

// callForLogs tells the others that this member follows again: what they sent it
// meanwhile is lost.
func (m *member) callForLogs() {
	from := m.id
	for _, p := range m.w.peers {
		if p.ID == m.id {
			continue
		}
		m.callPeer(p.ID, time.Second, func(peer *member, answer func(any, error)) {
			if peer.run != nil {
				for _, s := range peer.run.all() {
					s.givenUp(from)
				}
			}
			answer(nil, nil)
		}, func(any, error) {})
	}
}

// connect has the other members notice that this process listens, once.
func (m *member) connect() {
	if m.listens {
		return
	}
	m.listens = true
	for _, other := range m.w.members {
		other.peerUp(m.id)
	}
}
