package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/config"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/moment"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/progress"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/heapgoal"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

const aboutHistory = `Read what was: who changed what and when, how things were, and whether all of it is true.

  heliosmeta history log table/shop.orders    what happened to a table, field by field
  heliosmeta history diff 3d now              what is different from three days ago
  heliosmeta history as-of table shop.orders --at 2026-03-04T12:00:00Z
  heliosmeta history verify                   the digest chain from its first change to its last

Each of them reads from the running service (--endpoints), from the directory of a stopped
member (--data DIR) or from a file that history export has written (--file FILE). Neither
the directory nor the file is changed, and both are named on the command line only: in the
environment, HELIOSMETA_DATA is the directory that serve uses.

Revisions count in each stream by itself: schema (namespaces, tables), topology (nodes,
shards) and service (consumers, signed heads, where histories begin).`

// pastFlags say where the past is read.
type pastFlags struct{ data, file string }

func (s *session) historyCommand() *cobra.Command {
	f := new(pastFlags)
	c := noun("history", "What was: log, differences, blame, replay, audit and export",
		s.historyLogCommand(f), s.historyShowCommand(f), s.historyDiffCommand(f), s.historyBlameCommand(f), s.historyAsOfCommand(f),
		s.historyReplayCommand(f), s.historyRehearseCommand(f), s.historyVerifyCommand(f),
		s.historyExportCommand(f), s.historyImportCommand())
	c.Long = aboutHistory
	flags := c.PersistentFlags()
	flags.StringVar(&f.data, "data", "", "read the directory of a stopped member, or one that history import has made")
	flags.StringVar(&f.file, "file", "", "read a file that history export has written")
	c.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return s.fillPast(cmd) }
	return c
}

// fillPast adds the environment to the flags, but for what it says to others: HELIOSMETA_DATA
// is the directory of a member, for serve, and HELIOSMETA_ACTOR is who asks, not who is asked
// about. What is read changes by the command line only.
func (s *session) fillPast(cmd *cobra.Command) error {
	others := []string{config.EnvName("data"), config.EnvName("file")}
	if cmd.Name() == "log" {
		others = append(others, config.EnvName("actor"))
	}
	return config.Fill(cmd.Flags(), config.Source{LookupEnv: func(name string) (string, bool) {
		if slices.Contains(others, name) {
			return "", false
		}
		return s.lookupEnv(name)
	}})
}

// openPast opens what the flags name.
func (s *session) openPast(f *pastFlags) (past.Past, error) {
	switch {
	case f.data != "" && f.file != "":
		return nil, usage("--data %s and --file %s exclude each other", f.data, f.file)
	case f.file != "":
		return past.OpenFile(f.file)
	case f.data == "":
		read, err := s.readOptions()
		if err != nil {
			return nil, err
		}
		return past.Connect(s.endpoints, s.connectTo, read)
	}
	p, err := past.OpenData(f.data)
	if inUse, ok := errors.AsType[*raftlog.InUseError](err); ok {
		s.sayError(fmt.Errorf("data directory %s is in use by another process: stop the member, or ask it (--endpoints)", inUse.Path))
		return nil, &toldError{exitUnavailable}
	}
	return p, err
}

// withPast opens the past, and closes it when a command is done with it.
func (s *session) withPast(f *pastFlags, do func(past.Past) error) error {
	p, err := s.openPast(f)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	heapgoal.Keep(ctx) // what is read becomes garbage at once
	p.Watch(tell(s.bar()))
	defer s.clearBar()
	return errors.Join(do(p), p.Close())
}

// connectTo is connect for other endpoints.
func (s *session) connectTo(endpoints []string) (*client.Client, error) {
	other := *s
	other.endpoints = endpoints
	return other.connect()
}

// bar shows how far long work is, where people look. It is taken away before anything else is
// printed.
func (s *session) bar() *progress.Bar {
	if s.progress != nil {
		return s.progress
	}
	terminal := false
	if f, ok := s.err.(*os.File); ok {
		info, err := f.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	s.progress = progress.New(s.err, terminal, time.Now)
	return s.progress
}

// tell shows progress of streams on a bar.
func tell(b *progress.Bar) func(stream metadatav1.Stream, done, last uint64) {
	return func(stream metadatav1.Stream, done, last uint64) { b.Tell(events.StreamName(stream), done, last) }
}

// addStreamFlag adds --stream to a command.
func addStreamFlag(c *cobra.Command, names *[]string, about string) {
	c.Flags().StringSliceVar(names, "stream", nil, about)
	_ = c.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions(streamNames(), noFiles))
}

func streamNames() []string {
	var names []string
	for _, s := range past.Streams {
		names = append(names, events.StreamName(s))
	}
	return names
}

// parseStreams reads names of streams, each once, in their usual order; of none, the given
// ones.
func parseStreams(names []string, none ...metadatav1.Stream) ([]metadatav1.Stream, error) {
	for _, name := range names {
		if !slices.Contains(streamNames(), name) {
			return nil, usage("there is no stream %q; there are %s", name, strings.Join(streamNames(), ", "))
		}
	}
	if len(names) == 0 {
		return none, nil
	}
	return slices.DeleteFunc(slices.Clone(past.Streams), func(s metadatav1.Stream) bool {
		return !slices.Contains(names, events.StreamName(s))
	}), nil
}

// parsePoint reads a revision or a time; of nothing, nil, which is now.
func parsePoint(what, text string) (*metadatav1.HistoryPoint, error) {
	if text == "" || text == "now" {
		return nil, nil
	}
	p, err := moment.Point(text, time.Now())
	if err != nil {
		return nil, usage("%s %v", what, err)
	}
	return p, nil
}

// isRevision reports whether a point is one in a single stream.
func isRevision(p *metadatav1.HistoryPoint) bool {
	_, ok := p.GetPoint().(*metadatav1.HistoryPoint_Revision)
	return ok
}

// pointStreams returns the streams that a command is about: those that were named; or else,
// as a revision is one of a single stream, the schema, and for times both of the data.
func pointStreams(names []string, points ...*metadatav1.HistoryPoint) ([]metadatav1.Stream, error) {
	if slices.ContainsFunc(points, isRevision) {
		streams, err := parseStreams(names, metadatav1.Stream_STREAM_SCHEMA)
		if err == nil && len(streams) > 1 {
			err = usage("a revision is one of a single stream: name one with --stream, or a time")
		}
		return streams, err
	}
	return parseStreams(names, metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY)
}

// onStreams does something for each stream in turn.
func onStreams(ctx context.Context, streams []metadatav1.Stream, do func(metadatav1.Stream) error) error {
	for _, stream := range streams {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(stream); err != nil {
			return err
		}
	}
	return nil
}
