// Package endtoend holds tests of the built binary as real processes: kills,
// restarts, and what a user does in the first hour. It has no code of its own.
package endtoend
