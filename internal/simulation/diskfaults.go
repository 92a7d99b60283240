package simulation

import (
	"math"
	"time"
)

// diskOf returns the disk of a running member; nil if the chosen one does not run.
func (w *world) diskOf() *disk {
	m := w.patientOr(w.victim)
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

// fillToTheLastByte takes the reserve too: the next write ends the process, and it does
// not come back before there is room.
func (w *world) fillToTheLastByte() bool {
	d := w.diskOf()
	if d == nil {
		return false
	}
	d.m.log("disk is full to the last byte")
	d.m.store.SetFull(true)
	w.after(w.outage(), func() { d.m.store.SetFull(false) })
	return false // counted when a write meets it
}

// failWrite has the next batch fail, with nothing of it on the disk.
func (w *world) failWrite() bool {
	if d := w.diskOf(); d != nil {
		d.refuses, d.fault = true, faultWrite
	}
	return false
}

// failSync has the next sync fail: what was written since the last one is on the disk
// or not.
func (w *world) failSync() bool {
	if d := w.diskOf(); d != nil {
		d.m.store.FailNextSync()
	}
	return false
}
