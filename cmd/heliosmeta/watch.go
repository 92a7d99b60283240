package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/internal/filterflags"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// watchFlags are what `watch` is told.
type watchFlags struct {
	snapshot, failOnGap, bookmarks bool
	after                          string
	limit                          int
	interval                       uint32
	filter                         filterflags.Flags
}

func (s *session) watchCommand() *cobra.Command {
	var f watchFlags
	c := &cobra.Command{
		Use: "watch", Short: "Print changes as they commit, a line for each event",
		Long: `Print changes as they commit, a line for each event.

It begins with the next change, with everything there is (--snapshot), or right behind
a position (--after 12:4; 0:0 is the beginning of the history). It goes on when a
member stops: each change comes once and in order. With -o json each frame is one line.
It ends with Ctrl-C, or after --limit lines.`,
		Example: `  heliosmeta watch --snapshot --stream schema
  heliosmeta watch --node storage-1 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := f.request()
			if err != nil {
				return err
			}
			return s.watch(cmd.Context(), req, &f)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&f.snapshot, "snapshot", false, "begin with everything there is")
	flags.StringVar(&f.after, "after", "", "begin right behind this position, SCHEMA:TOPOLOGY")
	flags.BoolVar(&f.failOnGap, "fail-on-gap", false, "end with an error where history is missing, instead of beginning anew with a snapshot")
	flags.BoolVar(&f.bookmarks, "bookmarks", false, "print bookmarks too: nothing is missing up to here")
	flags.IntVar(&f.limit, "limit", 0, "end after so many lines; 0: never")
	flags.Uint32Var(&f.interval, "bookmark-interval-millis", 0, "time between bookmarks when nothing happens; 0: the service's default")
	f.filter.AddTo(c)
	return c
}

// request is what the flags ask for.
func (f *watchFlags) request() (*metadatav1.SubscribeRequest, error) {
	filter, err := f.filter.Filter()
	if err != nil {
		return nil, usage("%v", err)
	}
	req := &metadatav1.SubscribeRequest{Filter: filter, FailOnGap: f.failOnGap, BookmarkIntervalMillis: f.interval}
	switch {
	case f.snapshot && f.after != "":
		return nil, usage("--snapshot and --after exclude each other")
	case f.snapshot:
		req.Start = &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}
	case f.after != "":
		after, err := parsePosition(f.after)
		if err != nil {
			return nil, usage("--after: %v", err)
		}
		req.Start = &metadatav1.SubscribeRequest_After{After: after}
	default:
		req.Start = &metadatav1.SubscribeRequest_Latest{Latest: true}
	}
	return req, nil
}

// watch prints frames until the context ends or enough was printed.
func (s *session) watch(ctx context.Context, req *metadatav1.SubscribeRequest, f *watchFlags) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	w := &watcher{session: s, flags: f}
	for frame, err := range c.Watch(ctx, req) {
		if ctx.Err() != nil {
			return nil // Ctrl-C is how one stops watching
		}
		if err != nil {
			return err
		}
		if err := w.frame(frame); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	return nil
}

// errEnough ends a watch that has printed what it was asked for.
var errEnough = errors.New("enough")

// watcher prints frames.
type watcher struct {
	session *session
	flags   *watchFlags
	lines   int
	begun   bool // people were told where it begins
}

func (w *watcher) frame(frame *metadatav1.SubscribeResponse) error {
	if b := frame.GetBookmark(); b != nil {
		if !w.begun {
			w.begun = true
			w.session.say("watching from position %s", showPosition(b.GetPosition()))
		}
		if !w.flags.bookmarks {
			return nil
		}
	}
	if w.session.format != output.Table {
		if err := w.session.printer().Line(frame); err != nil {
			return err
		}
		return w.count()
	}
	for _, line := range frameLines(frame) {
		if err := w.session.printer().Rows(func(r *output.Rows) { r.Text("%s", line) }); err != nil {
			return err
		}
		if err := w.count(); err != nil {
			return err
		}
	}
	return nil
}

// count counts a printed line.
func (w *watcher) count() error {
	w.lines++
	if w.flags.limit > 0 && w.lines >= w.flags.limit {
		return errEnough
	}
	return nil
}

// frameLines are the lines of a frame, each: stream, revision, and what it is about.
func frameLines(frame *metadatav1.SubscribeResponse) []string {
	switch f := frame.GetFrame().(type) {
	case *metadatav1.SubscribeResponse_Snapshot:
		return snapshotLines(f.Snapshot)
	case *metadatav1.SubscribeResponse_Changes:
		return changeLines(f.Changes)
	case *metadatav1.SubscribeResponse_Bookmark:
		return []string{"bookmark " + showPosition(f.Bookmark.GetPosition())}
	case *metadatav1.SubscribeResponse_Reset_:
		stream := "all streams"
		if f.Reset_.GetStream() != 0 {
			stream = streamName(f.Reset_.GetStream())
		}
		return []string{"reset " + stream + ": forget what came before (" + f.Reset_.GetReason() + ")"}
	}
	return []string{"unknown frame: this program is older than the service"}
}
