package feed

import "time"

// Limits and defaults.
const (
	// MaxFrameBytes is the size of a frame of several changes or of a snapshot
	// chunk. A single larger change travels alone.
	MaxFrameBytes = 1 << 20
	// MaxFrameChanges is the number of changes in a frame.
	MaxFrameChanges = 1024
	// MaxScanChanges is how many changes one call of Next looks at.
	MaxScanChanges = 4096
	// recentFrames is how many frames of a stream are kept for further subscribers.
	recentFrames = 16
	// minTurns and turnsPerCPU say how many subscribers run at a time.
	minTurns    = 8
	turnsPerCPU = 4
	// turnPatience is how long a turn lasts while all others wait for theirs as well.
	turnPatience = 5 * time.Millisecond
	// MaxSubscriptions is the number of open subscriptions of a Feed.
	MaxSubscriptions = 10_000
	// FutureGrace is how long a subscription waits for this member to reach the
	// position that the subscriber has seen on another one.
	FutureGrace = 5 * time.Second
	// DefaultBookmarkInterval is the time without a frame after which a bookmark
	// is sent.
	DefaultBookmarkInterval = time.Second
	// MinBookmarkInterval is the shortest interval that can be asked for.
	MinBookmarkInterval = 10 * time.Millisecond
	// MaxBookmarkInterval is the longest interval that can be asked for.
	MaxBookmarkInterval = time.Minute
	// DefaultLogBytes is how much of a stream's recent past a Log holds. Who is further
	// behind reads from History, which is a little slower and costs no memory.
	DefaultLogBytes = 16 << 20
	// DefaultLogChanges is how many changes a Log holds.
	DefaultLogChanges = 65_536
)
