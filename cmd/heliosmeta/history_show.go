package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history/diff"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) historyShowCommand(where *pastFlags) *cobra.Command {
	var stream string
	c := &cobra.Command{
		Use: "show REVISION", Short: "Show one change in full: its events, and what they made of each object",
		Long: `Show one change in full: its events, and what they made of each object, field by field.

With -o json it is {"stream", "change", "objects"}: a Change and ObjectDiffs of the contract.`,
		Example: `  heliosmeta history show 12
  heliosmeta history show 40 --stream topology -o yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			revision, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || revision == 0 {
				return usage("revision %q; write a number from 1 on", args[0])
			}
			streams, err := parseStreams([]string{stream})
			if err != nil {
				return err
			}
			return s.withPast(where, func(p past.Past) error { return s.historyShow(cmd.Context(), p, streams[0], revision) })
		},
	}
	c.Flags().StringVar(&stream, "stream", "schema", "the stream of the revision: schema, topology or service")
	_ = c.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions(streamNames(), noFiles))
	return c
}

func (s *session) historyShow(ctx context.Context, p past.Past, stream metadatav1.Stream, revision uint64) error {
	change, err := oneChange(ctx, p, stream, revision)
	if err != nil {
		return err
	}
	diffs, err := diffsOf(ctx, p, change)
	if err != nil {
		return err
	}
	if s.format == output.Table {
		return s.printer().Rows(func(r *output.Rows) { showRows(r, stream, change, diffs) })
	}
	value := struct {
		Stream  string            `json:"stream"`
		Change  json.RawMessage   `json:"change"`
		Objects []json.RawMessage `json:"objects"`
	}{Stream: streamName(stream), Objects: []json.RawMessage{}}
	if value.Change, err = output.Encode(change); err != nil {
		return err
	}
	for _, d := range diffs {
		text, err := output.Encode(d)
		if err != nil {
			return err
		}
		value.Objects = append(value.Objects, text)
	}
	return s.printer().Value(value, nil)
}

// oneChange returns the change of a revision.
func oneChange(ctx context.Context, p past.Past, stream metadatav1.Stream, revision uint64) (*metadatav1.Change, error) {
	selection := &metadatav1.ChangeSelection{Stream: stream, FirstRevision: revision, LastRevision: revision}
	for c, err := range p.Changes(ctx, selection, true) {
		return c, err
	}
	return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, "%s has no revision %d of the %s stream", p.Name(), revision, streamName(stream))
}

// diffsOf returns what a change made of each of its objects, in the order in which its
// events name them.
func diffsOf(ctx context.Context, p past.Past, change *metadatav1.Change) ([]*metadatav1.ObjectDiff, error) {
	var diffs []*metadatav1.ObjectDiff
	seen := make(map[string]bool)
	for _, event := range change.GetEvents() {
		for _, object := range objects.Of(event) {
			ref := refOf(object)
			if ref == nil {
				diffs = append(diffs, diff.Object(nil, object))
				continue
			}
			key, err := proto.MarshalOptions{Deterministic: true}.Marshal(ref)
			if err != nil {
				return nil, err
			}
			if seen[string(key)] {
				continue
			}
			seen[string(key)] = true
			for c, err := range p.ObjectLog(ctx, ref, change.GetRevision(), change.GetRevision()) {
				if err != nil {
					return nil, err
				}
				diffs = append(diffs, c.GetDiff())
			}
		}
	}
	return diffs, nil
}

func showRows(r *output.Rows, stream metadatav1.Stream, change *metadatav1.Change, diffs []*metadatav1.ObjectDiff) {
	r.Text("%s", changeHead(entry{stream: stream, change: change}.info()))
	for _, event := range change.GetEvents() {
		r.Text("    %s", describeEvent(event))
	}
	for _, d := range diffs {
		r.Text("")
		objectDiffRows(r, d)
	}
}

func objectKindName(k metadatav1.ObjectKind) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(k.String(), "OBJECT_KIND_")), "_", "-")
}

func (s *session) historyDiffCommand(where *pastFlags) *cobra.Command {
	var streams []string
	c := &cobra.Command{
		Use: "diff FROM [TO]", Short: "Show what is different between two revisions or times, field by field",
		Long: `Show what is different between two revisions or times, field by field. Without TO, now.

FROM and TO are revisions, of the schema unless --stream says otherwise, or times: then
schema and topology are compared. With -o json it has a DiffRevisionsResponse of the contract
for each stream, on a line each.`,
		Example: `  heliosmeta history diff 10 12
  heliosmeta history diff yesterday
  heliosmeta history diff 2026-03-01 2026-03-04T12:00:00Z --stream topology`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := parsePoint("FROM", args[0])
			if err != nil {
				return err
			}
			var to *metadatav1.HistoryPoint
			if len(args) == 2 {
				if to, err = parsePoint("TO", args[1]); err != nil {
					return err
				}
			}
			if from == nil {
				return usage("FROM is now: there is nothing behind it to compare it with")
			}
			which, err := pointStreams(streams, from, to)
			if err != nil {
				return err
			}
			return s.withPast(where, func(p past.Past) error {
				return onStreams(cmd.Context(), which, func(stream metadatav1.Stream) error {
					return s.historyDiff(cmd.Context(), p, stream, from, to)
				})
			})
		},
	}
	addStreamFlag(c, &streams, "the streams: schema, topology, service")
	return c
}

func (s *session) historyDiff(ctx context.Context, p past.Past, stream metadatav1.Stream, from, to *metadatav1.HistoryPoint) error {
	res, err := p.Diff(ctx, stream, from, to)
	if err != nil {
		return err
	}
	if s.format != output.Table {
		return s.printer().Line(res)
	}
	if err := s.printer().Rows(func(r *output.Rows) {
		for _, d := range res.GetObjects() {
			objectDiffRows(r, d)
		}
	}); err != nil {
		return err
	}
	s.say("%s %d to %d: objects that differ: %d", streamName(stream), res.GetFromRevision(), res.GetToRevision(), len(res.GetObjects()))
	return nil
}
