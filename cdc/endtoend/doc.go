// Package endtoend holds tests of the built programs as real processes: a service, the
// program that carries its changes, and kill -9 at any moment. It has no code of its own.
package endtoend
