package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// parseColumn reads NAME TYPE [NULL | NOT NULL] [DEFAULT EXPRESSION], the keywords
// in any case.
func parseColumn(text string) (*metadatav1.ColumnSchema, error) {
	name, rest, found := strings.Cut(strings.TrimSpace(text), " ")
	if !found {
		return nil, fmt.Errorf("%q has no type; write NAME TYPE [NOT NULL] [DEFAULT EXPRESSION]", text)
	}
	c := &metadatav1.ColumnSchema{Name: name, Nullable: true}
	if at := topLevelWord(rest, "DEFAULT"); at >= 0 {
		expression := strings.TrimSpace(rest[at+len("DEFAULT"):])
		if expression == "" {
			return nil, fmt.Errorf("%q has nothing behind DEFAULT", text)
		}
		c.Default, rest = &expression, rest[:at]
	}
	rest = strings.TrimSpace(rest)
	if shorter, ok := cutLastWord(rest, "NULL"); ok {
		rest = shorter
		if shorter, ok = cutLastWord(rest, "NOT"); ok {
			rest, c.Nullable = shorter, false
		}
	}
	var err error
	if c.DataType, err = sqltype.Parse(rest); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return c, nil
}

// topLevelWord returns where a word stands outside of all brackets; -1 if it does
// not. A field of a STRUCT may have the word as its name.
func topLevelWord(text, word string) int {
	depth, start := 0, 0
	for i, r := range text + " " {
		switch {
		case r == '<' || r == '(':
			depth++
		case r == '>' || r == ')':
			depth--
		case unicode.IsSpace(r):
			if depth == 0 && strings.EqualFold(text[start:i], word) {
				return start
			}
			start = i + 1
		}
	}
	return -1
}

// cutLastWord takes the last word away if it is this one.
func cutLastWord(text, word string) (string, bool) {
	at := len(text) - len(word)
	if at <= 0 || !strings.EqualFold(text[at:], word) || !unicode.IsSpace(rune(text[at-1])) {
		return text, false
	}
	return strings.TrimSpace(text[:at]), true
}
