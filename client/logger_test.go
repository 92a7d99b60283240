package client

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// lines are what was logged.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// have counts the lines that have all parts.
func (l *lines) have(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.all.String()) {
		found := true
		for _, part := range parts {
			found = found && strings.Contains(line, part)
		}
		if found {
			n++
		}
	}
	return n
}

// What somebody has to set right is a warning, once, with the endpoint and what to do; what the
// client gets over by itself is for debugging.
func TestWhatIsLogged(t *testing.T) {
	refuses := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	f, c := startFakes(t, 2, done)
	logged := new(lines)
	c.log = slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	byServer(f, refuses, inCluster("aaaa", 1))
	for range 3 {
		c.preferred.Store(0)
		if err := getTableOnce(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if n := logged.have("level=WARN", f.addrs[0], "show it a token"); n != 1 {
		t.Errorf("%d warnings of an endpoint that refuses", n)
	}
	if n := logged.have("level=DEBUG", "retrying", f.addrs[0]); n != 3 {
		t.Errorf("%d of 3 retries are logged", n)
	}
	before := *c.endpoints[0].warned.Load()
	before.at = time.Now().Add(-2 * warnInterval)
	c.endpoints[0].warned.Store(&before)
	c.preferred.Store(0)
	if err := getTableOnce(t, c); err != nil || logged.have("level=WARN", "show it a token") != 2 {
		t.Errorf("an endpoint that refuses still is not warned of any more: %v", err)
	}
	byServer(f, inCluster("bbbb", 1), inCluster("aaaa", 1))
	c.preferred.Store(0)
	if err := getTableOnce(t, c); err != nil || logged.have("level=WARN", f.addrs[0], "name endpoints of one cluster only") != 1 {
		t.Errorf("no warning of an endpoint of another cluster: %v", err)
	}
	byServer(f, hangs, hangs)
	c.endpoints[0].foreign.Store(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*minSilent)
	defer cancel()
	if _, err := c.GetTable(ctx, &metadatav1.GetTableRequest{}); err == nil || logged.have("level=WARN", "silent") == 0 {
		t.Errorf("no warning of an endpoint that is silent: %v", err)
	}
}
