package simulation

import (
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// judge looks at the world after every event and knows what all members have agreed
// on. It sees what no member sees: all of them at once.
type judge struct {
	w       *world
	streams map[metadatav1.Stream]*chain
	disks   map[diskKey]*shadow
	leases  leaseBook
	pasts   pastBook
	passing map[passing]map[string]uint64 // what consumers needed that were to be passed, in bytes
}

// chain is the one history of a stream.
type chain struct {
	digests []events.Digest // by revision
	changes []*events.Change
	first   []time.Duration // when any member first applied revision i+1
	leaders map[uint64]uint64
	hashes  map[written][32]byte // of checkpoints
	safe    uint64               // highest index applied by anybody and seen on a majority's disks
}

// written is what the bytes of a checkpoint depend on.
type written struct {
	revision uint64
	build    string
}

func newJudge(w *world) *judge {
	j := &judge{w: w, streams: map[metadatav1.Stream]*chain{}, disks: map[diskKey]*shadow{}, leases: newLeaseBook(w), pasts: newPastBook(w), passing: map[passing]map[string]uint64{}}
	for _, s := range streams {
		j.streams[s] = &chain{leaders: map[uint64]uint64{}, hashes: map[written][32]byte{}}
	}
	return j
}

// chain returns a stream's, with the digest before its first change.
func (j *judge) chain(s metadatav1.Stream) *chain {
	c := j.streams[s]
	if c.digests == nil {
		c.digests = []events.Digest{events.FirstDigest(j.w.cluster, s)}
	}
	return c
}

// committed returns all changes of a stream that took effect, and when each was first
// applied by any member.
func (j *judge) committed(s metadatav1.Stream) ([]*events.Change, []time.Duration) {
	c := j.chain(s)
	return c.changes, c.first
}

// applied takes changes that a member has published, or that it installed a checkpoint.
func (j *judge) applied(s driver, changes []*events.Change, installed bool) {
	m, c := s.owner(), j.chain(s.streamID())
	for _, ch := range changes {
		j.agree(m, c, ch)
	}
	head := s.head()
	switch {
	case head.Revision >= uint64(len(c.digests)):
		j.w.violate("unknown revision", "member %d is at revision %d of the %s, which nobody has applied", m.id, head.Revision, s.streamID())
		return
	case head.Digest != c.digests[head.Revision]:
		j.w.violate("diverged", "member %d is at revision %d of the %s with digest %s, the chain has %s", m.id, head.Revision, s.streamID(), head.Digest, c.digests[head.Revision])
	case head.Revision != s.log().Head():
		j.w.violate("feed", "member %d publishes revision %d of the %s, its feed is at %d", m.id, head.Revision, s.streamID(), s.log().Head())
	}
	if installed {
		j.w.counts.add("installs", 1)
		m.log("%s: installed a checkpoint, now at revision %d", events.StreamName(s.streamID()), head.Revision)
	}
	j.held(s, s.status().Applied)
}

// agree checks that all members have one change for each revision.
func (j *judge) agree(m *member, c *chain, ch *events.Change) {
	revision := ch.Revision()
	if revision > uint64(len(c.digests)) || revision == 0 {
		j.w.violate("gap", "member %d applied change %d before anybody applied the one before", m.id, revision)
		return
	}
	digest := c.digests[revision-1].Next(ch.Raw())
	if revision == uint64(len(c.digests)) {
		c.digests = append(c.digests, digest)
		c.changes = append(c.changes, ch)
		c.first = append(c.first, j.w.now)
		j.w.counts.add("changes committed", 1)
		j.leases.changed(ch)
		j.trimmed(ch)
		j.pasts.changed(ch)
		j.signed(ch)
		j.w.trace.detail(j.w.now, m.name(), "is the first to apply change %d of the %s: %s", revision, ch.Stream(), changeText(ch))
		return
	}
	if c.digests[revision] != digest {
		j.w.violate("diverged", "member %d applied another change %d of the %s than the others: %v", m.id, revision, ch.Stream(), ch.Message())
	}
}

// held checks that what a member has applied is on the disks of a majority.
func (j *judge) held(s driver, index uint64) {
	c := j.chain(s.streamID())
	if index <= c.safe {
		return
	}
	for _, one := range j.w.members {
		term, ok := j.disk(one, s.groupID()).term(index)
		if !ok {
			continue
		}
		holders := 0
		for _, other := range j.w.members {
			d := j.disk(other, s.groupID())
			if t, ok := d.term(index); (ok && t == term) || index <= d.start {
				holders++
			}
		}
		if 2*holders > len(j.w.members) {
			c.safe = index
			return
		}
	}
	j.w.violate("applied beyond commit", "member %d has applied entry %d of the %s, which no majority holds", s.owner().id, index, s.streamID())
}

// role checks that a term has one leader.
func (j *judge) role(m *member, group raftlog.GroupID, soft raftlog.SoftState) {
	if soft.Role != raftlog.Leader {
		return
	}
	c := j.chain(metadatav1.Stream(group))
	switch other, ok := c.leaders[soft.Term]; {
	case !ok:
		c.leaders[soft.Term] = m.id
		j.w.counts.add("elections", 1)
	case other != m.id:
		j.w.violate("two leaders", "members %d and %d both lead %s in term %d", other, m.id, metadatav1.Stream(group), soft.Term)
	}
}

// checkpoint checks that equal revisions have equal checkpoints.
func (j *judge) checkpoint(m *member, d raftlog.Descriptor) {
	c := j.chain(metadatav1.Stream(d.Group))
	at := written{d.Seq, m.build}
	if have, ok := c.hashes[at]; ok && have != d.Hash {
		j.w.violate("checkpoints differ", "member %d wrote another checkpoint of revision %d of %s than the others", m.id, d.Seq, metadatav1.Stream(d.Group))
	}
	c.hashes[at] = d.Hash
}

// look checks what is checked once a tick: the counters that only a bug moves, and
// that everything is bounded.
func (j *judge) look(s driver) {
	m, st := s.owner(), s.status()
	j.ended(s)
	p := &j.w.plan
	limit := func(what string, have, most int) {
		if have > most {
			j.w.violate("unbounded queue", "member %d, %s: %s is %d, its limit %d", m.id, s.streamID(), what, have, most)
		}
	}
	maxPending, maxWaiting := orDefault(p.maxPending, replica.DefaultMaxPending), orDefault(p.maxWaiting, replica.DefaultMaxWaiting)
	limit("replica.MaxPending", st.Pending, maxPending)
	// What came in while a leader was not ready waits as answers afterwards.
	limit("replica.MaxWaiting", st.Waiting, maxWaiting+maxPending)
	limit("member.maxInbox", s.waiting(), maxInboxMessages)
	if head := s.head(); head.Revision < uint64(len(j.chain(s.streamID()).digests)) && head.Digest != j.chain(s.streamID()).digests[head.Revision] {
		j.w.violate("diverged", "member %d publishes revision %d of the %s with another digest than the chain's", m.id, head.Revision, s.streamID())
	}
}

// ended checks the counters of a replica; the last time when its process ends.
func (j *judge) ended(s driver) {
	st := s.status()
	if st.Fenced != 0 {
		j.w.violate("fence fired", "member %d skipped %d entries of the %s, although leaders are careful", s.owner().id, st.Fenced, s.streamID())
	}
	if st.Panicked != 0 {
		j.w.violate("decision panicked", "member %d, %s: %d times", s.owner().id, s.streamID(), st.Panicked)
	}
	for reason, n := range st.Refused {
		if n > 0 && !(reason == raftlog.BadCommit && j.w.harms.oldCopy(s.owner())) {
			j.w.violate("message refused", "member %d refused messages of its peers: %v", s.owner().id, reason)
		}
	}
}

func orDefault(v, d int) int {
	if v == 0 {
		return d
	}
	return v
}

// diskKey is one group's log on one disk.
type diskKey struct {
	member uint64
	group  raftlog.GroupID
}

// shadow is what a disk durably holds of a log: the terms of its entries.
type shadow struct {
	start    uint64
	terms    []uint64 // of start+1 and on
	unsynced []*raftlog.Write
}

func (d *shadow) term(index uint64) (uint64, bool) {
	if index <= d.start || index > d.start+uint64(len(d.terms)) {
		return 0, false
	}
	return d.terms[index-d.start-1], true
}

func (j *judge) disk(m *member, g raftlog.GroupID) *shadow {
	key := diskKey{m.id, g}
	if j.disks[key] == nil {
		j.disks[key] = &shadow{}
	}
	return j.disks[key]
}

// loaded takes what a restart found.
func (j *judge) loaded(m *member, g raftlog.GroupID, l *raftlog.Loaded) {
	d := j.disk(m, g)
	d.start, d.terms, d.unsynced = l.Start.Index, d.terms[:0], nil
	for _, e := range l.Entries {
		d.terms = append(d.terms, e.GetTerm())
	}
}

// stored takes what a disk has been given. It counts from when it is synced.
func (j *judge) stored(m *member, batch []*raftlog.Write) {
	sync := false
	for _, w := range batch {
		d := j.disk(m, w.Group)
		d.unsynced = append(d.unsynced, w)
		sync = sync || w.Sync
	}
	if !sync {
		return
	}
	for _, g := range groups() {
		d := j.disk(m, g)
		for _, w := range d.unsynced {
			d.apply(w)
		}
		d.unsynced = d.unsynced[:0]
	}
}

func (d *shadow) apply(w *raftlog.Write) {
	if w.Install != nil {
		d.start, d.terms = w.Install.Index, d.terms[:0]
	}
	if len(w.Entries) > 0 {
		d.terms = d.terms[:w.Entries[0].GetIndex()-d.start-1]
		for _, e := range w.Entries {
			d.terms = append(d.terms, e.GetTerm())
		}
	}
	if w.CutTo > d.start {
		d.terms = append(d.terms[:0], d.terms[w.CutTo-d.start:]...)
		d.start = w.CutTo
	}
}
