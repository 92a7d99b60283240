package transport

import "sync/atomic"

// Stats are counters since New, except Inbound, which is a gauge.
type Stats struct {
	Inbound            int    // accepted connections past their handshake, now
	Accepted           uint64 // handshakes completed on accepted connections, probes included
	Dialled            uint64 // connections established to peers, probes excluded
	DialFailures       uint64 // dials or handshakes towards peers that failed
	Refused            uint64 // handshakes that this member refused with a reason
	HandshakeFailures  uint64 // accepted connections that broke off, timed out or sent no valid hello
	HandshakesEvicted  uint64 // half-open handshakes closed to make room (MaxHandshakes)
	BadFrames          uint64 // unknown type, oversized, undecodable or misplaced frames; the connection was closed
	CorruptFrames      uint64 // frames whose checksum did not match; the connection was closed
	ForgedMessages     uint64 // messages whose From or To contradicts the connection; the connection was closed
	MessagesSent       uint64
	MessagesReceived   uint64
	MessagesDropped    uint64 // not connected, queue full, or lost in the queue when the connection broke
	BytesSent          uint64
	BytesReceived      uint64
	Flushes            uint64 // writes to sockets; MessagesSent/Flushes is the batching achieved
	CallsSent          uint64
	CallsFailed        uint64 // UnavailableError and LostError
	CallsServed        uint64
	CallsRefusedAsBusy uint64 // over MaxServing
}

// counters is Stats while it is being counted.
type counters struct {
	inbound                                                 atomic.Int64
	accepted, dialled, dialFailures, refused                atomic.Uint64
	handshakeFailures, handshakesEvicted                    atomic.Uint64
	badFrames, corruptFrames, forgedMessages                atomic.Uint64
	messagesSent, messagesReceived, messagesDropped         atomic.Uint64
	bytesSent, bytesReceived, flushes                       atomic.Uint64
	callsSent, callsFailed, callsServed, callsRefusedAsBusy atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Inbound:            int(c.inbound.Load()),
		Accepted:           c.accepted.Load(),
		Dialled:            c.dialled.Load(),
		DialFailures:       c.dialFailures.Load(),
		Refused:            c.refused.Load(),
		HandshakeFailures:  c.handshakeFailures.Load(),
		HandshakesEvicted:  c.handshakesEvicted.Load(),
		BadFrames:          c.badFrames.Load(),
		CorruptFrames:      c.corruptFrames.Load(),
		ForgedMessages:     c.forgedMessages.Load(),
		MessagesSent:       c.messagesSent.Load(),
		MessagesReceived:   c.messagesReceived.Load(),
		MessagesDropped:    c.messagesDropped.Load(),
		BytesSent:          c.bytesSent.Load(),
		BytesReceived:      c.bytesReceived.Load(),
		Flushes:            c.flushes.Load(),
		CallsSent:          c.callsSent.Load(),
		CallsFailed:        c.callsFailed.Load(),
		CallsServed:        c.callsServed.Load(),
		CallsRefusedAsBusy: c.callsRefusedAsBusy.Load(),
	}
}
