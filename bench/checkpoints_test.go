package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseCheckpoints(t *testing.T) {
	text := "# HELP x\n" + checkpointCount + " 3\n" + `heliosmeta_checkpoints_total{stream="topology"} 9` + "\n" + checkpointTook + " 0.25\n"
	count, took, ok := parseCheckpoints(strings.NewReader(text))
	if !ok || count != 3 || took != 0.25 {
		t.Errorf("%v, %v, %v; want 3, 0.25", count, took, ok)
	}
	if _, _, ok := parseCheckpoints(strings.NewReader("nothing 1\n")); ok {
		t.Error("metrics without checkpoints were accepted")
	}
}

func TestInAny(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	spans := []span{{at(10), at(20)}, {at(40), at(50)}}
	for _, c := range []struct {
		from, until int
		want        bool
	}{{1, 9, false}, {5, 11, true}, {12, 13, true}, {19, 60, true}, {21, 39, false}, {49, 51, true}, {51, 52, false}} {
		if got := inAny(spans, at(c.from), at(c.until)); got != c.want {
			t.Errorf("%d to %d: %v", c.from, c.until, got)
		}
	}
}
