package sqltype

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// SyntaxError says what is wrong with a type's text and where.
type SyntaxError struct {
	Text        string // what was parsed
	Offset      int    // in bytes, from 0
	Description string // with what was found, and what would be right
}

// Error names the character, counted from 1.
func (e *SyntaxError) Error() string {
	text := e.Text
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "..."
	}
	return fmt.Sprintf("character %d of %q: %s", utf8.RuneCountInString(e.Text[:e.Offset])+1, text, e.Description)
}

// Parse reads a type's text. The result passes Check. Errors are *SyntaxError.
func Parse(text string) (*metadatav1.DataType, error) {
	p := &parser{text: text}
	if len(text) > MaxTextBytes {
		return nil, p.fail(0, "the text has %d bytes; at most %d are allowed", len(text), MaxTextBytes)
	}
	t, err := p.parseType(1)
	if err != nil {
		return nil, err
	}
	if tok := p.next(); tok.kind != end {
		return nil, p.fail(tok.offset, "%s is left over behind the type", tok)
	}
	return t, nil
}

// parser is a cursor over the text; one token of it can be put back.
type parser struct {
	text   string
	offset int
}

func (p *parser) fail(offset int, format string, args ...any) error {
	return &SyntaxError{Text: p.text, Offset: offset, Description: fmt.Sprintf(format, args...)}
}

// parseType reads one type. The depth limit bounds the recursion.
func (p *parser) parseType(depth int) (*metadatav1.DataType, error) {
	tok := p.next()
	if tok.kind != word {
		return nil, p.fail(tok.offset, "a type is expected, not %s", tok)
	}
	if depth > MaxDepth {
		return nil, p.fail(tok.offset, "the type is nested deeper than %d levels", MaxDepth)
	}
	kind, ok := kindsByName[strings.ToUpper(tok.text)]
	if !ok {
		return nil, p.fail(tok.offset, "there is no type %s; there are %s", tok.text, allNames())
	}
	t := &metadatav1.DataType{Kind: kind}
	if err := p.parseParameters(t, tok, depth); err != nil {
		return nil, err
	}
	if problem := checkNode(t); problem != nil {
		return nil, p.fail(tok.offset, "%s", problem.Description)
	}
	return t, nil
}

func (p *parser) parseParameters(t *metadatav1.DataType, name token, depth int) (err error) {
	switch t.Kind {
	case metadatav1.TypeKind_TYPE_KIND_DECIMAL:
		return p.parseNumbers(name, "a precision and a scale, as in DECIMAL(15, 2)", &t.Precision, &t.Scale)
	case metadatav1.TypeKind_TYPE_KIND_VECTOR:
		return p.parseNumbers(name, "its number of components, as in VECTOR(768)", &t.Dimensions)
	case metadatav1.TypeKind_TYPE_KIND_TIMESTAMP:
		return p.parseZone(t)
	case metadatav1.TypeKind_TYPE_KIND_LIST:
		if err := p.expect("<"); err != nil {
			return err
		}
		if t.Element, err = p.parseType(depth + 1); err != nil {
			return err
		}
		return p.expect(">")
	case metadatav1.TypeKind_TYPE_KIND_MAP:
		return p.parseMap(t, depth)
	case metadatav1.TypeKind_TYPE_KIND_STRUCT:
		return p.parseStruct(t, depth)
	}
	if tok := p.peek(); tok.kind == symbol && tok.text == "(" {
		return p.fail(tok.offset, "%s takes no parameters", strings.ToUpper(name.text))
	}
	return nil
}

// parseNumbers reads "(a)" or "(a, b)"; numbers behind the first may be absent.
func (p *parser) parseNumbers(name token, want string, into ...*uint32) error {
	if tok := p.peek(); tok.text != "(" {
		return p.fail(tok.offset, "%s needs %s", strings.ToUpper(name.text), want)
	}
	p.next()
	for i, n := range into {
		tok := p.next()
		v, err := strconv.ParseUint(tok.text, 10, 32)
		if tok.kind != number || err != nil {
			return p.fail(tok.offset, "a number below 4294967296 is expected, not %s", tok)
		}
		*n = uint32(v)
		if tok := p.peek(); tok.text != "," || i == len(into)-1 {
			break
		}
		p.next()
	}
	return p.expect(")")
}

// parseZone reads what may follow TIMESTAMP.
func (p *parser) parseZone(t *metadatav1.DataType) error {
	switch {
	case p.accept("WITH"):
		t.Kind = metadatav1.TypeKind_TYPE_KIND_TIMESTAMP_TZ
	case p.accept("WITHOUT"):
	default:
		if tok := p.peek(); tok.text == "(" {
			return p.fail(tok.offset, "TIMESTAMP takes no parameters")
		}
		return nil
	}
	if err := p.expect("TIME"); err != nil {
		return err
	}
	return p.expect("ZONE")
}

func (p *parser) parseMap(t *metadatav1.DataType, depth int) (err error) {
	if err := p.expect("<"); err != nil {
		return err
	}
	key := p.peek()
	if t.Key, err = p.parseType(depth + 1); err != nil {
		return err
	}
	if !canBeKey(t.Key.Kind) {
		return p.fail(key.offset, "%s", checkNode(t).Description)
	}
	if err := p.expect(","); err != nil {
		return err
	}
	if t.Element, err = p.parseType(depth + 1); err != nil {
		return err
	}
	return p.expect(">")
}

func (p *parser) parseStruct(t *metadatav1.DataType, depth int) error {
	if err := p.expect("<"); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for {
		name := p.next()
		if name.kind != word && name.kind != quoted {
			return p.fail(name.offset, "the name of a field is expected, not %s", name)
		}
		if len(t.Fields) == MaxFields {
			return p.fail(name.offset, "a STRUCT has at most %d fields", MaxFields)
		}
		if description := checkFieldName(name.text); description != "" {
			return p.fail(name.offset, "%s", description)
		}
		if seen[name.text] {
			return p.fail(name.offset, "the STRUCT has a field %q already", name.text)
		}
		seen[name.text] = true
		f := &metadatav1.StructField{Name: name.text, Nullable: true}
		t.Fields = append(t.Fields, f)
		var err error
		if f.DataType, err = p.parseType(depth + 1); err != nil {
			return err
		}
		if p.accept("NOT") {
			if err := p.expect("NULL"); err != nil {
				return err
			}
			f.Nullable = false
		} else {
			p.accept("NULL")
		}
		if p.accept(",") {
			continue
		}
		return p.expect(">")
	}
}

// accept consumes the next token if it is this symbol or, in any case, word.
func (p *parser) accept(text string) bool {
	tok := p.peek()
	if tok.kind == quoted || !strings.EqualFold(tok.text, text) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(text string) error {
	tok := p.peek()
	if !p.accept(text) {
		return p.fail(tok.offset, "%q is expected, not %s", text, tok)
	}
	return nil
}
