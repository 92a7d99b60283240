package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) historyRehearseCommand(where *pastFlags) *cobra.Command {
	var streams []string
	c := &cobra.Command{
		Use: "rehearse", Short: "Fold a production history with this build and compare, before an upgrade to it",
		Long: `Fold a production history with this build and compare, before an upgrade to it.

Run it with the new build's heliosmeta: on a file that history export has written, on a copy
of a stopped member's directory, or against the running service. Every change is folded;
digest and hash of the model have to be those that the members, the checkpoints or the file
say. A change that this build cannot fold, or folds to something else, would stop a member
after the upgrade: here it is an error. Hashes of another checkpoint format are not compared.
A stream whose beginning was trimmed is folded from its base, the model right before what is
left, which the service hands out, and files and directories have; a stream without one is
not compared, and the others are.

It is what history replay --check does, under the name of what it is for.

The exit code is 0 if all of it fits, 1 if something differs or cannot be folded, and 5 if
something could not be compared; --stream leaves out what one does not want compared.`,
		Example: `  heliosmeta-new history rehearse --file production.export
  heliosmeta-new history rehearse --endpoints m1:9000,m2:9000,m3:9000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withPast(where, func(p past.Past) error { return s.rehearse(cmd.Context(), p, streams) })
		},
	}
	addStreamFlag(c, &streams, "only these streams: schema, topology, service")
	return c
}

// rehearsal is what folding a stream has given; its JSON names are part of the interface.
type rehearsal struct {
	Stream    string    `json:"stream"`
	From      uint64    `json:"from_revision"` // the state before the first change that was folded
	Revision  uint64    `json:"revision"`
	Digest    string    `json:"digest"`
	ModelHash string    `json:"model_hash"`
	Said      []verdict `json:"said"`
	Seconds   float64   `json:"seconds"`
	Error     string    `json:"error,omitempty"` // why it was not folded; then there is only the stream

	broken bool // a change cannot be folded
}

// verdict is what became of a comparison.
type verdict struct {
	By         string           `json:"by"`
	Revision   uint64           `json:"revision"`
	Compared   string           `json:"compared"` // "digest", or "digest and model hash"
	Fits       bool             `json:"fits"`
	Difference *past.Difference `json:"difference,omitempty"`
	Error      string           `json:"error,omitempty"` // why nothing was compared
}

// rehearse folds streams and holds them against what is said of them.
func (s *session) rehearse(ctx context.Context, p past.Past, names []string) error {
	streams, err := parseStreams(names, p.Streams()...)
	if err != nil {
		return err
	}
	var all []rehearsal
	bar := s.bar()
	err = onStreams(ctx, streams, func(stream metadatav1.Stream) error {
		began := time.Now()
		done, err := past.Rehearse(ctx, p, stream, func(done, last uint64) { tell(bar)(stream, done, last) })
		_, broken := errors.AsType[*projections.FoldError](err)
		switch {
		case err == nil:
			all = append(all, s.rehearsalOf(done, time.Since(began)))
		case broken || past.IsMissing(err): // of this stream: the others may be sound
			all = append(all, rehearsal{Stream: streamName(stream), Said: []verdict{}, Error: sentence(err, s.endpoints), broken: broken})
		default:
			return fmt.Errorf("the %s stream: %w", streamName(stream), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	value := struct {
		Build   string      `json:"build"`
		Streams []rehearsal `json:"streams"`
	}{buildVersion(), all}
	if err := s.printer().Value(value, func(r *output.Rows) { rehearsalRows(r, all) }); err != nil {
		return err
	}
	return s.judge(all)
}

func (s *session) rehearsalOf(done *past.Rehearsal, took time.Duration) rehearsal {
	head, hash := done.State.Head(), done.State.Hash()
	r := rehearsal{
		Stream: streamName(head.Stream), From: done.From.Revision, Revision: head.Revision, Digest: head.Digest.String(),
		ModelHash: hex.EncodeToString(hash[:]), Seconds: took.Seconds(), Said: []verdict{},
	}
	for _, c := range done.Said {
		v := verdict{By: c.By, Revision: c.Head.GetRevision(), Compared: "digest", Fits: c.Fits(), Difference: c.Difference}
		if c.Hashed {
			v.Compared = "digest and model hash"
		}
		if c.Err != nil {
			v.Error = sentence(c.Err, s.endpoints)
		}
		r.Said = append(r.Said, v)
	}
	return r
}

func rehearsalRows(r *output.Rows, all []rehearsal) {
	r.Row("STREAM", "FOLDED", "REVISION", "SAID BY", "AT", "COMPARED", "RESULT")
	for _, one := range all {
		switch {
		case one.broken:
			r.Row(one.Stream, "", "", "nobody", "", "", "CANNOT BE FOLDED: "+one.Error)
			continue
		case one.Error != "":
			r.Row(one.Stream, "", "", "nobody", "", "", "not compared: "+one.Error)
			continue
		}
		folded := fmt.Sprintf("%d to %d", one.From+1, one.Revision)
		if one.Revision == one.From {
			folded = "nothing"
		}
		for _, v := range one.Said {
			result := "fits"
			switch {
			case v.Error != "":
				result = "not compared: " + v.Error
			case !v.Fits:
				result = "DIFFERS: " + v.Difference.String()
			}
			r.Row(one.Stream, folded, one.Revision, v.By, v.Revision, v.Compared, result)
		}
		if len(one.Said) == 0 {
			r.Row(one.Stream, folded, one.Revision, "nobody", "", "", "folded")
		}
	}
}

// judge says how it went, and makes the exit code.
func (s *session) judge(all []rehearsal) error {
	differ, silent, fit, broken := 0, 0, 0, 0
	for _, r := range all {
		switch {
		case r.broken:
			broken++
		case r.Error != "":
			silent++
		}
		for _, v := range r.Said {
			switch {
			case v.Fits:
				fit++
			case v.Error != "":
				silent++
			default:
				differ++
			}
		}
	}
	switch {
	case broken > 0:
		return fmt.Errorf("streams that this build cannot fold: %d; it would stop the members", broken)
	case differ > 0:
		return fmt.Errorf("%d of %d comparisons differ: this build does not fold that history as it was folded", differ, differ+silent+fit)
	case silent > 0:
		s.sayError(errors.New("not everything could be compared"))
		return &toldError{exitUnavailable}
	}
	s.say("this build folds it all; comparisons that fit: %d", fit)
	return nil
}
