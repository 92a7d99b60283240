package feed_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heliosdb/metadata/feed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var errOver = errors.New("over")

// crowd is subscribers that are served at a time.
type crowd struct {
	m      *member
	ctx    context.Context
	cancel context.CancelCauseFunc
	active sync.WaitGroup
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{m: newMember(t, 100)}
	c.m.now = time.Now()
	c.ctx, c.cancel = context.WithCancelCause(t.Context())
	return c
}

func (c *crowd) serve(req *metadatav1.SubscribeRequest, send func(feed.Frame) error) {
	s := c.m.subscribe(req)
	c.active.Go(func() {
		if err := feed.Serve(c.ctx, s, send, bubbleClock{}); !errors.Is(err, errOver) {
			c.m.t.Errorf("serving ended with %v", err)
		}
	})
}

func (c *crowd) end() {
	c.cancel(errOver)
	c.active.Wait()
}

// A change wakes a few subscribers at a time, and all of them in the end.
func TestFewSubscribersRunAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		const subscribers = 500
		var running, most, heard atomic.Int64
		for range subscribers {
			c.serve(after(0, 0), func(f feed.Frame) error {
				if f.Message().GetChanges() == nil {
					return nil
				}
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Microsecond) // the others run meanwhile
				running.Add(-1)
				heard.Add(1)
				return nil
			})
		}
		synctest.Wait()
		began := time.Now()
		c.m.commit(table("public", "t"))
		time.Sleep(500 * time.Microsecond)
		if n := heard.Load(); n != subscribers {
			t.Errorf("%d of %d subscribers have heard of a change after %v", n, subscribers, time.Since(began))
		}
		if n := most.Load(); n > turns() {
			t.Errorf("%d subscribers ran at a time", n)
		}
		c.end()
	})
}

// serveStuck serves a subscriber that is stuck in sending its first changes until the end.
func (c *crowd) serveStuck() {
	c.serve(after(0, 0), func(f feed.Frame) error {
		if f.Message().GetChanges() == nil {
			return nil
		}
		<-c.ctx.Done()
		return context.Cause(c.ctx)
	})
}

// However many subscribers are stuck in sending, the others hear of every change: once
// all turns are taken by such, they are given up.
func TestStuckSubscribersKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for range 300 {
			c.serveStuck()
		}
		synctest.Wait() // they come first
		frames := make(chan string, 100)
		c.serve(after(0, 0), func(f feed.Frame) error {
			frames <- show([]*metadatav1.SubscribeResponse{f.Message()})
			return nil
		})
		synctest.Wait()
		for i := range 10 {
			began := time.Now()
			c.m.commit(table("public", "t"))
			if got, want := <-frames, fmt.Sprint("s", i+1); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			if took := time.Since(began); took > 300*5*time.Millisecond || i > 0 && took > 0 {
				t.Errorf("change %d was heard of after %v", i+1, took)
			}
		}
		c.end()
	})
}

// Some that are stuck take their turns from the others for a moment only, though one turn
// after the other ends beside them.
func TestSomeStuckSubscribersDoNotSlowTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for range turns() - 1 {
			c.serveStuck()
		}
		synctest.Wait() // they come first
		const others, each = 1000, 4 * time.Millisecond
		var heard atomic.Int64
		for range others {
			c.serve(after(0, 0), func(f feed.Frame) error {
				if f.Message().GetChanges() != nil {
					time.Sleep(each)
					heard.Add(1)
				}
				return nil
			})
		}
		synctest.Wait()
		c.m.commit(table("public", "t"))
		time.Sleep(others * each / time.Duration(turns()) * 3 / 2)
		if n := heard.Load(); n != others {
			t.Errorf("%d of %d subscribers have heard of a change in time for all", n, others)
		}
		c.end()
	})
}

// turns is how many have their turn at a time.
func turns() int64 { return int64(max(8, 4*runtime.GOMAXPROCS(0))) }

// Who follows one stream is not woken for the other, and bookmarks come in time for
// those who wait for a change.
func TestOnlyWhoFollowsIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		req := after(0, 0)
		req.Filter = &metadatav1.Filter{Streams: []metadatav1.Stream{topology}}
		frames := make(chan string, 100)
		c.serve(req, func(f feed.Frame) error {
			frames <- show([]*metadatav1.SubscribeResponse{f.Message()})
			return nil
		})
		begin := time.Now()
		for i := range 3 {
			synctest.Wait()
			c.m.commit(table("public", "t"))
			if got, want := <-frames, "mark:0/0"; got != want || time.Since(begin) != time.Duration(i+1)*time.Second {
				t.Errorf("got %q after %v, want %q after %d s", got, time.Since(begin), want, i+1)
			}
		}
		c.m.commit(moved(1, "a", "b"))
		if got := <-frames; got != "t1" || time.Since(begin) != 3*time.Second {
			t.Errorf("got %q after %v", got, time.Since(begin))
		}
		c.end()
	})
}

// What a subscriber costs for each change is bounded, whatever their number: the frame,
// its message and its encoding are shared.
func TestFanOutAllocatesNothingForEachSubscriber(t *testing.T) {
	m := newMember(t, 1000)
	req := after(0, 0)
	req.Filter = &metadatav1.Filter{Streams: []metadatav1.Stream{schema}} // as much as no filter
	subs := make([]*feed.Subscription, 100)
	for i := range subs {
		subs[i] = m.subscribe(req)
	}
	m.commit(table("public", "t"))
	round := func() {
		for _, s := range subs {
			f, _, err := s.Next(m.now)
			if err != nil || f.Message() == nil {
				t.Fatal(f, err)
			}
			if _, err := f.Encoded(); err != nil {
				t.Fatal(err)
			}
			if f, _, err = s.Next(m.now); err != nil || f.Message() != nil {
				t.Fatal(f, err)
			}
		}
	}
	round() // they wait from now on
	alone := testing.AllocsPerRun(20, func() { m.commit(table("public", "t")) })
	for range 21 {
		m.commit(table("public", "t"))
	}
	round()
	all := testing.AllocsPerRun(20, func() {
		m.commit(table("public", "t"))
		round()
	})
	if perFrame := all - alone; perFrame > 20 {
		t.Errorf("a change for 100 subscribers allocates %v times beyond the %v of committing it", perFrame, alone)
	}
}

// BenchmarkFanOut steps 1,000 subscriptions over one change.
func BenchmarkFanOut(b *testing.B) {
	m := newMember(b, 1000)
	subs := make([]*feed.Subscription, 1000)
	for i := range subs {
		subs[i] = m.subscribe(after(0, 0))
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m.commit(table("public", "t"))
		b.StartTimer()
		for _, s := range subs {
			for {
				f, _, err := s.Next(m.now)
				if err != nil {
					b.Fatal(err)
				}
				if f.Message() == nil {
					break
				}
				if _, err := f.Encoded(); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
