package simulation

import (
	"math"
	"time"
)

// diskOf returns the disk of a running member; nil if the chosen one does not run.
func (w *world) diskOf() *disk {
	m := w.victim()
	if m == nil {
		return nil
	}
	return m.disk
}

func (w *world) slowDisk() bool {
	d := w.diskOf()
	if d == nil {
		return false
	}
	d.slow = pick(w.rng, 20*time.Millisecond, 100*time.Millisecond, 500*time.Millisecond)
	d.m.log("disk is slow: %v more a write", d.slow)
	w.after(w.outage(), func() { d.slow = 0 })
	return true
}

func (w *world) stallDisk() bool {
	d := w.diskOf()
	if d == nil || d.stalled {
		return false
	}
	for_ := w.outage()
	d.m.log("disk stalls for %v", for_)
	d.stall()
	w.after(for_, d.unstall)
	return true
}

func (w *world) fillDisk() bool {
	d := w.diskOf()
	if d == nil {
		return false
	}
	d.m.log("disk is full")
	d.m.store.SetFree(0)
	w.after(w.outage(), func() { d.m.store.SetFree(math.MaxUint64) })
	return true
}

// breakDisk has the next batch fail: with lost nothing of it is on the disk, else
// nobody knows. The process ends either way.
func (w *world) breakDisk(lost bool) bool {
	d := w.diskOf()
	if d == nil {
		return false
	}
	d.broken, d.lost = faultSync, w.chance(0.5)
	if lost {
		d.broken, d.lost = faultWrite, true
	}
	return false // counted when it happens
}
