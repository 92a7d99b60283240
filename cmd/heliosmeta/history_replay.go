package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// replayFlags are what `history replay` is told.
type replayFlags struct {
	until, export string
	streams       []string
	check         bool
}

func (s *session) historyReplayCommand(where *pastFlags) *cobra.Command {
	f := new(replayFlags)
	c := &cobra.Command{
		Use: "replay", Short: "Fold the changes again, up to a revision or time, and show what comes out",
		Long: `Fold the changes again, up to a revision or time, and show what comes out.

The original bytes of all changes are folded here, by this program's fold: what it shows is
what the history says, whatever members believe. With -o json or yaml it prints the models
as they were, with --export DIR it writes them there, a JSON file for each stream. A stream
whose beginning was trimmed is folded from its base, the model right before what is left,
which the service hands out, and files and directories have; a stream without one cannot be
folded, which is said behind the others.

With --check it does what history rehearse does: it folds everything, and compares digest and hash of the model with what is
said of them: by each member of --endpoints, by the checkpoints in a directory, or by
trailer and signed heads of a file, which know digests only. The exit code is 0 only if all
of it fits.`,
		Example: `  heliosmeta history replay --until 2026-03-04T12:00:00Z --export march
  heliosmeta history replay --until 12 --stream topology -o yaml
  heliosmeta history replay --check --endpoints m1:9000,m2:9000,m3:9000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withPast(where, func(p past.Past) error { return s.historyReplay(cmd.Context(), p, f) })
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.until, "until", "", "fold up to here: a revision, of the schema unless --stream says otherwise, or a time")
	flags.StringVar(&f.export, "export", "", "write the models into this directory")
	flags.BoolVar(&f.check, "check", false, "compare with what is said of the models")
	addStreamFlag(c, &f.streams, "only these streams: schema, topology, service")
	return c
}

func (s *session) historyReplay(ctx context.Context, p past.Past, f *replayFlags) error {
	if f.check {
		if f.until != "" || f.export != "" {
			return usage("--check folds everything: it goes without --until and --export")
		}
		return s.rehearse(ctx, p, f.streams)
	}
	until, err := parsePoint("--until", f.until)
	if err != nil {
		return err
	}
	streams, err := parseStreams(f.streams, p.Streams()...)
	if isRevision(until) {
		streams, err = pointStreams(f.streams, until)
	}
	if err != nil {
		return err
	}
	var all []replayed
	var missing []unfolded
	bar := s.bar()
	err = onStreams(ctx, streams, func(stream metadatav1.Stream) error {
		r, err := replay(ctx, p, stream, until, func(done, last uint64) { tell(bar)(stream, done, last) })
		switch {
		case err == nil:
			all = append(all, r)
		case past.IsMissing(err):
			missing = append(missing, s.unfoldedStream(stream, err))
		default:
			return fmt.Errorf("the %s stream: %w", streamName(stream), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.export != "" {
		err = s.exportModels(f.export, all, missing)
	} else if len(all) > 0 {
		err = s.printReplayed(all, missing)
	}
	if err != nil || len(missing) == 0 {
		return err
	}
	for _, m := range missing {
		s.sayError(fmt.Errorf("the %s stream cannot be folded: %s", m.Stream, m.Error))
	}
	return &toldError{exitError}
}

// unfolded is a stream that could not be folded; its JSON names are part of the interface.
type unfolded struct {
	Stream string `json:"stream"`
	Error  string `json:"error"`
}

func (s *session) unfoldedStream(stream metadatav1.Stream, err error) unfolded {
	return unfolded{streamName(stream), sentence(err, s.endpoints)}
}

// replayed is a stream that was folded.
type replayed struct {
	stream metadatav1.Stream
	from   uint64 // behind this revision
	state  past.State
	took   time.Duration
}

// replay folds a stream from the oldest state that there is up to a point.
func replay(
	ctx context.Context, p past.Past, stream metadatav1.Stream, until *metadatav1.HistoryPoint, progress func(done, last uint64),
) (replayed, error) {
	r := replayed{stream: stream}
	began := time.Now()
	source, err := p.Source(ctx, stream)
	if err != nil {
		return r, err
	}
	if r.state, err = p.Beginning(ctx, stream); err != nil {
		return r, err
	}
	r.from = r.state.Head().Revision
	revision, err := past.Revision(ctx, source, until)
	if err != nil {
		return r, err
	}
	if revision < r.from {
		return r, failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
			"it can be folded from revision %d on, where its base is; revision %d lies before that", r.from, revision).
			With("oldest_revision", strconv.FormatUint(r.from, 10)).With("stream", stream.String())
	}
	if revision != r.from {
		r.state, err = r.state.Replay(ctx, source, revision, progress)
	}
	r.took = time.Since(began)
	return r, err
}

// model is a stream as it was, for machines.
type model struct {
	Stream       string            `json:"stream"`
	ClusterID    string            `json:"cluster_id"`
	Revision     uint64            `json:"revision"`
	Time         *time.Time        `json:"time,omitempty"` // of the last change
	FeatureLevel uint32            `json:"feature_level"`
	Digest       string            `json:"digest"`
	ModelHash    string            `json:"model_hash"`
	Objects      []json.RawMessage `json:"objects"` // each {"kind", and the object as the contract's JSON has it}
}

func modelOf(state past.State) (model, error) {
	head, hash := state.Head(), state.Hash()
	m := model{
		Stream: streamName(head.Stream), ClusterID: head.Cluster.String(), Revision: head.Revision, FeatureLevel: head.FeatureLevel,
		Digest: head.Digest.String(), ModelHash: hex.EncodeToString(hash[:]), Objects: []json.RawMessage{},
	}
	if !head.Time.IsZero() {
		m.Time = &head.Time
	}
	for object := range state.Objects() {
		text, err := output.Encode(object)
		if err != nil {
			return m, err
		}
		whole, err := json.Marshal(map[string]json.RawMessage{kindOf(object): text})
		if err != nil {
			return m, err
		}
		m.Objects = append(m.Objects, whole)
	}
	return m, nil
}

// kindOf names the kind of an object.
func kindOf(object any) string {
	switch object.(type) {
	case *metadatav1.Namespace:
		return "namespace"
	case *metadatav1.TableSchema:
		return "table"
	case *metadatav1.NodeInfo:
		return "node"
	case *metadatav1.ShardInfo:
		return "shard"
	case *metadatav1.Consumer:
		return "consumer"
	case *metadatav1.SignedHead:
		return "signed_head"
	}
	return "history_floor"
}

func (s *session) printReplayed(all []replayed, missing []unfolded) error {
	if s.format != output.Table {
		models := make([]model, len(all))
		for i, r := range all {
			var err error
			if models[i], err = modelOf(r.state); err != nil {
				return err
			}
		}
		return s.printer().Value(struct {
			Streams []model    `json:"streams"`
			Missing []unfolded `json:"missing,omitempty"`
		}{models, missing}, nil)
	}
	return s.printer().Rows(func(r *output.Rows) {
		r.Row("STREAM", "REVISION", "TIME", "FOLDED", "OBJECTS", "DIGEST", "MODEL HASH")
		for _, one := range all {
			head, hash := one.state.Head(), one.state.Hash()
			at := ""
			if !head.Time.IsZero() {
				at = head.Time.Format(time.RFC3339)
			}
			r.Row(streamName(one.stream), head.Revision, at, head.Revision-one.from, objectCounts(one.state), short(head.Digest.String()), short(hex.EncodeToString(hash[:])))
		}
	})
}

// objectCounts says how many objects of each kind there are.
func objectCounts(state past.State) string {
	var kinds []string
	counts := make(map[string]int)
	for object := range state.Objects() {
		kind := kindOf(object)
		if counts[kind]++; counts[kind] == 1 {
			kinds = append(kinds, kind)
		}
	}
	text := ""
	for i, kind := range kinds {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%ss: %d", kind, counts[kind])
	}
	return text
}

// short shows as much of a hash as tells it from others.
func short(digits string) string { return digits[:min(16, len(digits))] }

// exportModels writes each model into a file of its own, which must not be there.
func (s *session) exportModels(dir string, all []replayed, missing []unfolded) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	written := []writtenModel{}
	for _, r := range all {
		m, err := modelOf(r.state)
		if err != nil {
			return err
		}
		name := filepath.Join(dir, m.Stream+".json")
		err = export.Create(name, func(to io.Writer) error { return output.Printer{To: to, Format: output.JSON}.Value(m, nil) })
		if err != nil {
			return err
		}
		s.say("wrote %s: revision %d, objects: %d", name, m.Revision, len(m.Objects))
		written = append(written, writtenModel{m.Stream, name, m.Revision, len(m.Objects)})
	}
	return s.forPrograms(struct {
		Files   []writtenModel `json:"files"`
		Missing []unfolded     `json:"missing,omitempty"`
	}{written, missing})
}

// writtenModel is a file with a model; its JSON names are part of the interface.
type writtenModel struct {
	Stream   string `json:"stream"`
	File     string `json:"file"`
	Revision uint64 `json:"revision"`
	Objects  int    `json:"objects"`
}
