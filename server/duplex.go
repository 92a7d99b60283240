package server

import "connectrpc.com/connect"

// duplex are the two directions of a stream, whoever carries it. One goroutine may
// receive while another sends.
type duplex[Q, A any] interface {
	Receive() (*Q, error)
	Send(*A) error
	// finish comes before the handler returns. Where the stream may not be read after
	// that, it makes Receive fail and waits until the reader is gone.
	finish(readerGone func())
}

// connectDuplex is the duplex of a Connect stream.
type connectDuplex[Q, A any] struct {
	*connect.BidiStream[Q, A]
	call *call
}

func (d connectDuplex[Q, A]) finish(readerGone func()) {
	d.call.stopReading()
	readerGone()
}
