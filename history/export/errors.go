package export

import (
	"fmt"

	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Part is a part of a file.
type Part string

// The parts.
const (
	PartHeader  Part = "header"
	PartBase    Part = "base"
	PartBlock   Part = "block"
	PartTrailer Part = "trailer"
)

// DamagedError says what of a file is the first that is damaged.
type DamagedError struct {
	Part   Part
	Offset int64 // of the first byte of the part
	Err    error // what is wrong; of a block: a [*history.DamagedError] with stream and revision
}

// Error says where the damage is and what it is.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("damaged export: %s at byte %d: %v", e.Part, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

func damaged(part Part, offset int64, format string, args ...any) *DamagedError {
	return &DamagedError{part, offset, fmt.Errorf(format, args...)}
}

func damagedBlock(offset int64, stream metadatav1.Stream, revision uint64, format string, args ...any) *DamagedError {
	return &DamagedError{PartBlock, offset, &history.DamagedError{
		Stream: stream, Revision: revision, Reason: fmt.Sprintf(format, args...),
	}}
}
