package simulation

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

// disk is a member's storage with the time that it takes. What waits while a batch is
// under way goes into the next one, as in package member: all streams share syncs.
type disk struct {
	m       *member
	pending []*raftlog.Write
	writing []*raftlog.Write // the batch under way
	begun   int              // counts batches, so that a crash voids the one under way

	slow    time.Duration // of every batch, for a while
	stalled bool          // no batch ends
	refuses bool          // the next batch fails, and nothing of it is on the disk
	fault   string        // why the next batch fails
}

// diskSpeed is how long writes take.
type diskSpeed struct {
	sync time.Duration // mean
	tail float64       // part of the batches that takes slowBy times as long
}

func drawDiskSpeed(rng *rand.Rand) diskSpeed {
	return diskSpeed{
		sync: pick(rng, 200*time.Microsecond, time.Millisecond, 5*time.Millisecond, 15*time.Millisecond),
		tail: pick(rng, 0, 0, 0.01, 0.05),
	}
}

// maxUnstored bounds the Writes that wait for a disk: raft's limits on uncommitted and
// unacknowledged entries do, so this is far above what they allow.
const maxUnstored = 20_000

var errWrite = errors.New("simulated: input/output error")

func newDisk(m *member) *disk { return &disk{m: m} }

// store takes a Write of a stream.
func (d *disk) store(w *raftlog.Write) {
	d.pending = append(d.pending, w)
	if len(d.pending) > maxUnstored {
		d.m.w.violate("unbounded queue", "member %d: %d writes wait for the disk", d.m.id, len(d.pending))
	}
	d.begin()
}

// begin starts the next batch if the disk is idle.
func (d *disk) begin() {
	if d.writing != nil || len(d.pending) == 0 || d.stalled || !d.m.alive {
		return
	}
	d.writing, d.pending = d.pending, nil
	d.begun++
	begun := d.begun
	d.m.w.after(d.latency(), func() {
		if d.begun == begun {
			d.finish()
		}
	})
}

func (d *disk) latency() time.Duration {
	w := d.m.w
	speed := w.plan.disk
	if w.quiet {
		speed = diskSpeed{sync: time.Millisecond}
	}
	took := 20*time.Microsecond + around(w.rng, speed.sync)
	if speed.tail > 0 && w.chance(speed.tail) {
		took *= slowBy
	}
	if d.slow > 0 {
		took += around(w.rng, d.slow)
	}
	return took
}

// finish ends the batch under way: it is stored, and the process hears of it.
func (d *disk) finish() {
	m := d.m
	if d.stalled {
		d.begun++
		return // unstall comes back to it
	}
	batch := d.writing
	d.writing = nil
	if err := d.write(batch); err != nil {
		m.w.fault(d.fault)
		m.hear(func() { m.fail(err) })
		return
	}
	m.hear(func() {
		d.report(batch)
		d.begin()
	})
}

// write stores a batch. It fails only where a fault wants that.
func (d *disk) write(batch []*raftlog.Write) error {
	if d.refuses {
		return errWrite
	}
	err := d.m.store.Write(batch)
	switch {
	case err == nil:
		d.m.w.judge.stored(d.m, batch)
	case errors.Is(err, memstore.ErrSync):
		d.fault = faultSync
	case errors.Is(err, raftlog.ErrFull):
		d.fault = faultFull
	default:
		d.m.w.violate("storage", "member %d: %v", d.m.id, err)
	}
	return err
}

// failed ends the process if a file could not be synced.
func (d *disk) failed(err error) bool {
	if !errors.Is(err, memstore.ErrSync) {
		return false
	}
	d.m.w.fault(faultSync)
	d.m.fail(err)
	return true
}

// report tells each stream which of its Writes are stored, in order.
func (d *disk) report(batch []*raftlog.Write) {
	if d.m.run == nil {
		return
	}
	for _, s := range d.m.run.all() {
		var own []*raftlog.Write
		for _, w := range batch {
			if w.Group == s.groupID() {
				own = append(own, w)
			}
		}
		if len(own) > 0 {
			s.wrote(own)
		}
	}
}

// stall has no batch end until unstall.
func (d *disk) stall() { d.stalled = true }

func (d *disk) unstall() {
	if !d.stalled {
		return
	}
	d.stalled = false
	if d.writing != nil {
		d.pending = append(d.writing, d.pending...)
		d.writing = nil
		d.begun++
	}
	d.begin()
}

// low reports whether the storage's reserve is reached.
func (d *disk) low() bool {
	free, _, err := d.m.store.Space()
	return err == nil && free == 0
}

// crash ends what is under way. The batch that was being written is on the disk or not;
// of what was not synced before it, as many of the first Writes as keep says.
func (d *disk) crash(keep int) {
	if d.writing != nil && d.m.w.chance(0.5) {
		if d.m.w.chance(0.5) {
			d.m.w.fault(faultInFloor)
			d.m.store.CrashBeforeFloor(d.m.w.chance(0.5))
		}
		_ = d.write(d.writing) // the process that would hear of it has ended
	}
	d.writing, d.pending = nil, nil
	d.begun++
	d.refuses = false
	d.m.store.Crash(keep)
}

// drain stores what is left.
func (d *disk) drain() error {
	left := slices.Concat(d.writing, d.pending)
	d.writing, d.pending = nil, nil
	d.begun++
	if len(left) == 0 {
		return nil
	}
	err := d.write(left)
	if err != nil {
		d.m.w.fault(d.fault)
	}
	return err
}

// close stores what is left and closes the storage: a clean stop loses nothing.
func (d *disk) close() error {
	if err := d.drain(); err != nil {
		return err
	}
	return d.m.store.Close()
}
