package simulation

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// follower keeps a subscription as the Go client does, with the client's own step
// machines: it resumes after each break, and folds what comes into a cache if it hears
// of everything. Now and then it begins another one. A cache is in the process of a caller,
// whose writes it shows, and asks how old it is.
type follower struct {
	c     *clients
	link  int
	owner *caller

	number     int
	life       int // counts the subscriptions begun; what belongs to an earlier one does not count
	request    *metadatav1.SubscribeRequest
	resumption *follow.Resumption
	mirror     *follow.Mirror // nil: no cache
	freshness  follow.Freshness
	filter     *events.Filter
	session    *consistency.Subscription
	cancel     func()
	reached    map[metadatav1.Stream]uint64 // by what came in the present session
}

func newFollower(c *clients, link int) *follower {
	return &follower{c: c, link: link, owner: c.callers[link]}
}

// begin starts a subscription of its own, as a process that begins.
func (f *follower) begin() {
	w := f.c.w
	f.life++
	f.number = f.c.number()
	request, cached := f.c.requests.Subscribe(f.number), w.chance(0.4)
	f.mirror, f.freshness = nil, follow.Freshness{}
	if cached {
		request.Filter, request.FailOnGap = nil, false
		request.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
		f.mirror = follow.NewMirror()
	}
	f.filter = events.NewFilter(request.GetFilter())
	if !f.filter.MatchStream(streams[0]) && !f.filter.MatchStream(streams[1]) {
		request.Filter, f.filter = nil, nil // nothing can match: the service refuses it
	}
	f.request = request
	f.resume()
	f.open(f.c.anyMember())
	if cached {
		f.question()
	}
	life := f.life
	w.after(around(w.rng, 30*time.Second), func() {
		if f.life == life && !f.c.settling {
			f.cancel()
			f.session.Broke(nil, w.now)
			f.begin()
		}
	})
}

// resume makes a resumption of the follower's request.
func (f *follower) resume() {
	f.resumption = follow.NewResumption(f.request, len(f.c.w.members), follow.JudgeFailure)
	if f.mirror != nil {
		f.resumption.PreferSnapshots()
	}
}

// reload has the cache load again, beside what it shows or, as after an error, because that
// is not to be trusted.
func (f *follower) reload() {
	f.c.w.counts.add("caches loaded again", 1)
	if f.c.w.chance(0.5) {
		f.mirror.Distrust()
	} else {
		f.show(&metadatav1.SubscribeResponse{Frame: &metadatav1.SubscribeResponse_Reset_{Reset_: &metadatav1.Reset{}}})
	}
	f.resume()
}

// open begins a session at a member.
func (f *follower) open(to uint64) {
	w, life := f.c.w, f.life
	request := f.resumption.Next()
	f.session = f.c.history.Subscription(f.number, request, w.now)
	f.reached = make(map[metadatav1.Stream]uint64)
	session := f.session
	f.cancel = w.subscribe(f.link, to, request, func(frame *metadatav1.SubscribeResponse) {
		if f.life == life {
			session.Frame(frame, w.now)
			f.take(frame)
		}
	}, func(err error) {
		if f.life == life {
			session.Broke(err, w.now)
			f.broke(to, err)
		}
	})
}

// broke decides how to go on, as the Go client does.
func (f *follower) broke(asked uint64, err error) {
	w, life := f.c.w, f.life
	wait, again := f.resumption.Broke(err)
	if !again || w.historyGone(err) {
		f.begin()
		return
	}
	next := asked%uint64(len(w.members)) + 1
	w.after(max(wait, around(w.rng, 50*time.Millisecond)), func() {
		if f.life != life {
			return
		}
		if f.mirror != nil && w.chance(0.2) {
			f.reload()
		} else if frame := f.resumption.Announce(); frame != nil {
			f.show(frame)
		}
		f.open(next)
	})
}

// take takes a frame of the present session.
func (f *follower) take(frame *metadatav1.SubscribeResponse) {
	switch k := frame.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Changes:
		for _, c := range k.Changes.GetChanges() {
			f.reached[k.Changes.GetStream()] = c.GetRevision()
		}
	case *metadatav1.SubscribeResponse_Bookmark:
		for _, s := range positioned {
			f.reached[s] = revisionOf(k.Bookmark.GetPosition(), s)
		}
	}
	if fresh := f.resumption.See(frame); fresh != nil {
		f.show(fresh)
	}
}

