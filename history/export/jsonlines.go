package export

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"google.golang.org/protobuf/encoding/protojson"
)

// line is a change as WriteJSON writes it.
type line struct {
	Stream    string            `json:"stream"`
	Revision  uint64            `json:"revision"`
	Time      time.Time         `json:"time"`
	Actor     string            `json:"actor"`
	RequestID string            `json:"requestId"`
	Digest    string            `json:"digest"`
	Events    []json.RawMessage `json:"events"`
	Original  []byte            `json:"original"`
}

// WriteJSON writes everything that the sources hold when it is called, for machines: one
// line of JSON for each change, stream after stream. It has the stream's name, the
// revision, the time, who asked, the request id, the digest of the stream behind the
// change, its events as the contract's JSON has them, and its bytes as logged in base64,
// which is what the digest covers. The same changes give the same bytes. Errors are those
// of [Write].
func WriteJSON(ctx context.Context, to io.Writer, sources []history.Source, progress Progress) error {
	var h Header
	if err := h.describe(ctx, sources); err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(to, BlockBytes)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	for i, s := range h.Streams {
		tell := progress.of(s.Stream)
		_, err := history.Follow(ctx, sources[i], s.Bounds, func(c *events.Change, digest events.Digest) error {
			tell.At(c.Revision(), s.Last)
			return writeLine(lines, c, digest)
		})
		if err != nil {
			return err
		}
	}
	return buffered.Flush()
}

func writeLine(lines *json.Encoder, c *events.Change, digest events.Digest) error {
	l := line{
		Stream: events.StreamName(c.Stream()), Revision: c.Revision(), Time: c.Time(), Actor: c.Actor(), RequestID: c.RequestID(),
		Digest: digest.String(), Original: c.Raw(),
	}
	for _, e := range c.Events() {
		// The spaces that protojson puts in at random are taken out by the encoder.
		text, err := protojson.Marshal(e.Message())
		if err != nil {
			return fmt.Errorf("change %d of the %s stream cannot be written as JSON: %w", c.Revision(), l.Stream, err)
		}
		l.Events = append(l.Events, text)
	}
	return lines.Encode(l)
}
