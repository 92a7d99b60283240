package fold

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/heliosdb/metadata/events"
	"google.golang.org/protobuf/encoding/protowire"
)

// Draft is a model under change. It belongs to one goroutine.
type Draft[D any] interface {
	// Apply folds one event of the change with this revision. It panics with an
	// [*Error] if the event does not fit; the draft is of no use after that.
	Apply(e events.Event, revision uint64)
	// View returns the model as it is. It changes with Apply.
	View() D
	// Freeze returns what the draft holds as a model of its own. The draft can be
	// used on.
	Freeze() D
}

// Restorer builds a model from the records that its Export yielded. It belongs
// to one goroutine.
type Restorer[D any] interface {
	// Restore takes the next record. It keeps nothing of it.
	Restore(record []byte) error
	// Done returns the model once all records were taken.
	Done() (D, error)
}

// SplitRecord returns what a checkpoint's record holds: a number or bytes.
func SplitRecord(record []byte) (num protowire.Number, number uint64, value []byte, err error) {
	num, typ, n := protowire.ConsumeTag(record)
	if n < 0 {
		return 0, 0, nil, errors.New("a checkpoint's record has no tag")
	}
	m := -1
	switch typ {
	case protowire.VarintType:
		number, m = protowire.ConsumeVarint(record[n:])
	case protowire.BytesType:
		value, m = protowire.ConsumeBytes(record[n:])
	}
	if m < 0 || n+m != len(record) {
		return 0, 0, nil, fmt.Errorf("a checkpoint's record %d of %d bytes is damaged", num, len(record))
	}
	return num, number, value, nil
}

// View returns b as a string without copying, for look-ups that keep nothing.
func View(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
