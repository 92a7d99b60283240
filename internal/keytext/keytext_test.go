package keytext

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":       "",
		"abc":    "abc",
		"größe":  "größe",
		"0x":     "",
		"0x00fF": "\x00\xff",
		"0X41":   "0X41",
	} {
		got, err := Parse(text)
		if err != nil || string(got) != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"0x0", "0xzz", "0x00 "} {
		if key, err := Parse(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("Parse(%q) = %x, %v; want an error that names it", text, key, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for key, want := range map[string]string{
		"":                      `""`,
		"abc":                   `"abc"`,
		"\x00\xff":              "0x00ff",
		" ":                     "0x20",
		"a b":                   `"a b"`,
		"0x41":                  "0x30783431",
		strings.Repeat("a", 49): `"` + strings.Repeat("a", 48) + `"...`,
	} {
		if got := Format([]byte(key)); got != want {
			t.Errorf("Format(%q) = %s, want %s", key, got, want)
		}
	}
	// Text is shown as text only if both ends are: 0x50 beside 0x40 is no "P".
	for want, r := range map[string]*metadatav1.KeyRange{
		`["a", "k")`:   {Start: []byte("a"), End: []byte("k")},
		`["", "k")`:    {End: []byte("k")},
		`["k", end)`:   {Start: []byte("k")},
		`[0x20, 0x6b)`: {Start: []byte{0x20}, End: []byte("k")},
		`[0x6b, 0xff)`: {Start: []byte("k"), End: []byte{0xff}},
	} {
		if got := Range(r); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := Range(nil); got != `["", end)` {
		t.Errorf("got %s", got)
	}
}

// FuzzKey prints any bytes: what is printed is read as the same key.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"", "a", " ", "0x", "0x41", "\xff", "\u00e9t\u00e9", "a\"b", strings.Repeat("k", maxShown+1)} {
		f.Add([]byte(key))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		Range(&metadatav1.KeyRange{Start: key})
		shown := Format(key)
		if len(key) > maxShown {
			return
		}
		if text, err := strconv.Unquote(shown); err == nil {
			shown = text
		}
		if got, err := Parse(shown); err != nil || !bytes.Equal(got, key) {
			t.Fatalf("%x is printed as %s, which is read as %x, %v", key, shown, got, err)
		}
	})
}
