// Package keytext is how people write and read keys: UTF-8 text as it is, any
// other bytes as hexadecimal digits after "0x".
//
// The service's messages and the command line both write keys like this, so that
// what one prints the other takes. The functions are pure. Parse refuses digits
// that are none; what Format prints is for Parse too, but for the quotes around
// text and the dots behind a long key.
package keytext

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxShown is how many bytes of a key are printed; more would hide the rest of
// the line.
const maxShown = 48

// Parse reads a key. Text that itself begins with "0x" has to be written in hex.
func Parse(text string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(text, "0x")
	if !isHex {
		return []byte(text), nil
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("key %q: %d characters behind 0x are no pairs of hexadecimal digits; write text, or two digits for each byte", text, len(digits))
	}
	return key, nil
}

// Format prints a key: in quotes if it is printable text, in hex otherwise.
func Format(key []byte) string { return format(key, isText(key)) }

func format(key []byte, asText bool) string {
	shown, rest := key, ""
	if len(key) > maxShown {
		shown, rest = key[:maxShown], "..."
	}
	if asText {
		return strconv.Quote(string(shown)) + rest
	}
	return "0x" + hex.EncodeToString(shown) + rest
}

// Range prints a range; nil is the range of all keys. Its ends are printed alike,
// as text only if both are: 0x50 beside 0x40 is no "P".
func Range(r *metadatav1.KeyRange) string {
	asText := isText(r.GetStart()) && isText(r.GetEnd())
	start, end := format(r.GetStart(), asText || len(r.GetStart()) == 0), "end"
	if len(r.GetEnd()) > 0 {
		end = format(r.GetEnd(), asText)
	}
	return "[" + start + ", " + end + ")"
}

// isText tells text from bytes that happen to be printable, such as a lone 0x20.
func isText(key []byte) bool {
	text := string(key)
	return text == "" || utf8.ValidString(text) && !strings.HasPrefix(text, "0x") &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) &&
		strings.ContainsFunc(text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}
