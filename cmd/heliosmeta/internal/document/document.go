// Package document reads what `apply` takes: YAML or JSON documents, each a
// Namespace, Table, Node or Shard, as the contract's messages.
//
// It is strict: a key that the kind does not have, a value of another type, a
// name that no enum has, a type that sqltype does not read, or an object that is
// there twice is an error with file and line. What only the service can judge
// (whether names exist, what may change) it leaves to the service.
//
// Decode is a pure function. Objects come in the order of the text; Set keeps them
// by kind.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// MaxFileBytes bounds one file of documents.
const MaxFileBytes = 64 << 20

// Place is where an object was written.
type Place struct {
	File string
	Line int
}

// String returns FILE:LINE.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Set is what documents describe, by kind and in order of the text.
type Set struct {
	Namespaces []*metadatav1.Namespace
	Tables     []*metadatav1.TableSchema
	Nodes      []*metadatav1.NodeInfo
	Shards     []*metadatav1.ShardInfo

	places map[string]Place
}

// Empty reports whether there is nothing in the set.
func (s *Set) Empty() bool {
	return len(s.Namespaces)+len(s.Tables)+len(s.Nodes)+len(s.Shards) == 0
}

// Decode adds the documents of one file to the set. The name is for messages.
func (s *Set) Decode(name string, text []byte) error {
	if len(text) > MaxFileBytes {
		return fmt.Errorf("%s: %d bytes; a file of documents has at most %d: apply it in parts", name, len(text), MaxFileBytes)
	}
	for _, part := range split(text) {
		d := &decoder{set: s, file: name, before: part.line}
		if err := d.decode(part.text); err != nil {
			return err
		}
	}
	return nil
}

// part is a piece of a file, and how many lines there are before it.
type part struct {
	text []byte
	line int
}

// split cuts a file that holds JSON values one behind the other, or an array of
// them, into one part each. Anything else is YAML, which knows how to separate
// documents.
func split(text []byte) []part {
	values := json.NewDecoder(bytes.NewReader(text))
	var parts []part
	for {
		var value json.RawMessage
		err := values.Decode(&value)
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil || value[0] != '{' {
			return []part{{text: text}}
		}
		start := int(values.InputOffset()) - len(value)
		parts = append(parts, part{text: value, line: bytes.Count(text[:start], []byte("\n"))})
	}
}

// decoder reads one part of a file into a set.
type decoder struct {
	set    *Set
	file   string
	before int // lines of the file before this part
}

func (d *decoder) decode(text []byte) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return d.explain(err, nil)
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentGroupType {
			continue
		}
		if err := d.document(doc.Body); err != nil {
			return err
		}
	}
	return nil
}

// document reads one document as the kind that it says it is.
func (d *decoder) document(body ast.Node) error {
	pairs, ok := body.(ast.MapNode)
	if !ok {
		return d.fail(body, "a document is written as pairs that begin with kind, not as %s", body.Type())
	}
	var kind ast.Node
	for pair := pairs.MapRange(); pair.Next(); {
		if pair.Key().GetToken().Value == "kind" {
			kind = pair.Value()
		}
	}
	if kind == nil {
		return d.fail(body, "the document has no kind; write kind: Namespace, Table, Node or Shard")
	}
	switch name := kind.GetToken().Value; name {
	case "Namespace":
		return read(d, body, d.namespace)
	case "Table":
		return read(d, body, d.table)
	case "Node":
		return read(d, body, d.node)
	case "Shard":
		return read(d, body, d.shard)
	default:
		return d.fail(kind, "there is no kind %q; there are Namespace, Table, Node and Shard", name)
	}
}

// read decodes a document strictly and hands it on.
func read[T any](d *decoder, body ast.Node, take func(Place, *T) error) error {
	doc := new(T)
	if err := yaml.NodeToValue(body, doc, yaml.Strict()); err != nil {
		return d.explain(err, body)
	}
	return take(d.place(body), doc)
}

// claim notes an object and refuses a second one of its name.
func (d *decoder) claim(at Place, object string) error {
	if first, ok := d.set.places[object]; ok {
		return fmt.Errorf("%s: %s is described at %s already", at, object, first)
	}
	if d.set.places == nil {
		d.set.places = make(map[string]Place)
	}
	d.set.places[object] = at
	return nil
}

func (d *decoder) place(node ast.Node) Place {
	return Place{d.file, d.before + firstLine(node)}
}

// firstLine is where a node begins. The token of a block mapping is the colon of
// its first pair.
func firstLine(node ast.Node) int {
	if pairs, ok := node.(ast.MapNode); ok {
		for pair := pairs.MapRange(); pair.Next(); {
			return min(pair.Key().GetToken().Position.Line, node.GetToken().Position.Line)
		}
	}
	return node.GetToken().Position.Line
}

func (d *decoder) fail(node ast.Node, format string, args ...any) error {
	return fmt.Errorf("%s: %s", d.place(node), fmt.Sprintf(format, args...))
}

// explain gives an error of the YAML library its place, and takes its drawing of
// the text away.
func (d *decoder) explain(err error, body ast.Node) error {
	if e, ok := errors.AsType[*fieldError](err); ok {
		return d.fail(e.node, "%s", e.message)
	}
	if e, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		key := e.Token.Value
		return fmt.Errorf("%s:%d: unknown key %q", d.file, d.before+e.Token.Position.Line, key)
	}
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", d.file, d.before+e.GetToken().Position.Line, e.GetMessage())
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	if body == nil {
		return fmt.Errorf("%s: %s", d.file, message)
	}
	return d.fail(body, "%s", message)
}

// fieldError is a value that its field cannot take.
type fieldError struct {
	node    ast.Node
	message string
}

func (e *fieldError) Error() string { return e.message }

// names are the keys of an enum as people write them, in order of their numbers.
func names(prefix string, values map[string]int32) []string {
	keys := make([]string, 0, len(values))
	for name, number := range values {
		if number != 0 {
			keys = append(keys, strings.TrimPrefix(name, prefix))
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return int(values[prefix+a] - values[prefix+b]) })
	return keys
}
