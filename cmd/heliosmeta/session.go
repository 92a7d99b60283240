package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/progress"
	"github.com/heliosdb/metadata/internal/positiontext"
	"github.com/heliosdb/metadata/internal/tlsfiles"
	"github.com/heliosdb/metadata/internal/tokenfile"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// session is one run of the program: its streams, and what the global flags said.
type session struct {
	in        io.Reader
	out, err  io.Writer
	lookupEnv func(string) (string, bool)
	started   bool // a command runs; errors before are errors of usage

	endpoints      []string
	format         output.Format
	timeout        time.Duration
	cluster        string // id; empty: whichever answers
	actor          string
	tls            tlsfiles.Files
	token          tokenfile.File
	consistency    string
	writing        writeFlags
	completionTime time.Duration

	progress *progress.Bar // nil: there is none
}

func newSession(in io.Reader, out, err io.Writer, lookupEnv func(string) (string, bool)) *session {
	return &session{in: in, out: out, err: err, lookupEnv: lookupEnv, format: output.Table, completionTime: time.Second}
}

func (s *session) printer() output.Printer {
	s.clearBar()
	return output.Printer{To: s.out, Format: s.format}
}

func (s *session) clearBar() {
	if s.progress != nil {
		s.progress.Clear()
	}
}

// say tells people what happens; programs do not read it.
func (s *session) say(format string, args ...any) {
	s.clearBar()
	_, _ = fmt.Fprintln(s.err, output.Plain(fmt.Sprintf(format, args...)))
}

// forPrograms prints a value for programs, where people are told otherwise.
func (s *session) forPrograms(value any) error {
	if s.format == output.Table {
		return nil
	}
	return s.printer().Value(value, nil)
}

// connect returns a client. It is the caller's to close.
func (s *session) connect() (*client.Client, error) {
	config, err := s.tls.Load(s.endpoints)
	if err != nil {
		return nil, err
	}
	if err := s.token.Check(); err != nil {
		return nil, err
	}
	history := time.Duration(0) // as long as it takes
	if s.timeout != client.DefaultTimeout {
		history = s.timeout
	}
	return client.New(client.Options{
		Endpoints: s.endpoints, InOrder: true, Timeout: s.timeout, HistoryTimeout: history, ClusterID: s.cluster, TLS: config, Actor: s.actor,
		Token: s.token.Token(), Logger: slog.New(&patience{session: s}),
	})
}

// call connects, calls and closes.
func call[Res any](
	ctx context.Context, s *session, f func(context.Context, *client.Client) (Res, error),
) (Res, error) {
	c, err := s.connect()
	if err != nil {
		var none Res
		return none, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return f(ctx, c)
}

// readOptions are what --consistency says.
func (s *session) readOptions() (*metadatav1.ReadOptions, error) {
	switch level, position, _ := strings.Cut(s.consistency, "="); level {
	case "linearizable":
		return nil, nil
	case "local":
		return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}, nil
	case "at-least":
		at, err := parsePosition(position)
		if err != nil {
			return nil, usage("--consistency %q: %v", s.consistency, err)
		}
		return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: at}, nil
	}
	return nil, usage("--consistency %q: write linearizable, local or at-least=SCHEMA:TOPOLOGY", s.consistency)
}

// parsePosition reads revisions as they are printed, such as 12:4.
func parsePosition(text string) (*metadatav1.Position, error) { return positiontext.Parse(text) }

func showPosition(p *metadatav1.Position) string { return positiontext.Format(p) }

// patience tells people once that the service does not answer yet.
type patience struct {
	session *session
	told    bool
}

// Enabled implements slog.Handler.
func (p *patience) Enabled(context.Context, slog.Level) bool { return !p.told }

// Handle implements slog.Handler.
func (p *patience) Handle(_ context.Context, r slog.Record) error {
	if p.told || r.Level >= slog.LevelWarn { // a warning is of what the command ends with
		return nil
	}
	var failed error
	var endpoint string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "error":
			failed, _ = a.Value.Any().(error)
		case "endpoint":
			endpoint = a.Value.String()
		}
		return true
	})
	if failed == nil {
		return nil // not why a call is tried again
	}
	p.told = true
	p.session.say("%s does not answer yet, trying again: %s", cmp.Or(endpoint, "the service"), reason(failed))
	return nil
}

// reason is why an attempt has failed, never empty.
func reason(err error) string {
	e, ok := errors.AsType[*connect.Error](err)
	switch {
	case !ok:
		return err.Error()
	case e.Code() == connect.CodeDeadlineExceeded && len(e.Details()) == 0: // the service gives details
		return "no answer in time"
	}
	return cmp.Or(e.Message(), e.Code().String())
}

// WithAttrs implements slog.Handler; the client adds none.
func (p *patience) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup implements slog.Handler; the client adds none.
func (p *patience) WithGroup(string) slog.Handler { return p }
