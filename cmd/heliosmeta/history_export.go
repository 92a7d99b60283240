package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
)

func (s *session) historyExportCommand(where *pastFlags) *cobra.Command {
	var out string
	var streams []string
	var lines bool
	c := &cobra.Command{
		Use: "export --out FILE", Short: "Write the history into one file that can be verified by itself",
		Long: `Write the history into one file that can be verified by itself: all changes in their
original bytes, the digest chain, the signed heads, and of a stream whose beginning was
trimmed the base: the model right before what is left. It is verified while it is written.
All history commands read it with --file, an upgrade is rehearsed with it, and an auditor
needs nothing else but the public keys.

With --json-lines it writes a line of JSON for each change instead, for other programs; such
a file is not read again.`,
		Example: `  heliosmeta history export --out audit.export
  heliosmeta history export --out schema.jsonl --json-lines --stream schema --data /var/lib/heliosdb`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage("name the file to write with --out FILE")
			}
			return s.withPast(where, func(p past.Past) error { return s.historyExport(cmd.Context(), p, out, streams, lines) })
		},
	}
	c.Flags().StringVar(&out, "out", "", "the file to write; it must not be there")
	c.Flags().BoolVar(&lines, "json-lines", false, "write lines of JSON")
	addStreamFlag(c, &streams, "only these streams: schema, topology, service")
	return c
}

func (s *session) historyExport(ctx context.Context, p past.Past, out string, names []string, lines bool) error {
	streams, err := parseStreams(names, p.Streams()...)
	if err != nil {
		return err
	}
	bar := s.bar()
	var sources []history.Source
	options := export.Options{Progress: tell(bar)}
	for _, stream := range streams {
		heads, err := p.Heads(ctx, stream)
		if err != nil {
			return err
		}
		options.SignedHeads = append(options.SignedHeads, heads...)
		source, err := p.Source(ctx, stream)
		if err != nil {
			return err
		}
		sources = append(sources, source)
	}
	if lines {
		if err := export.Create(out, func(to io.Writer) error { return export.WriteJSON(ctx, to, sources, options.Progress) }); err != nil {
			return err
		}
		s.say("wrote %s", out)
		return s.forPrograms(writtenExport{File: out})
	}
	header := export.Header{Time: time.Now(), Build: buildVersion()}
	if header.ClusterName, err = p.ClusterName(ctx); err != nil {
		return err
	}
	var trailer export.Trailer
	err = export.Create(out, func(to io.Writer) (err error) {
		trailer, err = export.Write(ctx, to, header, sources, options)
		return err
	})
	if err != nil {
		return err
	}
	return s.tellExported(out, trailer)
}

// tellExported says what was written.
func (s *session) tellExported(out string, trailer export.Trailer) error {
	written := writtenExport{File: out, SignedHeads: new(len(trailer.SignedHeads))}
	for _, end := range trailer.Streams {
		written.Streams = append(written.Streams, writtenStream{streamName(end.Stream), end.First, end.Base, end.Changes, end.Bytes, end.Digest.String()})
		s.say("%s: changes: %d, %s, digest %s", streamName(end.Stream), end.Changes, showBytes(end.Bytes), short(end.Digest.String()))
		if end.First > 1 && !end.Base {
			s.say("%s: %s", streamName(end.Stream), withoutBase(end.First))
		}
	}
	s.say("wrote %s; signed heads: %d", out, len(trailer.SignedHeads))
	return s.forPrograms(written)
}

// writtenExport is a file that was written; its JSON names are part of the interface.
type writtenExport struct {
	File        string          `json:"file"`
	Streams     []writtenStream `json:"streams,omitempty"` // not of JSON lines
	SignedHeads *int            `json:"signed_heads,omitempty"`
}

type writtenStream struct {
	Stream  string `json:"stream"`
	First   uint64 `json:"first_revision"`
	Base    bool   `json:"base"` // the model right before it is there too
	Changes uint64 `json:"changes"`
	Bytes   uint64 `json:"bytes"`
	Digest  string `json:"digest"` // behind the last one
}

// withoutBase says what cannot be done with a stream that begins at a revision.
func withoutBase(first uint64) string {
	return fmt.Sprintf("the model before revision %d is not there: what is left can be read and verified, but not folded", first)
}

func (s *session) historyImportCommand() *cobra.Command {
	var file, data string
	c := &cobra.Command{
		Use: "import --file FILE --data DIR", Short: "Verify an exported file and unpack it into a directory for reading",
		Long: `Verify an exported file and unpack it into a directory for reading.

Everything in the file is verified first; if anything does not fit, nothing is unpacked. The
directory then has the file itself, as history.export, so that all history commands read it
with --data DIR, and for each stream a file of JSON lines for other programs.

It is not the directory of a member and cannot become one: a member's history names entries
of its own log, with votes and terms that an export does not have. To give a member what it
lacks, start it beside members that have it: it fills its history in from them.`,
		Example: `  heliosmeta history import --file audit.export --data audited
  heliosmeta history log --data audited shop.orders`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" || data == "" {
				return usage("name the file with --file FILE and the directory to make with --data DIR")
			}
			return s.historyImport(cmd.Context(), file, data)
		},
	}
	c.Flags().StringVar(&file, "file", "", "the file that history export has written")
	c.Flags().StringVar(&data, "data", "", "the directory to make; an empty one is taken too")
	return c
}

func (s *session) historyImport(ctx context.Context, file, data string) error {
	f, err := past.OpenFile(file)
	if err != nil {
		return err
	}
	bar := s.bar()
	written, err := past.Import(ctx, f, data, tell(bar))
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	for _, name := range written {
		s.say("wrote %s", name)
	}
	return s.forPrograms(struct {
		Files []string `json:"files"`
	}{written})
}
