// Package jetstream is the sink that publishes records to NATS JetStream, one message for
// each change, on the subject PREFIX.STREAM.KIND, such as heliosdb.schema.tableCreated.
// The record is the message, and its id is in the header Nats-Msg-Id: within the JetStream
// stream's window of duplicates the server drops what comes again.
//
// Messages are published one by one, each when the server has said that it has the one
// before: that is what keeps them in order when connections break and leaders change.
//
// A Sink belongs to one goroutine.
package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

const (
	// DefaultPrefix is before the stream and kind in subjects.
	DefaultPrefix = "heliosdb"
	// DefaultTimeout is how long the server may take to say that it has a message.
	DefaultTimeout = 5 * time.Second
	// duplicateWindow is that of streams that are created: for as long, a consumer that
	// begins again makes no duplicates.
	duplicateWindow = 10 * time.Minute
	// connectTimeout bounds an attempt to connect, reconnectPause is before the next one.
	connectTimeout = 3 * time.Second
	reconnectPause = time.Second
	// maxReplicas is how many replicas JetStream knows.
	maxReplicas = 5
)

// Options configure a Sink.
type Options struct {
	// URL is nats://HOST:PORT or tls://HOST:PORT, several with commas in between. It may
	// have a user and password, or a token.
	URL string
	// Prefix is before the stream and kind in subjects; empty: DefaultPrefix.
	Prefix string
	// Stream is the JetStream stream that has to take the messages; empty: the one that
	// listens to the subjects.
	Stream string
	// Create has Stream created if there is none, listening to all subjects of Prefix, with
	// so many Replicas; 0: one.
	Create   bool
	Replicas int
	// Credentials is a file of credentials (JWT and seed); empty: none.
	Credentials string
	// Timeout is how long the server may take to say that it has a message; 0:
	// DefaultTimeout.
	Timeout time.Duration
	// Log is told when the servers cannot be reached, and when they can be again; nil: nobody is.
	Log *slog.Logger

	pause time.Duration // before connecting again; 0: reconnectPause
}

// Sink publishes to JetStream.
type Sink struct {
	options Options
	conn    *nats.Conn
	stream  jetstream.JetStream
	trouble *trouble
	ready   bool // the stream is there, as far as it was asked for
}

// New returns a sink. It connects in the background, again and again.
func New(o Options) (*Sink, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	switch {
	case o.Timeout < 0:
		return nil, sink.Usage("nats: a timeout of %v; use one above 0", o.Timeout)
	case strings.ContainsAny(o.Prefix, " \t\r\n*>") || strings.HasPrefix(o.Prefix, ".") || strings.HasSuffix(o.Prefix, ".") || strings.Contains(o.Prefix, ".."):
		return nil, sink.Usage("nats: %q cannot begin a subject; write words with dots in between", o.Prefix)
	case o.Replicas < 0 || o.Replicas > maxReplicas:
		return nil, sink.Usage("nats: a stream with %d replicas; use 1 to %d", o.Replicas, maxReplicas)
	case o.Replicas > 0 && !o.Create:
		return nil, sink.Usage("nats: %d replicas are for a stream that is created; one that exists keeps its own", o.Replicas)
	case o.Create && o.Stream == "":
		return nil, sink.Usage("nats: a stream is to be created and has no name")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	last := &trouble{log: o.Log}
	settings := []nats.Option{
		nats.Name("heliosmeta-cdc"), nats.Timeout(connectTimeout),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(cmp.Or(o.pause, reconnectPause)),
		nats.ReconnectBufSize(-1),   // what cannot be sent now fails now: it is for the courier to try again
		nats.IgnoreAuthErrorAbort(), // credentials can be mended while it goes on
		nats.DisconnectErrHandler(last.lost), nats.ReconnectErrHandler(last.lost),
		nats.ConnectHandler(last.found), nats.ReconnectHandler(last.found),
		nats.ErrorHandler(func(c *nats.Conn, _ *nats.Subscription, err error) { last.note(c, err) }),
	}
	if o.Credentials != "" {
		settings = append(settings, nats.UserCredentials(o.Credentials))
	}
	conn, err := nats.Connect(o.URL, settings...)
	if parse, ok := errors.AsType[*url.Error](err); ok {
		return nil, sink.Usage("nats: the address cannot be parsed: %w", parse.Err) // without the address, which may have a password
	}
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	stream, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("nats: %w", err)
	}
	return &Sink{options: o, conn: conn, stream: stream, trouble: last}, nil
}

// Send implements [sink.Sink].
func (s *Sink) Send(ctx context.Context, records []record.Record) (int, error) {
	if err := s.connected(); err != nil {
		return 0, err
	}
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	for i, r := range records {
		if err := s.publish(ctx, r); err != nil {
			return i, err
		}
	}
	return len(records), nil
}

// connected returns why there is no connection; nil: there is one.
func (s *Sink) connected() error {
	switch {
	case s.conn.IsConnected():
		return nil
	case s.conn.IsClosed():
		return &sink.BrokenError{Err: fmt.Errorf("nats: %w", nats.ErrConnectionClosed)} // it is not opened again
	}
	return fmt.Errorf("nats: not connected: %w", cmp.Or(s.conn.LastError(), s.trouble.said(), nats.ErrNoServers))
}

// explain returns why an attempt failed, of which the server speaks apart from it.
func (s *Sink) explain(err error) error {
	if lost := s.connected(); lost != nil {
		return lost
	}
	if said := s.trouble.said(); said != nil {
		return fmt.Errorf("nats: %w; the server says: %w", err, said)
	}
	return fmt.Errorf("nats: %w", err)
}

// prepare has the stream created if that was asked for.
func (s *Sink) prepare(ctx context.Context) error {
	if s.ready || !s.options.Create {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	_, err := s.stream.Stream(ctx, s.options.Stream) // one that exists stays as it is
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = s.stream.CreateStream(ctx, jetstream.StreamConfig{
			Name: s.options.Stream, Description: "Changes of HeliosDB metadata",
			Subjects: []string{s.options.Prefix + ".>"}, Duplicates: duplicateWindow,
			Replicas: max(1, s.options.Replicas),
		})
	}
	if err != nil {
		return s.explain(fmt.Errorf("stream %q: %w", s.options.Stream, err))
	}
	s.ready = true
	return nil
}

func (s *Sink) publish(ctx context.Context, r record.Record) error {
	s.trouble.note(nil, nil)
	within, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	options := []jetstream.PublishOpt{jetstream.WithMsgID(r.ID)}
	if s.options.Stream != "" {
		options = append(options, jetstream.WithExpectStream(s.options.Stream))
	}
	_, err := s.stream.PublishMsg(within, &nats.Msg{Subject: s.subject(r), Data: r.JSON}, options...)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload), isTooLarge(err):
		return &sink.RejectedError{Records: 1, Reason: fmt.Sprintf("nats: a message of %d bytes: %v", len(r.JSON), err)}
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("nats: no JetStream stream takes the subject %s: %w", s.subject(r), err)
	}
	return s.explain(err)
}

func (s *Sink) subject(r record.Record) string {
	return s.options.Prefix + "." + r.Stream + "." + r.Kind
}

// isTooLarge reports whether a message is larger than its stream takes.
func isTooLarge(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum
}

// Close implements [sink.Sink].
func (s *Sink) Close() error {
	s.conn.Close()
	return nil
}
