// Package pebblestore keeps the logs, histories and checkpoints of a member on disk:
// a Pebble store for all groups, a floor file beside it, and a file per checkpoint.
//
//	<dir>/LOCK            held while the directory is open
//	<dir>/db/             Pebble
//	<dir>/FLOOR           what the member has promised (floor.go)
//	<dir>/checkpoints/    <group>-<index>.checkpoint (raftlog.FileEncoder), current and
//	                      archived ones; *.tmp are unfinished, or being deleted
//	<dir>/QUARANTINE      there while the directory is condemned (mark.go)
//	<dir>/damaged/        what the last rebuild has set aside
//	<dir>/RESERVE         takes room that is given back when the disk is full (space.go)
//
// Keys are the group (one byte, 0 for the member), a letter and, where there are
// many, an index of eight bytes, big endian, and in marks a tag like it behind the segment;
// keys.go has the values. Entries before the start of a log are there for history, whose records
// name them. Which sequences of history there are is known without reading it: its ends stand in the records,
// its holes in a record of their own; what is damaged is known from when a read has found it. All goes through Pebble's one log: of what is not synced, be it history, fills,
// trims or marks, a crash loses the last first. Each value has a CRC-32C over its key and its content, because Pebble's own checksums do not see
// everything: it drops the end of a log whose tail was lost without a word. Against
// that stands the floor: term and vote are synced there before Write returns, the
// last durable index follows within FloorInterval and at Close. Load compares.
//
// Write takes one goroutine at a time, everything else any number. The only goroutine
// of its own writes the floor, and ends with Close. A failed sync ends the process,
// see Options.Fatal: what the kernel did with the data is unknown from then on. A full
// disk does so only when the reserve is used up too: Space says 0 long before, and
// checkpoint files, fills of history and marks are refused from then on.
//
// Open reads the logs, the floor, the entries of the logs, and the heads and ends of checkpoints before
// it changes a byte, so a directory that it refuses for one of them stays as it was found.
// What it does not read, the chunks of checkpoints and what is there for history alone,
// may be damaged too: whoever reads that later finds it, when Pebble has already moved its
// log into a table. Nothing that could be read is lost by that. It refuses a directory in use,
// of another format, damaged, or shorter than its floor. Of the floor it repairs a bad slot from
// the other one, and nothing else: a directory is condemned and rebuilt from other members, or an
// operator decides. Archived checkpoints are no reason to refuse one: those that cannot be read
// are deleted.
package pebblestore
