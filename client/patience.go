package client

import "time"

// patience is how long the client waits for one member before it asks another.
type patience struct {
	// attempt is for an answer to a call, at first: about as long as the members
	// take to replace a leader that is paused or cut off. The call goes on at another
	// member then; a write keeps its request id, so the first attempt may go on too.
	attempt time.Duration
	// longest is for an answer in the end, when it turns out that all members are slow,
	// and where there is no other member to ask. Both are not for calls that a member may work
	// long on, see long.go.
	longest time.Duration
	// beat is for an answer to a heartbeat, which has to come well within a lease.
	beat time.Duration
	// silence is for the next frame of a subscription, at least: short intervals
	// must not break it over a pause of either side.
	silence time.Duration
	// resume is for the first frame when resuming, at least: a member that is
	// behind the position first waits 5 seconds to reach it.
	resume time.Duration
	// future is how long the members may say that they have not come to a consumer's
	// position: one that was away may take a while, and nobody else may be there.
	future time.Duration
}

var defaultPatience = patience{
	attempt: time.Second, longest: 4 * time.Second, beat: time.Second, silence: 3 * time.Second, resume: 8 * time.Second,
	future: time.Minute,
}
