package main

import "slices"

// mutant is a bug that somebody could have written: one or two lines of the service,
// changed. The source in the repository never contains it; the compiler gets the
// changed file in the place of the real one.
type mutant struct {
	name  string
	about string // what is broken, in words
	edits []edit
}

// edit replaces a text that a file contains exactly once.
type edit struct {
	file     string // from the module's root
	old, new string
}

// mutants are all of them.
var mutants = slices.Concat(presentMutants, pastMutants, cacheMutants)

// presentMutants are in the order of the path of a write: agreement, deciding, applying,
// reading, subscribing, liveness, checkpoints, clients.
var presentMutants = []mutant{
	{
		name: "ack-before-sync", about: "a follower acknowledges entries before they are synced",
		edits: []edit{{
			"raftlog/ready.go", "	out.Write = w\n}",
			"	for _, r := range w.responses {\n		if r.GetTo() != g.cfg.Member {\n			g.outbox = append(g.outbox, r)\n		}\n	}\n	out.Write = w\n}",
		}},
	},
	{
		name: "skip-the-fsync", about: "entries are written without a sync",
		edits: []edit{{"raftlog/ready.go", "if n := len(w.Entries); n > 0 {\n		w.Sync = true", "if n := len(w.Entries); n > 0 {\n		w.Sync = false"}},
	},
	{
		name: "lose-the-vote", about: "term and vote are not stored",
		edits: []edit{{"raftlog/ready.go", "		w.HardState = &hs\n", ""}},
	},
	{
		name: "drop-storage-response", about: "raft does not hear that its own write is stored",
		edits: []edit{{"raftlog/group.go", "		if m.GetTo() == g.cfg.Member {\n			g.must(\"step\", g.step(m))", "		if m.GetTo() == g.cfg.Member {\n			continue"}},
	},
	{
		name: "no-report-of-a-lost-snapshot", about: "an offer of a checkpoint that came to nothing is never given up",
		edits: []edit{{"raftlog/transfer.go", "			dead = append(dead, to)\n", ""}},
	},
	{
		name: "ignore-the-fence", about: "a leader decides before its own term's empty entry is applied, and the fence does not stop what it decided",
		edits: []edit{
			{"replica/apply.go", "	if why := r.fence(b, e.Term); why != \"\" {", "	if why := r.fence(b, e.Term); why == \"-\" {"},
			{"replica/apply.go", "	if b.previous != r.state.Head.Digest {", "	if false {"},
			{"replica/lead.go", "l.ready || r.appliedTerm != l.term {", "l.ready {"},
		},
	},
	{
		name: "decide-before-own-entry", about: "a leader decides before its own term's empty entry is applied (the fence is in place)",
		edits: []edit{{"replica/lead.go", "l.ready || r.appliedTerm != l.term {", "l.ready {"}},
	},
	{
		name: "keep-what-was-dropped", about: "a leader keeps its pending model after raft dropped a proposal",
		edits: []edit{{"replica/lead.go", "	l.gathered = nil\n	r.rewind()\n", "	l.gathered = nil\n	if true {\n		return\n	}\n"}},
	},
	{
		name: "answer-before-commit", about: "a change is answered when it is proposed",
		edits: []edit{{"replica/lead.go", "		b.decisions[i].waiter.proposed = true\n", "		b.decisions[i].waiter.proposed = true\n		r.answer(b.decisions[i].waiter.done, Answer{Reply: b.decisions[i].reply, Revision: b.decisions[i].change.Revision()})\n		b.decisions[i].waiter.done = func(Answer) {}\n"}},
	},
	{
		name: "reject-before-commit", about: "a rejection does not wait for the pending revision that it was decided on",
		edits: []edit{{"replica/lead.go", "term: l.term, need: seen}", "term: l.term}"}},
	},
	{
		name: "reject-without-read-index", about: "a leader rejects without making sure that it still leads",
		edits: []edit{{"replica/lead.go", "	r.reads.waiting = append(r.reads.waiting, late)\n}\n\n// tryDecide", "	r.reads.confirmed = append(r.reads.confirmed, late)\n}\n\n// tryDecide"}},
	},
	{
		name: "forget-request-ids", about: "a retry is carried out again",
		edits: []edit{{"projections/requests.go", "func (r Requests) Lookup(id string) (*events.Change, bool) {", "func (r Requests) Lookup(id string) (*events.Change, bool) {\n	if id != \"\" {\n		return nil, false\n	}"}},
	},
	{
		name: "forget-request-ids-in-checkpoint", about: "a checkpoint does not carry the window of request ids",
		edits: []edit{{"projections/checkpoint.go", "	return s.Requests.export(yield)\n", "	return nil\n"}},
	},
	{
		name: "outcome-unknown-as-rejection", about: "a lost leader says that what it had proposed was not carried out",
		edits: []edit{{"replica/lead.go", "		if q.proposed {\n			return r.outcomeUnknown(q.requestID)\n		}\n		return r.noLeader(\"leadership was lost before the change was proposed\")", "		return r.noLeader(\"leadership was lost before the change was proposed\")"}},
	},
	{
		name: "publish-before-commit", about: "readers see the pending model",
		edits: []edit{{"replica/lead.go", "		r.lead.fold(d)\n", "		r.lead.fold(d)\n		r.view.Store(r.lead.pending.Freeze())\n"}},
	},
	{
		name: "apply-twice", about: "after a restart the entry of the checkpoint is applied again",
		edits: []edit{{"replica/apply.go", "	next, err := fold(r.state, b.Changes)", "	next, err := fold(r.state, append(b.Changes[:1:1], b.Changes...))"}},
	},
	{
		name: "reuse-a-read-index-id", about: "the answer to an earlier ReadIndex round confirms reads that came later",
		edits: []edit{{"replica/reads.go", "			if q.round > rs.ID {", "			if q.round > rs.ID && q.round == 0 {"}},
	},
	{
		name: "read-without-waiting", about: "a linearizable read does not wait until its index is applied",
		edits: []edit{{"replica/reads.go", "return q.index <= r.applied && q.need <= revision })", "return q.need <= revision })"}},
	},
	{
		name: "stale-leader-reads", about: "a linearizable read is answered without a ReadIndex round",
		edits: []edit{{"replica/reads.go", "	if q.AtLeast != 0 {\n		r.await(late)", "	if !q.Leading {\n		r.await(late)"}},
	},
	{
		name: "run-ahead-with-bookmarks", about: "a bookmark vouches for changes that were not sent yet",
		edits: []edit{{"feed/next.go", "		setRevision(p, c.log.Stream(), c.told)\n", "		setRevision(p, c.log.Stream(), c.log.Head())\n"}},
	},
	{
		name: "drop-a-bookmark", about: "no bookmark follows a snapshot, nor anything else",
		edits: []edit{{"feed/next.go", "	s.bookmark = false\n	p := s.feed.position()\n", "	s.bookmark = false\n	p := s.feed.position()\n	if s.last.Nanosecond() >= 0 {\n		return Frame{}\n	}\n"}},
	},
	{
		name: "skip-for-slow-subscribers", about: "a subscriber that lags loses what has left memory",
		edits: []edit{{"feed/log.go", "	if oldest := l.oldest(v); after+1 < oldest {", "	if len(v.changes) > 0 {\n		return v.changes[:min(len(v.changes), MaxScanChanges)], nil\n	}\n	if oldest := l.oldest(v); after+1 < oldest {"}},
	},
	{
		name: "expire-everybody-on-leader-change", about: "a new leader gives nodes no full lease",
		edits: []edit{{"leases/table.go", "	l.deadline = t.clock + t.options.Lease\n	l.queued = l.deadline\n", "	l.deadline = t.clock\n	l.queued = l.deadline\n"}},
	},
	{
		name: "grant-while-expiring", about: "a beat is granted that came too late to stop the node's expiry",
		edits: []edit{{"leases/table.go", "		v.Outcome = Expiring\n", "		v.Outcome = Granted\n"}},
	},
	{
		name: "count-a-lease-from-its-answer", about: "a node counts its lease from the answer instead of from its beat",
		edits: []edit{{"client/session/answers.go", "	if until := f.sent + m.lease*leaseUsed/leaseParts; until > m.now {", "	if until := m.now + m.lease; until > m.now {"}},
	},
	{
		name: "cut-past-the-checkpoint", about: "the log is cut up to what is applied instead of up to the checkpoint",
		edits: []edit{{"raftlog/group.go", "		g.queued.cutTo = upTo\n", "		g.queued.cutTo = g.applied\n"}},
	},
	{
		name: "install-without-jump", about: "a checkpoint of another member is installed behind the back of the subscriptions",
		edits: []edit{{"replica/install.go", "	r.cfg.Feed.Jump(r.state.Head.Revision)\n", ""}},
	},
	{
		name: "short-request-window", about: "request ids are forgotten although the window should reach back further",
		edits: []edit{{"projections/requests.go", "	r.put(c)\n	for r.order.len() > MaxRequests || r.bytes > MaxRequestBytes {", "	r.put(c)\n	for r.order.len() > 8 || r.bytes > MaxRequestBytes {"}},
	},
	{
		name: "rebuild-to-the-checkpoint", about: "a member in quarantine takes the checkpoint and not the log behind it",
		edits: []edit{{"raftlog/rebuild.go", "		r.receiver, r.installing = nil, false\n", "		r.receiver, r.installing = nil, false\n		r.offer.Last = d.Index\n"}},
	},
	{
		name: "rebuild-without-a-hard-state", about: "a rebuilt member does not remember the term of the leader that it was rebuilt from",
		edits: []edit{{"raftlog/rebuild.go", "		w.HardState, w.Sync = &hs, true\n", "		hs.Term, hs.Vote = r.at().Term, 0\n		w.HardState, w.Sync = &hs, true\n"}},
	},
	{
		name: "forget-the-promised-term", about: "a rebuilt member goes back behind the term that its floor has promised",
		edits: []edit{{"raftlog/rebuild_check.go", "	if r.cfg.Promise.Term > hs.Term {", "	if r.cfg.Promise.Term > hs.Term && r.from == 0 {"}},
	},
	{
		name: "forget-the-promised-vote", about: "a rebuilt member may vote again in the term that its floor has promised",
		edits: []edit{{"raftlog/rebuild_check.go", "		hs.Term, hs.Vote = r.cfg.Promise.Term, r.cfg.Promise.Vote", "		hs.Term, hs.Vote = r.cfg.Promise.Term, 0"}},
	},
	{
		name: "end-a-rebuild-early", about: "a rebuild is taken for done after the first entries",
		edits: []edit{{"raftlog/rebuild.go", "	case r.phase == rebuildFinishing && r.write == nil:", "	case r.phase >= rebuildFetching && r.write == nil:"}},
	},
	{
		name: "obey-a-commit-beyond-the-log", about: "a member does not notice that its leader counts on entries that it lacks",
		edits: []edit{{"raftlog/check.go", "		if m.GetTerm() >= c.env.Term && m.GetCommit() > last {", "		if m.GetTerm() >= c.env.Term && m.GetCommit() > last && last == 0 {"}},
	},
	{
		name: "blank-member-bootstraps", about: "a member that lost its directory begins anew beside those that have lived",
		edits: []edit{{"raftlog/genesis.go", "	case begun && me == StateBlank:\n		return Quarantine, nil", "	case begun && me == StateBlank:\n		return WriteGenesis, nil"}},
	},
	{
		name: "stop-members-of-another-build", about: "members hold the checkpoints of different builds against each other",
		edits: []edit{
			{"internal/hashwatch/judge.go", "other.hash == b.hash && other.build == b.build {", "other.hash == b.hash {"},
			{"internal/hashwatch/judge.go", "		case ok && b.build == build:\n", "		case ok && build != \"\":\n"},
		},
	},
	{
		name: "one-witness-is-enough", about: "a member is stopped although less than a majority differs from it",
		edits: []edit{{"internal/hashwatch/judge.go", "return max(2, len(w.o.Members)/2+1)", "return max(1, len(w.o.Members)/2)"}},
	},
	{
		name: "see-and-go-on", about: "a member that differs from a majority raises an alarm and serves on",
		edits: []edit{{"internal/hashwatch/judge.go", "		if out.Condemned == \"\" && slices.Contains(differing, w.o.Member) {", "		if out.Condemned != \"\" && slices.Contains(differing, w.o.Member) {"}},
	},
	{
		name: "offer-without-read-index", about: "a leader vouches for its leadership, to a member in quarantine and to nodes, without asking anybody",
		edits: []edit{{"replica/reads.go", "	r.reads.waiting = append(r.reads.waiting, late)\n}", "	if q.Leading {\n		r.reads.confirmed = append(r.reads.confirmed, late)\n		return\n	}\n	r.reads.waiting = append(r.reads.waiting, late)\n}"}},
	},
}
