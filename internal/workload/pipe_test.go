package workload

import (
	"context"
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a stream that answers each request with its double, in order.
type echo struct {
	requests chan int
	answers  chan int
}

func newEcho() *echo {
	e := &echo{requests: make(chan int, 100), answers: make(chan int, 100)}
	go func() {
		defer close(e.answers)
		for n := range e.requests {
			e.answers <- 2 * n
		}
	}()
	return e
}

var errEnded = errors.New("ended")

func (e *echo) pipe() *Pipe[int, int] {
	return NewPipe(64, func(n int) error { e.requests <- n; return nil }, func() (int, error) {
		n, ok := <-e.answers
		if !ok {
			return 0, errEnded
		}
		return n, nil
	})
}

func TestPipeGivesEachItsOwnAnswer(t *testing.T) {
	e := newEcho()
	p := e.pipe()
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			for i := range 200 {
				n := caller*1000 + i
				if got, err := p.Do(t.Context(), n); err != nil || got != 2*n {
					t.Errorf("the answer to %d is %d, %v", n, got, err)
					return
				}
			}
		})
	}
	callers.Wait()
	close(e.requests)
	if err := p.Wait(); !errors.Is(err, errEnded) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := p.Do(t.Context(), 1); !errors.Is(err, errEnded) {
		t.Errorf("a call behind the end: %v", err)
	}
}

func TestPipeWithoutACallIsNotWaitedFor(t *testing.T) {
	e := newEcho()
	if err := e.pipe().Wait(); err != nil {
		t.Error(err)
	}
	close(e.requests)
}

// TestPipeSurvivesWhoGivesUp has a caller leave before its answer is there: the next one
// must not get it.
func TestPipeSurvivesWhoGivesUp(t *testing.T) {
	answers := make(chan int)
	sent := make(chan struct{}, 2)
	p := NewPipe(4, func(int) error { sent <- struct{}{}; return nil }, func() (int, error) {
		n, ok := <-answers
		if !ok {
			return 0, errEnded
		}
		return n, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Do(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that of the context", err)
	}
	second := make(chan int)
	go func() {
		n, _ := p.Do(t.Context(), 2)
		second <- n
	}()
	for range 2 { // an answer ahead of its request would be one to nothing
		<-sent
	}
	answers <- 10
	answers <- 20
	if n := <-second; n != 20 {
		t.Errorf("the second caller got %d, the first one's answer", n)
	}
	close(answers)
	_ = p.Wait()
}

func TestPipeRefusesAnswersToNothing(t *testing.T) {
	n := 0
	p := NewPipe(4, func(int) error { return nil }, func() (int, error) { n++; return n, nil })
	_, _ = p.Do(t.Context(), 1)
	if err := p.Wait(); err == nil {
		t.Error("a second answer to one request was accepted")
	}
}
