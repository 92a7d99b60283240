// Package clienttest runs the service in the process of a test: a real member with its real
// server, on a store in memory and a loopback port, for tests of those who use the client. It
// decides, refuses, streams and forgets as a cluster of one does, and it can be stopped and
// started again with what it had, so that a test sees how its subject gets over that.
//
// A Service belongs to one goroutine; any number of clients may call it. It makes no promise
// about speed, and none about what a disk would lose: its memory is gone with it.
package clienttest
