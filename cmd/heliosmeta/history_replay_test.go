package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/progress"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// checkpointed is a past that can be folded from a checkpoint on.
type checkpointed struct {
	past.Past
	checkpoint past.State
}

func (c checkpointed) Beginning(context.Context, metadatav1.Stream) (past.State, error) {
	return c.checkpoint, nil
}

// What lies before the oldest checkpoint cannot be shown: nothing else is shown for it.
func TestReplayToBeforeTheOldestCheckpoint(t *testing.T) {
	source := historytest.New(metadatav1.Stream_STREAM_SCHEMA, historytest.Tables(6, 1))
	p, err := past.OpenFile(exported(t, source))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	beginning, err := p.Beginning(t.Context(), metadatav1.Stream_STREAM_SCHEMA)
	if err != nil {
		t.Fatal(err)
	}
	state, err := beginning.Replay(t.Context(), source, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[uint64]bool{0: false, 3: false, 4: true, 5: true} {
		until := &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: revision}}
		r, err := replay(t.Context(), checkpointed{p, state}, metadatav1.Stream_STREAM_SCHEMA, until, nil)
		if want {
			if err != nil || r.state.Head().Revision != revision {
				t.Errorf("to %d: %+v, %v", revision, r, err)
			}
			continue
		}
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED) || !strings.Contains(err.Error(), "from revision 4 on") {
			t.Errorf("to %d: %v", revision, err)
			continue
		}
		if oldest := failure.As(err).Metadata["oldest_revision"]; oldest != "4" {
			t.Errorf("to %d: the oldest revision is %q", revision, oldest)
		}
	}
}

// exported writes histories into a file.
func exported(t *testing.T, sources ...history.Source) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "some.export")
	if err := export.Create(name, func(to io.Writer) error {
		_, err := export.Write(t.Context(), to, export.Header{Time: historytest.Start}, sources, export.Options{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return name
}

// A stream that this build cannot fold is what a rehearsal is for; of the others it tells too.
func TestRehearsalOfAStreamThatCannotBeFolded(t *testing.T) {
	tables := historytest.Tables(3, 1)
	again := historytest.Seal(4, tables[0].Events()[0].Message())
	name := exported(t, historytest.New(metadatav1.Stream_STREAM_SCHEMA, append(tables, again)),
		historytest.New(metadatav1.Stream_STREAM_TOPOLOGY, historytest.Nodes(2)))
	var out, errs strings.Builder
	s := newSession(strings.NewReader(""), &out, &errs, func(string) (string, bool) { return "", false })
	code := s.execute(t.Context(), []string{"history", "rehearse", "--file", name})
	if code != exitError || !strings.Contains(errs.String(), "streams that this build cannot fold: 1") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
	if text := out.String(); !strings.Contains(text, "CANNOT BE FOLDED: ") || !strings.Contains(text, "topology  1 to 2") {
		t.Errorf("it prints %s", text)
	}
}

// Nothing is printed behind a bar on the same line.
func TestBarIsTakenAwayBeforeAnythingIsPrinted(t *testing.T) {
	for name, show := range map[string]func(*session){
		"say":     func(s *session) { s.say("said") },
		"error":   func(s *session) { s.sayError(errors.New("said")) },
		"printer": func(s *session) { _ = s.printer().Rows(func(r *output.Rows) { r.Text("said") }) },
	} {
		var screen strings.Builder
		s := newSession(nil, &screen, &screen, nil)
		at := time.Unix(0, 0)
		s.progress = progress.New(&screen, true, func() time.Time { at = at.Add(time.Second); return at })
		s.bar().Tell("schema", 1, 2)
		show(s)
		lines := strings.Split(screen.String(), "\r")
		if last := lines[len(lines)-1]; len(lines) != 4 || strings.TrimSpace(lines[2]) != "" || !strings.Contains(last, "said") {
			t.Errorf("%s: the screen has %q", name, screen.String())
		}
	}
}
