package client

import "time"

// patience is how long the client waits for one member before it asks another.
type patience struct {
	// attempt is for an answer to a call. A member may be paused, or behind a
	// broken link. It is longer than a member waits for a leader.
	attempt time.Duration
	// beat is for an answer to a heartbeat, which has to come well within a lease.
	beat time.Duration
	// silence is for the next frame of a subscription, at least: short intervals
	// must not break it over a pause of either side.
	silence time.Duration
	// resume is for the first frame when resuming, at least: a member that is
	// behind the position first waits 5 seconds to reach it.
	resume time.Duration
}

var defaultPatience = patience{
	attempt: 4 * time.Second, beat: time.Second, silence: 3 * time.Second, resume: 8 * time.Second,
}
