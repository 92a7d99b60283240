package moment

import (
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 10, 8, 0, 0, 0, time.FixedZone("", 3600))

func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		"2026-03-04T12:00:00Z":           "2026-03-04T12:00:00Z",
		"2026-03-04T12:00:00.5+02:00":    "2026-03-04T10:00:00.5Z",
		"2026-03-04":                     "2026-03-04T00:00:00Z",
		"now":                            "2026-03-10T07:00:00Z",
		"yesterday":                      "2026-03-09T07:00:00Z",
		"3d":                             "2026-03-07T07:00:00Z",
		"3d ago":                         "2026-03-07T07:00:00Z",
		"2h":                             "2026-03-10T05:00:00Z",
		"2h30m ago":                      "2026-03-10T04:30:00Z",
		"1w1d1h":                         "2026-03-02T06:00:00Z",
		"0s":                             "2026-03-10T07:00:00Z",
		"10000w":                         "1834-07-15T07:00:00Z",
		"2026-03-04T12:00:00.123456789Z": "2026-03-04T12:00:00.123456789Z",
	} {
		if got, err := Time(text, now); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v, %v; want %s", text, got.Format(time.RFC3339Nano), err, want)
		}
	}
	for _, text := range []string{
		"", "12", "tomorrow", "3", "d", "-3d", "+3d", "3d-1h", "+1h", "-1h", "1.5d", "3dd", "1d1w", "2026-13-04", "2026-03-04 12:00", "9999999999999w",
		"10500w9999d", "3000000h", "ago", " ago",
	} {
		if got, err := Time(text, now); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		} else if !strings.Contains(err.Error(), "write a time such as") {
			t.Errorf("%q: %v does not say what to write", text, err)
		}
	}
}

func TestPoints(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "12": "12", "18446744073709551615": "18446744073709551615", "1d": "2026-03-09T07:00:00Z", "2026-03-04T12:00:00.25Z": "2026-03-04T12:00:00.25Z",
	} {
		if got, err := Point(text, now); err != nil || Show(got) != want {
			t.Errorf("%s: %v, %v", text, Show(got), err)
		}
	}
	for _, text := range []string{"", "-1", "12:4", "18446744073709551616", "soon"} {
		if got, err := Point(text, now); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	if Show(nil) != "now" {
		t.Errorf("nil is shown as %s", Show(nil))
	}
}