// show folds a frame into the cache, and looks at what it holds.
func (f *follower) show(frame *metadatav1.SubscribeResponse) {
	if f.mirror == nil {
		return
	}
	if _, err := f.mirror.Step(frame); err != nil {
		f.c.w.violate("mirror", "follower %d: %v, after %v", f.number, err, frame)
		return
	}
	f.read()
}

// read looks at an object of the cache, and says what the cache vouches for besides.
func (f *follower) read() {
	position := f.mirror.Position()
	if !f.mirror.Trusted() {
		return
	}
	f.freshness.Shown(position)
	f.c.w.counts.add("cached reads", 1)
	query, answer := f.look()
	read := f.c.history.Cached(f.number, query, answer, position, f.c.w.now)
	if f.owner.wrote.CoveredBy(position) {
		f.c.w.counts.add("cached reads that show own writes", 1)
		read.ShowsOwn(f.owner.number)
	}
	if since := f.freshness.Since(); !since.IsZero() {
		f.c.w.counts.add("cached reads of a known age", 1)
		read.ShowsAll(since.Sub(wallStart))
	}
}

// question asks where the streams are, and asks again after a while, as the Go client's
// caches do whose age is bounded.
func (f *follower) question() {
	w, life, asked := f.c.w, f.life, wallStart.Add(f.c.w.now)
	var schema, topology *metadatav1.Position
	heard := func() {
		if f.life == life && schema != nil && topology != nil {
			f.freshness.Answered(asked, follow.Newest(schema, topology))
			f.read()
		}
	}
	to, patience := f.c.anyMember(), f.c.patience()
	w.call(f.link, to, follow.NewestSchema(), patience, func(reply proto.Message, _ error) {
		if answer, ok := reply.(*metadatav1.ListNamespacesResponse); ok {
			schema = answer.GetPosition()
			heard()
		}
	})
	w.call(f.link, to, follow.NewestTopology(), patience, func(reply proto.Message, _ error) {
		if answer, ok := reply.(*metadatav1.ListNodesResponse); ok {
			topology = answer.GetPosition()
			heard()
		}
	})
	w.after(around(w.rng, 500*time.Millisecond), func() {
		if f.life == life && !f.c.settling {
			f.question()
		}
	})
}

// look reads an object of the cache.
func (f *follower) look() (query, answer proto.Message) {
	schema, topology := f.mirror.Schema(), f.mirror.Topology()
	for {
		switch q := f.c.requests.Next(f.number).(type) {
		case *metadatav1.GetTableRequest:
			if t, ok := findTable(schema, q.GetTable()); ok {
				return q, &metadatav1.GetTableResponse{Table: t.Message()}
			}
			return q, nil
		case *metadatav1.GetNodeRequest:
			if n, ok := topology.Node(q.GetNodeId()); ok {
				return q, &metadatav1.GetNodeResponse{Node: n.Message()}
			}
			return q, nil
		case *metadatav1.GetShardRequest:
			if s, ok := findShard(topology, q); ok {
				return q, &metadatav1.GetShardResponse{Shard: s.Message()}
			}
			return q, nil
		case *metadatav1.ListTablesRequest:
			all := &metadatav1.ListTablesResponse{}
			for t := range schema.TablesByName(q.GetNamespace(), "") {
				if q.GetNamespace() == "" || t.Namespace() == q.GetNamespace() {
					all.Tables = append(all.Tables, t.Message())
				}
			}
			return q, all
		}
	}
}

// behind says what the follower still has to hear of, or "".
func (f *follower) behind() string {
	for _, s := range positioned {
		newest := uint64(len(f.c.w.judge.chain(s).changes))
		if f.filter.MatchStream(s) && f.reached[s] != newest {
			return fmt.Sprintf("follower %d has heard of revision %d of %d of %s", f.number, f.reached[s], newest, events.StreamName(s))
		}
	}
	return ""
}
