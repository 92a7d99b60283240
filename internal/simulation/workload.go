package simulation

// workload is what the clients of a run do. It lives in the run's goroutine and acts
// by world.call, world.subscribe and world.after; its random choices come from
// world.rng. newWorkload makes the one of a run.
type workload interface {
	// start is called once, at time 0.
	start()
	// settle is called when faults are over: no new operations begin; those under way
	// are tried until they are answered.
	settle()
	// settled reports that all operations have ended and every subscription has seen
	// what was committed. Without it no run comes to rest.
	settled() (yes bool, why string)
	// check judges what was recorded; it is called once, when the run has come to rest.
	// It reports what is wrong by world.violate.
	check()
}
