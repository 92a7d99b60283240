package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An outage is told once, with its endpoints, within seconds of its beginning, and so is its end.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var said bytes.Buffer // read while the watch sleeps
		var hangs, refuses atomic.Bool
		r := &reach{endpoints: []string{"h:1", "h:2"}, log: slog.New(slog.NewTextHandler(&said, nil)), ask: func(ctx context.Context) error {
			switch {
			case refuses.Load():
				return errors.New("connection refused")
			case hangs.Load():
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		var running sync.WaitGroup
		running.Go(func() { r.watch(ctx) })
		expect := func(what string, after time.Duration, parts ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			text := said.String()
			said.Reset()
			if strings.Count(text, "\n") != min(len(parts), 1) {
				t.Errorf("%s: %q", what, text)
			}
			for _, part := range parts {
				if !strings.Contains(text, part) {
					t.Errorf("%s: %q does not say %q", what, text, part)
				}
			}
		}
		const soon = reachEvery + reachPatience
		expect("all is well", time.Minute)
		hangs.Store(true)
		expect("nobody answers", soon, "WARN", "cannot be used; trying on", "h:1,h:2", "deadline exceeded")
		refuses.Store(true)
		expect("nobody answers still", time.Minute)
		hangs.Store(false)
		refuses.Store(false)
		expect("well again", soon, "can be used again", "after=1m")
		expect("still well", time.Minute)
		refuses.Store(true)
		expect("away again", soon, "cannot be used", "connection refused")
		cancel()
		running.Wait()
	})
}

// gate is where a service is, once it is open.
type gate struct {
	net.Listener
	open atomic.Bool
}

func startGate(t *testing.T, to string) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: listener}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := g.Accept()
			if err != nil {
				return
			}
			all.Go(func() { g.carry(from, to) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	return g
}

// carry carries a connection until one of its ends has ended.
func (g *gate) carry(from net.Conn, to string) {
	defer from.Close()
	if !g.open.Load() {
		return
	}
	onwards, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer onwards.Close()
	go func() {
		_, _ = io.Copy(onwards, from)
		_ = onwards.Close()
	}()
	_, _ = io.Copy(from, onwards)
}

// Whoever starts the program before the service hears so, and then that it goes on.
func TestAServiceThatIsNotThereYet(t *testing.T) {
	feed := startFeed(t)
	feed.Append(schema, 3)
	g := startGate(t, feed.Addr())
	p := startAt(t, g.Addr().String(), "--consumer", "audit", "--create", "--from", "beginning", "--to", "stdout")
	eventually(t, "people are told", func() bool { return strings.Contains(p.err.String(), "cannot be used; trying on") })
	if text := p.err.String(); !strings.Contains(text, "endpoints="+g.Addr().String()) || strings.Contains(text, "again") {
		t.Errorf("it says %s", text)
	}
	g.open.Store(true)
	eventually(t, "all acknowledged", acknowledged(feed, "audit", 3, 0))
	eventually(t, "people are told that all is well", func() bool { return strings.Contains(p.err.String(), "can be used again") })
	p.stop()
	if n := strings.Count(p.err.String(), "cannot be used"); n != 1 {
		t.Errorf("it says so %d times: %s", n, &p.err)
	}
}
