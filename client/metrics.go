package client

import (
	"sync/atomic"
	"unsafe"
)

// metrics counts what a Client, its Caches, Sessions and consumers do.
type metrics struct {
	hits, misses         stripes
	reconnects, attempts atomic.Uint64
	retries, hedges      atomic.Uint64
	lost                 atomic.Uint64
	handled, unacked     atomic.Uint64
	consumers            atomic.Int64
	latency              *latency
}

// stripes is a counter for what takes less time than two processors do to pass a counter
// to and fro: each goroutine has one of several, as a rule.
type stripes [16]struct {
	atomic.Uint64
	_ [120]byte // apart in the processors' caches, of which some fetch lines in pairs
}

// add counts one.
func (s *stripes) add() {
	// Goroutines have stacks of their own, in pieces of 2 KiB at least.
	var here byte
	s[uintptr(unsafe.Pointer(&here))>>11%uintptr(len(s))].Add(1)
}

// Load returns the sum.
func (s *stripes) Load() (sum uint64) {
	for i := range s {
		sum += s[i].Uint64.Load()
	}
	return sum
}

// Stats are counters since the client was made.
type Stats struct {
	CacheHits         uint64 // reads answered from a cache
	CacheMisses       uint64 // reads that found no object in a cache
	Reconnects        uint64 // subscriptions that broke and were resumed
	ReconnectAttempts uint64 // attempts at a subscription that broke, or failed to begin
	Retries           uint64 // attempts of calls beyond the first
	Hedges            uint64 // reads that were made at a second endpoint besides
	LeasesLost        uint64 // leases of nodes that ended, or were given up
	ChangesHandled    uint64 // changes that consumers have carried out
	AcksFailed        uint64 // positions of consumers that were not acknowledged when they should have been
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	m := &c.metrics
	return Stats{
		CacheHits: m.hits.Load(), CacheMisses: m.misses.Load(),
		Reconnects: m.reconnects.Load(), ReconnectAttempts: m.attempts.Load(),
		Retries: m.retries.Load(), Hedges: m.hedges.Load(), LeasesLost: m.lost.Load(),
		ChangesHandled: m.handled.Load(), AcksFailed: m.unacked.Load(),
	}
}
