package consume

import (
	"fmt"
	"time"
)

// Defaults and limits.
const (
	// DefaultBatchChanges is how many changes a batch has at most.
	DefaultBatchChanges = 256
	// MaxBatchChanges bounds Options.BatchChanges.
	MaxBatchChanges = 10_000
	// DefaultBatchBytes is how many bytes of changes a batch has at most, as they are encoded,
	// unless it has a single change. As many wait besides.
	DefaultBatchBytes = 4 << 20
	// DefaultAckChanges is after how many changes they are acknowledged at once.
	DefaultAckChanges = 1000
	// DefaultAckInterval is for how long what was carried out stays unacknowledged.
	DefaultAckInterval = time.Second
	// MinAckInterval is the shortest time between acknowledgements because of time, each
	// of which is a write of the service.
	MinAckInterval = 10 * time.Millisecond
	// checkIntervals is after how many AckIntervals a position is acknowledged again that has
	// not moved, to learn whether another process has the consumer.
	checkIntervals = 5
)

// Options configure a Machine. 0 means the default.
type Options struct {
	// BatchChanges and BatchBytes are how many changes a batch has at most, and how many bytes
	// of them unless it has a single one.
	BatchChanges, BatchBytes int
	// AckChanges and AckInterval say when to acknowledge: when so many changes have been
	// carried out, or so long after the first of them. What was sent about changes that the
	// filter leaves out is acknowledged after AckInterval too, and a position that does not
	// move again and again, each five of them after the last answer.
	AckChanges  int
	AckInterval time.Duration
}

// check returns o with the defaults filled in.
func (o Options) check() (Options, error) {
	if o.BatchChanges == 0 {
		o.BatchChanges = DefaultBatchChanges
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	if o.AckChanges == 0 {
		o.AckChanges = DefaultAckChanges
	}
	if o.AckInterval == 0 {
		o.AckInterval = DefaultAckInterval
	}
	switch {
	case o.BatchChanges < 1 || o.BatchChanges > MaxBatchChanges:
		return o, fmt.Errorf("consume: batches of %d changes; use 1 to %d", o.BatchChanges, MaxBatchChanges)
	case o.BatchBytes < 1:
		return o, fmt.Errorf("consume: batches of %d bytes; use at least 1", o.BatchBytes)
	case o.AckChanges < 1:
		return o, fmt.Errorf("consume: an acknowledgement after %d changes; use at least 1", o.AckChanges)
	case o.AckInterval < MinAckInterval:
		return o, fmt.Errorf("consume: an acknowledgement after %v; use at least %v", o.AckInterval, MinAckInterval)
	}
	return o, nil
}
