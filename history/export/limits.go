package export

import "fmt"

// Limits of a file. A [TooLargeError] names the one that was passed when writing; a file
// that passes one is a damaged one.
const (
	// BlockBytes is how many bytes of changes a block has, unless one change has more.
	BlockBytes = 1 << 20
	// MaxBlockBytes bounds the changes of a block, and so one change: members have none of
	// half that size.
	MaxBlockBytes = 8 << 20
	// MaxStoredBytes bounds a block as stored: what cannot be compressed becomes a little
	// larger.
	MaxStoredBytes = MaxBlockBytes + 64<<10
	// MaxHeaderBytes bounds the header's text.
	MaxHeaderBytes = 64 << 10
	// MaxTrailerBytes bounds the trailer's text.
	MaxTrailerBytes = 4 << 20
	// MaxStreams is the number of streams.
	MaxStreams = 16
	// MaxSignedHeads is how many signed heads of a stream the trailer lists: the newest.
	// Older ones are in the history of the service stream, as far back as that is kept.
	MaxSignedHeads = 1000
)

// TooLargeError says that something does not fit into a file.
type TooLargeError struct {
	What  string // such as "change 7 of the schema stream"
	Limit string // name of the constant
	Max   int
	Got   int
}

// Error names the limit.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("an export cannot hold %s: %d, but %s is %d", e.What, e.Got, e.Limit, e.Max)
}
