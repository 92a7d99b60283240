package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history/audit"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) historyVerifyCommand(where *pastFlags) *cobra.Command {
	var streams, keys []string
	var allowUnsigned bool
	c := &cobra.Command{
		Use: "verify", Short: "Verify the digest chain from the first change to the last, and signed heads",
		Long: `Verify the digest chain from the first change to the last, and signed heads.

Every change is read in its original bytes and its digest computed here: a service is not
believed, but for where its history begins. The first change that does not fit is named.
What fits together may have been made up as a whole: against that there are heads of schema
and topology that members have signed. With --public-key they have to be genuine, and the
history has to be the one that they were signed for; a history without any does not pass,
unless --allow-unsigned is given too. Of a file, everything else is verified too.

The exit code is 0 if everything fits and 1 if something does not.`,
		Example: `  heliosmeta history verify --public-key audit.key.pub
  heliosmeta history verify --file audit.export --public-key audit.key.pub
  heliosmeta history verify --data /var/lib/heliosdb --stream schema -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if allowUnsigned && len(keys) == 0 {
				return usage("--allow-unsigned goes with --public-key: without it no signed head is looked at")
			}
			public, err := readPublicKeys(keys)
			if err != nil {
				return err
			}
			return s.withPast(where, func(p past.Past) error {
				unsigned, err := s.historyVerify(cmd.Context(), p, streams, public)
				if err != nil || len(unsigned) == 0 {
					return err
				}
				return s.judgeUnsigned(unsigned, allowUnsigned)
			})
		},
	}
	c.Flags().BoolVar(&allowUnsigned, "allow-unsigned", false, "with --public-key: pass histories that no signed head is there for, too")
	c.Flags().StringArrayVar(&keys, "public-key", nil, "file of a public audit key; may be given several times, for keys that were replaced")
	addStreamFlag(c, &streams, "only these streams: schema, topology, service")
	return c
}

// readPublicKeys reads keys in PEM.
func readPublicKeys(files []string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--public-key: %w", err)
		}
		key, err := audit.ReadPublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("--public-key %s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// verified is what was verified of a stream; its JSON names are part of the interface.
type verified struct {
	Stream   string `json:"stream"`
	First    uint64 `json:"first_revision"`
	Last     uint64 `json:"last_revision"`
	Changes  uint64 `json:"changes"`
	Bytes    uint64 `json:"bytes"`
	Digest   string `json:"digest"` // behind the last one
	Signed   bool   `json:"held_against_signed_heads"`
	Heads    int    `json:"signed_heads,omitempty"`        // that fit
	NotHeld  int    `json:"signed_heads_before,omitempty"` // of revisions before the first one
	ProvenTo uint64 `json:"proven_to_revision,omitempty"`  // the newest one with a signed head
}

// historyVerify prints what was verified, and returns the names of the streams that had to be
// signed and are not.
func (s *session) historyVerify(ctx context.Context, p past.Past, names []string, keys []ed25519.PublicKey) (unsigned []string, err error) {
	streams, err := parseStreams(names, p.Streams()...)
	if err != nil {
		return nil, err
	}
	bar := s.bar()
	verdicts, failed := past.Verify(ctx, p, streams, keys, tell(bar))
	bar.Clear()
	all := make([]verified, len(verdicts))
	for i, v := range verdicts {
		h := v.History
		all[i] = verified{
			Stream: streamName(v.Stream), First: h.First, Last: h.Last, Changes: h.Changes(), Bytes: h.Bytes, Digest: h.Digest.String(),
			Signed: v.Signed, Heads: v.Fit, NotHeld: v.Before, ProvenTo: v.Proven,
		}
		if v.Unsigned() {
			unsigned = append(unsigned, streamName(v.Stream))
		}
	}
	if len(all) > 0 {
		value := struct {
			Streams []verified `json:"streams"`
		}{all}
		if err := s.printer().Value(value, func(r *output.Rows) { verifiedRows(r, all) }); err != nil {
			return nil, errors.Join(failed, err)
		}
	}
	if failed == nil && len(unsigned) == 0 {
		s.say("%s: everything fits", p.Name())
	}
	return unsigned, failed
}

// judgeUnsigned says that nothing proves the histories of streams.
func (s *session) judgeUnsigned(names []string, allowed bool) error {
	why := fmt.Sprintf("no signed head fits the history of %s: the changes there fit together, but anybody may have made them up", strings.Join(names, " and "))
	if !allowed {
		return errors.New(why + "; have members sign with serve --audit-key, or pass it with --allow-unsigned")
	}
	s.say("%s", why)
	return nil
}

func verifiedRows(r *output.Rows, all []verified) {
	r.Row("STREAM", "REVISIONS", "CHANGES", "BYTES", "DIGEST", "SIGNED HEADS", "PROVEN TO")
	for _, v := range all {
		heads, proven := "not looked at", ""
		switch {
		case v.Stream == streamName(metadatav1.Stream_STREAM_SERVICE):
			heads = "never signed"
		case v.Signed:
			heads = fmt.Sprint(v.Heads)
		}
		if v.ProvenTo > 0 {
			proven = fmt.Sprint(v.ProvenTo)
		}
		revisions := fmt.Sprintf("%d to %d", v.First, v.Last)
		if v.Changes == 0 {
			revisions = "none"
		}
		r.Row(v.Stream, revisions, v.Changes, showBytes(v.Bytes), short(v.Digest), heads, proven)
	}
}
