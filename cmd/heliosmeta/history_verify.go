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
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/export"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *session) historyVerifyCommand(where *pastFlags) *cobra.Command {
	var streams, keys []string
	var allowUnsigned bool
	c := &cobra.Command{
		Use: "verify", Short: "Verify the digest chain from the first change to the last, and signed heads",
		Long: `Verify the digest chain from the first change to the last, and signed heads.

Every change is read in its original bytes and its digest computed here: a service is not
believed, but for where its history begins. Where that was trimmed, the base, the model
right before what is left, has to have the digest that the chain begins with. The first
change that does not fit is named.
What fits together may have been made up as a whole: against that there are heads of schema
and topology that members have signed. With --public-key they have to be genuine, and the
history has to be the one that they were signed for; a history without any does not pass,
unless --allow-unsigned is given too. Of a file, everything else is verified too.

The exit code is 0 if everything fits and 1 if something does not. With -o json it is
{"fits", "streams", "unsigned", "failure"}; a failure has stream, revision and reason, in a
file also the part and its first byte.`,
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
			var v verification
			err = s.withPast(where, func(p past.Past) (err error) {
				v, err = s.historyVerify(cmd.Context(), p, streams, public)
				return err
			})
			return s.tellVerified(v, err, allowUnsigned)
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
	Base     bool   `json:"base"`                          // the model right before the first revision is there and fits
}

// verification is what came out; its JSON names are part of the interface.
type verification struct {
	Fits     bool       `json:"fits"`
	Streams  []verified `json:"streams"`            // up to the first that does not fit
	Unsigned []string   `json:"unsigned,omitempty"` // of these, no signed head is there
	Failure  *misfit    `json:"failure,omitempty"`

	name string // of what was verified
}

// misfit is the first that does not fit.
type misfit struct {
	Stream   string `json:"stream,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	Part     string `json:"part,omitempty"` // of a file
	Byte     int64  `json:"byte,omitempty"` // where that part begins
	Reason   string `json:"reason"`
}

func (s *session) historyVerify(ctx context.Context, p past.Past, names []string, keys []ed25519.PublicKey) (verification, error) {
	v := verification{name: p.Name()}
	streams, err := parseStreams(names, p.Streams()...)
	if err != nil {
		return v, err
	}
	bar := s.bar()
	verdicts, err := past.Verify(ctx, p, streams, keys, tell(bar))
	for _, found := range verdicts {
		h := found.History
		v.Streams = append(v.Streams, verified{
			Stream: streamName(found.Stream), First: h.First, Last: h.Last, Changes: h.Changes(), Bytes: h.Bytes, Digest: h.Digest.String(),
			Signed: found.Signed, Heads: found.Fit, NotHeld: found.Before, ProvenTo: found.Proven, Base: found.Base,
		})
		if found.Lacks() {
			s.say("%s: %s", streamName(found.Stream), withoutBase(h.First))
		}
		if found.Unsigned() {
			v.Unsigned = append(v.Unsigned, streamName(found.Stream))
		}
	}
	return v, err
}

// tellVerified says what came out of a verification, which may have failed.
func (s *session) tellVerified(v verification, failed error, allowUnsigned bool) error {
	v.Failure = misfitOf(failed)
	v.Fits = failed == nil && (allowUnsigned || len(v.Unsigned) == 0)
	if failed == nil || v.Failure != nil || len(v.Streams) > 0 {
		v.Streams = append([]verified{}, v.Streams...)
		if err := s.printer().Value(v, func(r *output.Rows) { verifiedRows(r, v.Streams) }); err != nil {
			return errors.Join(failed, err)
		}
	}
	unsigned := fmt.Sprintf("no signed head fits the history of %s: the changes there fit together, but anybody may have made them up", strings.Join(v.Unsigned, " and "))
	switch {
	case failed != nil:
		return failed
	case !v.Fits:
		return errors.New(unsigned + "; have members sign with serve --audit-key, more often than history is trimmed (--audit-every), or pass it with --allow-unsigned")
	case len(v.Unsigned) > 0:
		s.say("%s", unsigned)
	default:
		s.say("%s: everything fits", v.name)
	}
	return nil
}

// misfitOf says what does not fit; nil if that is not why a verification failed.
func misfitOf(failed error) *misfit {
	m := new(misfit)
	if file, ok := errors.AsType[*export.DamagedError](failed); ok {
		m.Part, m.Byte, m.Reason = string(file.Part), file.Offset, file.Err.Error()
	}
	if h, ok := errors.AsType[*history.DamagedError](failed); ok {
		m.Stream, m.Revision, m.Reason = streamName(h.Stream), h.Revision, h.Reason
	}
	if h, ok := errors.AsType[*audit.HeadError](failed); ok {
		m.Stream, m.Revision, m.Reason = streamName(h.Head.GetStream()), h.Head.GetRevision(), h.Reason
	}
	if m.Reason == "" {
		return nil
	}
	return m
}

func verifiedRows(r *output.Rows, all []verified) {
	if len(all) == 0 {
		return
	}
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
