package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What a member's metrics say of its checkpoints of the schema.
const (
	checkpointCount = `heliosmeta_checkpoints_total{stream="schema"}`
	checkpointTook  = `heliosmeta_checkpoint_last_duration_seconds{stream="schema"}`
	metricsEvery    = 50 * time.Millisecond
	metricsLimit    = time.Second
)

// span is the time during which a checkpoint was written.
type span struct{ from, until time.Time }

// inAny reports whether an operation was under way in one of the spans.
func inAny(spans []span, from, until time.Time) bool {
	for _, s := range spans {
		if from.Before(s.until) && until.After(s.from) {
			return true
		}
	}
	return false
}

// watchCheckpoints looks at a member's metrics until the context ends and then sends when
// it wrote checkpoints. An end is known as exactly as it is looked at.
func watchCheckpoints(ctx context.Context, address string) <-chan []span {
	out := make(chan []span, 1)
	go func() {
		var spans []span
		client := &http.Client{Timeout: metricsLimit}
		defer client.CloseIdleConnections()
		defer func() { out <- spans }()
		known := -1.0
		for ctx.Err() == nil {
			now := time.Now()
			count, took, ok := readCheckpoints(ctx, client, "http://"+address+"/metrics")
			if ok && known >= 0 && count > known {
				length := time.Duration(took * float64(time.Second))
				spans = append(spans, span{now.Add(-length - metricsEvery), now})
			}
			if ok {
				known = count
			}
			select {
			case <-time.After(metricsEvery):
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func readCheckpoints(ctx context.Context, client *http.Client, url string) (count, took float64, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, 0, false
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, 0, false
	}
	defer res.Body.Close()
	return parseCheckpoints(res.Body)
}

func parseCheckpoints(text io.Reader) (count, took float64, ok bool) {
	found := 0
	for lines := bufio.NewScanner(text); lines.Scan(); {
		for name, to := range map[string]*float64{checkpointCount: &count, checkpointTook: &took} {
			rest, is := strings.CutPrefix(lines.Text(), name+" ")
			if !is {
				continue
			}
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				return 0, 0, false
			}
			*to = v
			found++
		}
	}
	return count, took, found == 2
}
