package events

import metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

// FeatureLevel is the highest feature level that this build knows. A level is
// raised when events gain a kind or a meaning that older builds cannot fold.
const FeatureLevel = 1

// upcaster turns an event as one feature level wrote it into what it means at
// the next. It returns its argument if nothing differs, and never changes it.
type upcaster func(*metadatav1.Event) *metadatav1.Event

// upcasters holds, at index i, the step from level i+1 to i+2. This is the one
// place where old events become new ones: models know today's alone.
var upcasters [FeatureLevel - 1]upcaster

// Upcast returns an event that was written at the given level as today's events
// say it. The bytes in the log stay as they are.
func Upcast(level uint32, e *metadatav1.Event) *metadatav1.Event {
	return upcast(upcasters[:], level, e)
}

func upcast(steps []upcaster, level uint32, e *metadatav1.Event) *metadatav1.Event {
	if level == 0 || int(level) > len(steps) {
		return e
	}
	for _, step := range steps[level-1:] {
		e = step(e)
	}
	return e
}
