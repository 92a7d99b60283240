// Package linesink is the sink that writes records to a stream of bytes, such as standard
// output, one JSON line each. Whoever reads it has them when it has read them: a reader
// that ends loses what it has not.
package linesink

import (
	"bytes"
	"context"
	"io"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

// Sink writes to a stream.
type Sink struct{ to io.Writer }

// New returns a sink that writes to a stream.
func New(to io.Writer) Sink { return Sink{to} }

// Send implements [sink.Sink]. An error breaks the sink: nobody knows what was read.
func (s Sink) Send(_ context.Context, records []record.Record) (int, error) {
	var text bytes.Buffer
	for _, r := range records {
		text.Write(r.JSON)
		text.WriteByte('\n')
	}
	if _, err := s.to.Write(text.Bytes()); err != nil {
		return 0, &sink.BrokenError{Err: err}
	}
	return len(records), nil
}

// Close implements [sink.Sink]. The stream stays open.
func (Sink) Close() error { return nil }
