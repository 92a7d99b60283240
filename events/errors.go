package events

import "fmt"

// UnsupportedError says that a change or batch was made by a newer build. The
// member that meets it has to stop and be updated: it must not guess.
type UnsupportedError struct {
	What string // such as "event kind 77"
}

// Error says what is not known and what to do.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s is not known to this build (feature level %d): update it", e.What, FeatureLevel)
}

// CorruptError says that bytes are not what they should be.
type CorruptError struct {
	What   string // such as "change"
	Reason string
}

// Error says what is wrong.
func (e *CorruptError) Error() string { return "damaged " + e.What + ": " + e.Reason }

func corrupt(what, format string, args ...any) *CorruptError {
	return &CorruptError{What: what, Reason: fmt.Sprintf(format, args...)}
}
