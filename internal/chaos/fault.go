package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// fault is one kind of thing that goes wrong. do makes it happen, waits and mends it; it
// returns what broke a promise or went wrong with the making.
type fault struct {
	kind string
	disk bool // needs disks that can be broken
	do   func(context.Context, *scene) error
}

// scene is what a fault acts on.
type scene struct {
	*cluster
	run    *run
	random *rand.Rand
	detail []string // what was done, for the report
}

// none is the kind of the time before the first fault.
const none = "none"

// faults are all kinds, in the order in which a report explains them.
var faults = []fault{
	{kind: "kill-leader", do: killLeader},
	{kind: "kill-follower", do: killFollower},
	{kind: "kill-all", do: killAll},
	{kind: "restart-leader", do: restartLeader},
	{kind: "pause-leader", do: pauseLeader},
	{kind: "wiped", do: wipeMember},
	{kind: "leader-isolated", do: isolateLeader},
	{kind: "leader-mute", do: muteLeader},
	{kind: "leader-deaf", do: deafenLeader},
	{kind: "link-cut", do: cutLink},
	{kind: "link-one-way", do: cutLinkOneWay},
	{kind: "ring", do: cutRing},
	{kind: "flaps", do: flap},
	{kind: "port-refuses", do: refuseLeader},
	{kind: "slow-links", do: slowLinks},
	{kind: "disk-full", disk: true, do: fillDisk},
	{kind: "disk-overfull", disk: true, do: overfillDisk},
	{kind: "disk-stalls", disk: true, do: stallDisk},
	{kind: "fsync-fails", disk: true, do: failSync},
	{kind: "power-loss", disk: true, do: losePower},
	{kind: "power-loss-all", disk: true, do: losePowerEverywhere},
}

// Kinds returns the names of all faults.
func Kinds() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.kind)
	}
	return names
}

// chooseFaults returns the faults with these names, or all, without those that cannot be
// made here.
func chooseFaults(names []string) (chosen []fault, left []LeftOut, err error) {
	for _, name := range names {
		if !slices.Contains(Kinds(), name) {
			return nil, nil, fmt.Errorf("chaos: no fault %q; there are %s", name, strings.Join(Kinds(), ", "))
		}
	}
	why := missingForDisks()
	for _, f := range faults {
		if len(names) > 0 && !slices.Contains(names, f.kind) {
			continue
		}
		if f.disk && why != "" {
			left = append(left, LeftOut{f.kind, why})
			continue
		}
		chosen = append(chosen, f)
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("chaos: none of the chosen faults can be made here: %s", why)
	}
	return chosen, left, nil
}

// schedule applies faults one after another until the time is over: each kind once in
// random order, then again in another.
func (r *run) schedule(ctx context.Context, kinds []fault) {
	random := r.random(1 << 20)
	until := r.now() + r.opts.Duration
	from := r.now()
	pause(ctx, min(baseline, r.opts.Duration/4))
	r.note(Occurrence{Kind: none, Began: from, Lasted: r.now() - from})
	for n := 0; ; {
		for _, i := range random.Perm(len(kinds)) {
			if ctx.Err() != nil || r.now() >= until {
				return
			}
			n++
			if !r.apply(ctx, kinds[i], n) {
				return
			}
			pause(ctx, between+rand.N(between))
		}
	}
}

// apply makes one fault happen and waits until all members serve again. False: they do not.
func (r *run) apply(ctx context.Context, f fault, number int) bool {
	s := &scene{cluster: r.cluster, run: r, random: r.random(1<<20 + number)}
	o := Occurrence{Kind: f.kind, Began: r.now()}
	err := f.do(ctx, s)
	o.Detail = strings.Join(s.detail, ", ")
	r.say("%-15s %s", f.kind, o.Detail)
	if err != nil && ctx.Err() == nil {
		r.violate("%s (%s): %v", f.kind, o.Detail, err)
	}
	if err := r.cluster.restore(); err != nil {
		r.violate("after %s (%s): %v", f.kind, o.Detail, err)
	}
	err = r.cluster.settle(context.WithoutCancel(ctx), settleWait)
	o.Lasted = r.now() - o.Began
	r.note(o)
	if err != nil {
		r.violate("after %s (%s): %v", f.kind, o.Detail, err)
	}
	return err == nil
}

// note adds a fault to the report.
func (r *run) note(o Occurrence) {
	until := o.Began + o.Lasted
	o.Any, o.Client = r.any.gap(o.Began, until), r.one.gap(o.Began, until)
	r.report.Faults = append(r.report.Faults, o)
}

func (s *scene) note(format string, args ...any) {
	s.detail = append(s.detail, fmt.Sprintf(format, args...))
}

// last draws for how long something lasts.
func (s *scene) last(least, most time.Duration) time.Duration {
	return least + time.Duration(s.random.Int64N(int64(most-least)+1))
}

// hold keeps a fault up, but not when the run is to end.
func (s *scene) hold(ctx context.Context, least, most time.Duration) {
	d := s.last(least, most)
	s.note("for %v", d.Round(time.Millisecond))
	pause(ctx, d)
}

// schemaLeader finds the leader of the stream that the probes write to.
func (s *scene) schemaLeader(ctx context.Context) (*member, error) {
	m, err := s.leader(ctx, metadatav1.Stream_STREAM_SCHEMA)
	if err == nil {
		s.note("member %d", m.index+1)
	}
	return m, err
}

// other returns one of the members but this one.
func (s *scene) other(m *member) *member {
	return s.members[(m.index+1+s.random.IntN(members-1))%members]
}

// others are the indices of the members but this one.
func (s *scene) others(m *member) []int {
	return []int{(m.index + 1) % members, (m.index + 2) % members}
}

// mendLinks lets everything through again: as it was kept back, or with connections broken.
func (s *scene) mendLinks() {
	if s.random.IntN(2) == 0 {
		s.note("then connections break")
		for i := range members {
			s.network.Reset(i, (i+1)%members)
		}
	}
	s.network.Heal()
}
