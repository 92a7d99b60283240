package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
)

// Who comes together asks once; nobody is given the answer to a question that was asked
// before he came.
func TestQuestionsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sharing
		var questions atomic.Int64
		ask := func(context.Context) (int64, error) {
			n := questions.Add(1)
			time.Sleep(time.Second)
			return n, nil
		}
		var work sync.WaitGroup
		for i := range 101 {
			work.Go(func() {
				want := int64(2)
				if i == 0 {
					want = 1
				} else {
					time.Sleep(time.Duration(i) * time.Millisecond) // the first question is under way
				}
				if n, err := shared(t.Context(), &s, time.Minute, "k", ask); n != want || err != nil {
					t.Errorf("number %d is given answer %d, %v; want %d", i, n, err, want)
				}
			})
		}
		work.Wait()
		if n := questions.Load(); n != 2 || len(s.asked) != 0 {
			t.Fatalf("it took %d questions, %d are left", n, len(s.asked))
		}
	})
}

// Who gives up costs the others nothing but time: another one asks. What is refused is
// refused for all.
func TestAQuestionThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sharing
		hangs := func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", asConnect(ctx.Err())
		}
		within := func(d time.Duration, ask func(context.Context) (string, error)) (string, error) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			return shared(ctx, &s, time.Minute, "k", ask)
		}
		var work sync.WaitGroup
		for i, d := range []time.Duration{time.Second, 2 * time.Second, 500 * time.Millisecond} {
			work.Go(func() { // the second waits for the first, the third shares the second's
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, err := within(d, hangs); !IsUnavailable(err) {
					t.Errorf("number %d: %v", i, err)
				}
			})
		}
		work.Go(func() {
			time.Sleep(100 * time.Millisecond)
			got, err := within(time.Hour, func(context.Context) (string, error) { return "answer", nil })
			if got != "answer" || err != nil {
				t.Errorf("the patient one is given %q, %v", got, err)
			}
		})
		work.Wait()
		refused := connect.NewError(connect.CodeNotFound, errors.New("there is none"))
		started := time.Now()
		for range 10 {
			work.Go(func() {
				_, err := within(time.Minute, func(context.Context) (string, error) {
					time.Sleep(time.Second)
					return "", refused
				})
				if !IsNotFound(err) {
					t.Errorf("refused: %v", err)
				}
			})
		}
		work.Wait()
		if took := time.Since(started); took != 2*time.Second || len(s.asked) != 0 {
			t.Errorf("ten took %v, %d questions are left", took, len(s.asked))
		}
		_, err := shared(t.Context(), &s, 3*time.Second, "k", hangs)
		if !IsUnavailable(err) {
			t.Errorf("without a deadline: %v", err)
		}
	})
}

// One that is given up before its turn leaves the way free.
func TestAQuestionThatIsGivenUpBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sharing
		var work sync.WaitGroup
		slow := func(context.Context) (int, error) { time.Sleep(time.Second); return 1, nil }
		work.Go(func() { _, _ = shared(t.Context(), &s, time.Minute, "k", slow) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := shared(ctx, &s, time.Minute, "k", slow); !IsUnavailable(err) {
			t.Errorf("given up: %v", err)
		}
		if n, err := shared(t.Context(), &s, time.Minute, "k", slow); n != 1 || err != nil {
			t.Errorf("the next one is given %d, %v", n, err)
		}
		work.Wait()
		if len(s.asked) != 0 {
			t.Errorf("%d questions are left", len(s.asked))
		}
	})
}
