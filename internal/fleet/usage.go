package fleet

import "time"

// Usage is what the system knows of a process.
type Usage struct {
	CPU           time.Duration // user and system, all threads
	Resident      int64         // bytes in memory
	Anonymous     int64         // of them, those that are no file's
	WrittenToDisk int64         // bytes that it caused to be written, since it began
}
