package sqltype

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	end tokenKind = iota
	word
	quoted
	number
	symbol
)

// token is one piece of the text; of a quoted name, text is what it means.
type token struct {
	kind   tokenKind
	text   string
	offset int // of its first byte
	length int // in the source
}

func (t token) String() string {
	if t.kind == end {
		return "the end"
	}
	return strconv.Quote(t.text)
}

func (p *parser) next() token {
	t := p.peek()
	p.offset = t.offset + t.length
	return t
}

func (p *parser) peek() token {
	at := p.offset
	for at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[at]) >= 0 {
		at++
	}
	rest := p.text[at:]
	if rest == "" {
		return token{kind: end, offset: at}
	}
	if n := scanIdentifier(rest); n > 0 {
		return token{word, rest[:n], at, n}
	}
	if n := len(rest) - len(strings.TrimLeft(rest, "0123456789")); n > 0 {
		return token{number, rest[:n], at, n}
	}
	if rest[0] == '"' {
		if text, n := scanQuoted(rest); n > 0 {
			return token{quoted, text, at, n}
		}
	}
	_, n := utf8.DecodeRuneInString(rest)
	return token{symbol, rest[:n], at, n}
}

// scanIdentifier returns the length of the identifier that s begins with.
func scanIdentifier(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c == '$' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// scanQuoted returns the name that s begins with, and its length in s; 0 if
// its closing quote is missing.
func scanQuoted(s string) (string, int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 == len(s) || s[i+1] != '"' {
			return b.String(), i + 1
		}
		b.WriteByte('"')
		i++
	}
	return "", 0
}
