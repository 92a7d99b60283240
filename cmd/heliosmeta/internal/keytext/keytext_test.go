package keytext

import (
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
	if got := Range(&metadatav1.KeyRange{Start: []byte{0x20}, End: []byte("k")}); got != `[0x20, "k")` {
		t.Errorf("got %s", got)
	}
	if got := Range(nil); got != `["", end)` {
		t.Errorf("got %s", got)
	}
}
