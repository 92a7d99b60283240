// Package clienttest runs the service in the process of a test: real members with their real
// servers, on stores in memory and loopback ports, for tests of those who use the client. They
// decide, refuse, elect, stream and forget as any cluster does, ten times as fast where they wait for
// one another.
//
// A Service is a cluster of one, or of Options.Members. It, or one Member of it, can be stopped as
// an operator does, killed as by a power cut, and started again, so that a test sees how its subject
// gets over that. Service.Leader says whose end hurts.
//
// A Service and its Members belong to one goroutine; any number of clients may call them. There is no
// promise about speed, and none that is broken by the end of the process: all is in its memory.
package clienttest
