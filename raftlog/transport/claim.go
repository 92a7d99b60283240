package transport

// GroupID names a Raft group.
type GroupID = uint8

// State is what a member claims about its own past.
type State uint8

// The claims.
const (
	Blank   State = iota // no identity has been written
	Genesis              // identity written, nothing after it
	Lived
)
