// Package output prints answers: as a table for people, or as JSON or YAML for
// programs.
//
// JSON is one object in the contract's own JSON form, with the proto's field
// names, two spaces of indentation and a stable order; JSON lines are the same on
// one line. YAML is the same object again. The package refuses to colour, to cut
// and to wrap: what a terminal shows and what a pipe gets are the same bytes. A
// Printer is for one goroutine.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Format is how answers are printed.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats lists them.
var Formats = []string{string(Table), string(JSON), string(YAML)}

// String returns the format's name; with Set and Type it makes a Format a flag.
func (f *Format) String() string { return string(*f) }

// Set takes a format's name.
func (f *Format) Set(text string) error {
	switch Format(text) {
	case Table, JSON, YAML:
		*f = Format(text)
		return nil
	}
	return fmt.Errorf("there is no format %q; there are %s", text, strings.Join(Formats, ", "))
}

// Type names the values in help.
func (f *Format) Type() string { return "FORMAT" }

// Printer prints to one writer in one format.
type Printer struct {
	To     io.Writer
	Format Format
}

// Message prints a message; as a table it is what rows adds to the writer.
func (p Printer) Message(m proto.Message, rows func(*Rows)) error {
	if p.Format == Table {
		return p.Rows(rows)
	}
	text, err := protoJSON.Marshal(m)
	if err != nil {
		return err
	}
	return p.raw(text)
}

// Value prints what is no message.
func (p Printer) Value(v any, rows func(*Rows)) error {
	if p.Format == Table {
		return p.Rows(rows)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	return p.raw(text.Bytes())
}

// ValueLine prints what is no message: JSON on one line, YAML as a document.
func (p Printer) ValueLine(v any, rows func(*Rows)) error {
	if p.Format == YAML {
		if _, err := io.WriteString(p.To, "---\n"); err != nil {
			return err
		}
	}
	if p.Format != JSON {
		return p.Value(v, rows)
	}
	encoder := json.NewEncoder(p.To)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// Line prints a message of a stream: JSON on one line, YAML as a document.
func (p Printer) Line(m proto.Message) error {
	text, err := protoJSON.Marshal(m)
	if err != nil {
		return err
	}
	if p.Format == YAML {
		if _, err := io.WriteString(p.To, "---\n"); err != nil {
			return err
		}
		return p.raw(text)
	}
	var line bytes.Buffer
	// protojson varies its spaces on purpose.
	if err := json.Compact(&line, text); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err = p.To.Write(line.Bytes())
	return err
}

// Encode returns a message as JSON in the form in which it is printed, to be a part of a
// value.
func Encode(m proto.Message) (json.RawMessage, error) { return protoJSON.Marshal(m) }

var protoJSON = protojson.MarshalOptions{UseProtoNames: true}

// raw prints JSON in the printer's format.
func (p Printer) raw(text []byte) error {
	if p.Format == YAML {
		out, err := yaml.JSONToYAML(text)
		if err != nil {
			return err
		}
		_, err = p.To.Write(out)
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(text), "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := p.To.Write(out.Bytes())
	return err
}

// Rows prints a table.
func (p Printer) Rows(fill func(*Rows)) error {
	r := &Rows{w: tabwriter.NewWriter(p.To, 0, 0, 2, ' ', 0)}
	fill(r)
	if r.err != nil {
		return r.err
	}
	return r.w.Flush()
}

// Rows takes the lines of a table.
type Rows struct {
	w   *tabwriter.Writer
	err error
}

// Row adds a line. Cells lose what would break the line: no object's text can
// forge rows or drive the terminal.
func (r *Rows) Row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = Plain(fmt.Sprint(cell))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	r.write(strings.Join(texts, "\t"))
}

// Text adds a line outside of the columns.
func (r *Rows) Text(format string, args ...any) {
	r.write(Plain(fmt.Sprintf(format, args...)))
}

// write ends each line without blanks: the last cell is not padded.
func (r *Rows) write(line string) {
	if _, err := io.WriteString(r.w, line+"\n"); err != nil && r.err == nil {
		r.err = err
	}
}

// Plain replaces control characters by spaces.
func Plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, text)
}
