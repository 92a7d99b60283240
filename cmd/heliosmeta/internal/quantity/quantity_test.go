package quantity

import (
	"strings"
	"testing"
	"time"
)

func TestAges(t *testing.T) {
	for text, want := range map[string]struct {
		age   time.Duration
		shown string
	}{
		"0": {0, "0"}, "0s": {0, "0"}, "30d": {720 * time.Hour, "30d"}, "720h": {720 * time.Hour, "30d"},
		"1w": {168 * time.Hour, "7d"}, "1d12h": {36 * time.Hour, "36h0m0s"}, "90m": {90 * time.Minute, "1h30m0s"},
	} {
		var a, again Age
		if err := a.Set(text); err != nil || time.Duration(a) != want.age || a.String() != want.shown {
			t.Errorf("%s is %v, shown as %s, %v", text, time.Duration(a), a, err)
		}
		if err := again.Set(a.String()); err != nil || again != a {
			t.Errorf("%s is shown as %s, which is %s, %v", text, a, again, err)
		}
	}
	for _, text := range []string{"", "30", "-1h", "d", "1.5d", "3 days", "99999999w"} {
		var a Age
		if err := a.Set(text); err == nil || !strings.Contains(err.Error(), "such as 30d") {
			t.Errorf("%q is %v, %v", text, a, err)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]struct {
		bytes uint64
		shown string
	}{
		"0": {0, "0"}, "1000": {1000, "1000"}, "1024": {1024, "1KiB"}, "10GiB": {10 << 30, "10GiB"}, "1536MiB": {1536 << 20, "1536MiB"},
		"1PiB": {1 << 50, "1PiB"}, "18446744073709551615": {1<<64 - 1, "18446744073709551615"},
	} {
		var b, again Bytes
		if err := b.Set(text); err != nil || uint64(b) != want.bytes || b.String() != want.shown {
			t.Errorf("%s is %d, shown as %s, %v", text, uint64(b), b, err)
		}
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%s is shown as %s, which is %s, %v", text, b, again, err)
		}
	}
	for _, text := range []string{"", "-1", "GiB", "1.5GiB", "10 GiB", "10GB", "10gib", "18446744073709551616", "16384PiB", "99999999PiB"} {
		var b Bytes
		if err := b.Set(text); err == nil || !strings.Contains(err.Error(), "such as 1000000, 512MiB") {
			t.Errorf("%q is %d, %v", text, uint64(b), err)
		}
	}
}
