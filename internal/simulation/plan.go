package simulation

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/leases"
)

// plan is what a seed draws at its start: the size of the cluster, the limits of its
// members, and how bad the world is.
type plan struct {
	members  int
	clients  int
	busy     bool          // clients hardly pause
	genesis  bool          // members meet each other at the start, instead of finding genesis written
	faulty   time.Duration // how long faults happen
	tick     time.Duration
	election int // ticks

	checkpointRevisions, trailingEntries uint64
	chunkBytes                           int // of a checkpoint
	maxPending, maxWaiting               int
	readRetryTicks, patienceTicks        int
	stallTicks                           int
	messageBytes, inflightMessages       int
	uncommittedBytes, applyBytes         int
	logBytes, logChanges                 int    // of a feed
	readBytes                            int    // of the past, at a time
	segment                              uint64 // revisions of a segment of marks
	signing                              audit.Policy
	transferTicks                        int // a transfer idle for longer is given up
	leases                               leases.Options
	compare                              time.Duration // a round of the watch
	upgrade                              bool          // members start another build, one after the other
	calm                                 time.Duration // clients go on for so long without faults
	partBytes                            int           // of a part of a history
	retain                               time.Duration // between two looks whether histories are too old or too large
	retention                            retention.Policy

	network conditions
	disk    diskSpeed
	jitter  time.Duration // a member takes up to so long to get to its inputs
	faults  []faultRate
}

// settleWithin is how long the world may take to come to rest without faults.
const settleWithin = 90 * time.Second

// pick returns one of the values; those named more than once are more likely.
func pick[T any](rng *rand.Rand, values ...T) T { return values[rng.IntN(len(values))] }

// within returns a random duration, evenly spread.
func within(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}

// around returns a random duration, exponentially spread.
func around(rng *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(rng.ExpFloat64() * float64(mean))
}

// leaveMembersBehind has members fall behind others that are busy and keep little of their
// logs, so that they need checkpoints.
func (p *plan) leaveMembersBehind(rng *rand.Rand) {
	p.busy = true
	p.checkpointRevisions, p.trailingEntries = pick[uint64](rng, 2, 3, 5), pick[uint64](rng, 1, 2)
	p.faults = slices.DeleteFunc(p.faults, func(r faultRate) bool { return r.name == faultLag || r.name == faultInTransfer })
	for _, k := range allFaultKinds {
		switch k.name {
		case faultLag:
			p.faults = append(p.faults, faultRate{k, 10 * time.Second})
		case faultInTransfer:
			p.faults = append(p.faults, faultRate{k, pick(rng, time.Second, time.Minute)})
		}
	}
}

// drawPlan draws a seed's plan.
func drawPlan(rng *rand.Rand) plan {
	p := plan{
		members: pick(rng, 3, 3, 5), clients: 3 + rng.IntN(5), genesis: rng.IntN(4) == 0,
		faulty: within(rng, 30*time.Second, 80*time.Second),
		tick:   100 * time.Millisecond, election: pick(rng, 10, 10, 10, 6, 4),

		checkpointRevisions: pick[uint64](rng, 5, 10, 25, 60, 200), trailingEntries: pick[uint64](rng, 1, 2, 10, 50),
		chunkBytes: pick(rng, 200, 1000, 4000, 256<<10),
		maxPending: pick(rng, 0, 0, 4, 32), maxWaiting: pick(rng, 0, 0, 4, 32),
		readRetryTicks: pick(rng, 0, 1, 1, 2), patienceTicks: pick(rng, 0, 5, 15),
		messageBytes: pick(rng, 0, 0, 1, 2000), inflightMessages: pick(rng, 0, 0, 1, 3),
		uncommittedBytes: pick(rng, 0, 0, 0, 2000), applyBytes: pick(rng, 0, 0, 1, 2000),
		logBytes: pick(rng, 0, 1, 1, 5000), logChanges: pick(rng, 0, 0, 3, 30),
		transferTicks: pick(rng, 300, 50, 20),
		leases:        leases.Options{Lease: 5 * time.Second, Interval: time.Second},
		network:       drawConditions(rng), disk: drawDiskSpeed(rng),
		jitter: pick(rng, 200*time.Microsecond, 200*time.Microsecond, 5*time.Millisecond),
	}
	p.stallTicks = pick(rng, 2*p.election, 2*p.election, p.election)
	if rng.IntN(3) == 0 {
		p.leases = leases.Options{Lease: 1500 * time.Millisecond, Interval: 400 * time.Millisecond}
	}
	p.compare, p.upgrade = pick(rng, time.Second, 5*time.Second), rng.IntN(5) == 0
	if rng.IntN(3) == 0 {
		p.calm = 15 * time.Second
	}
	p.readBytes, p.segment = pick(rng, 1, 1000, 1<<20), pick[uint64](rng, 3, 10, 40)
	p.signing = audit.Policy{Every: pick[uint64](rng, 0, 5, 30), Within: pick(rng, 0, 4*time.Second, 30*time.Second)}
	p.partBytes, p.retain = pick(rng, 1, 500, 3000), pick(rng, time.Second, 5*time.Second)
	if rng.IntN(3) > 0 {
		p.retention = drawRetention(rng)
	}
	p.faults = drawFaults(rng)
	if rng.IntN(4) == 0 {
		p.leaveMembersBehind(rng)
	}
	return p
}
