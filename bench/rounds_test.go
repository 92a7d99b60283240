package main

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func roundsOf(pairs ...[2]float64) []round {
	var list []round
	for _, p := range pairs {
		list = append(list, round{figure{opsPerSec: p[0]}, figure{opsPerSec: p[1]}})
	}
	return list
}

func TestRatioIsTheMedianRoundByRound(t *testing.T) {
	l := line{metric: opsPerSec, target: 2}
	// The machine doubles its speed on the way: medians of each side would give another ratio.
	c := l.compare(roundsOf([2]float64{200, 100}, [2]float64{210, 100}, [2]float64{440, 200}, [2]float64{600, 200}, [2]float64{380, 200}))
	if c.Ratio == nil || c.Ratio.Median != 2.1 || c.Ratio.Min != 1.9 || c.Ratio.Max != 3 {
		t.Errorf("ratio %+v, want 2.1 [1.9..3]", c.Ratio)
	}
	if c.Met == nil || !*c.Met {
		t.Error("2.1 is not taken for at least 2")
	}
	if c.A.Median != 380 || c.B.Median != 200 {
		t.Errorf("medians %v and %v, want 380 and 200", c.A.Median, c.B.Median)
	}
}

func TestNoRatioFromFewRounds(t *testing.T) {
	l := line{metric: opsPerSec, target: 1}
	c := l.compare(roundsOf([2]float64{2, 1}, [2]float64{2, 1}, [2]float64{2, 1}, [2]float64{2, 1}))
	if c.Ratio != nil || c.Met != nil || c.Note == "" {
		t.Errorf("4 rounds gave %+v", c)
	}
	if c.A == nil || c.A.Median != 2 {
		t.Error("the figures themselves are not shown")
	}
}

func TestLessIsBetterAndAbsolute(t *testing.T) {
	same := [2]float64{5, 10}
	five := roundsOf(same, same, same, same, same)
	if c := (line{metric: opsPerSec, lower: true, target: 0.5}).compare(five); !*c.Met {
		t.Error("0.5 is not taken for at most 0.5")
	}
	if c := (line{metric: opsPerSec, lower: true, target: 0.4}).compare(five); *c.Met {
		t.Error("0.5 is taken for at most 0.4")
	}
	c := (line{metric: opsPerSec, absolute: true, target: 5}).compare(five)
	if c.Ratio != nil || c.B != nil || !*c.Met {
		t.Errorf("an absolute line: %+v", c)
	}
	if c := (line{metric: opsPerSec, target: math.NaN()}).compare(five); c.Met != nil || c.Target != nil {
		t.Errorf("a line without a target: %+v", c)
	}
}

func TestNoisyRoundsAreRepeated(t *testing.T) {
	noise := []float64{0, 0.9, 0, 0.5, 0.1, 0, 0}
	e := &env{maxForeign: 0.25, say: func(string, ...any) {}}
	calls := 0
	rounds, repeats, err := e.run(t.Context(), "row", 5, time.Minute, func(context.Context) (round, error) {
		calls++
		return round{a: figure{opsPerSec: float64(calls), foreign: noise[calls-1]}}, nil
	}, nil)
	if err != nil || len(rounds) != 5 || repeats != 2 || calls != 7 {
		t.Errorf("%d rounds, %d repeats, %d calls, %v; want 5, 2, 7", len(rounds), repeats, calls, err)
	}
	calls = 0
	renewed := 0
	noisy := func(context.Context) (round, error) {
		calls++
		return round{a: figure{foreign: 1}}, nil
	}
	_, repeats, err = e.run(t.Context(), "row", 5, time.Minute, noisy, func() (pair, error) { renewed++; return noisy, nil })
	if err != nil || repeats != maxRepeats || calls != 5+maxRepeats || renewed != maxRepeats {
		t.Errorf("on a machine that is never quiet: %d repeats, %d calls, %d times renewed, %v", repeats, calls, renewed, err)
	}
	lost := errors.New("no cluster")
	if _, _, err = e.run(t.Context(), "row", 5, time.Minute, noisy, func() (pair, error) { return nil, lost }); !errors.Is(err, lost) {
		t.Errorf("a row that cannot be renewed: %v", err)
	}
}

func TestRoundsAreBounded(t *testing.T) {
	e := &env{say: func(string, ...any) {}}
	hangs := func(ctx context.Context) (round, error) { <-ctx.Done(); return round{}, ctx.Err() }
	rounds, _, err := e.run(t.Context(), "row", 5, 10*time.Millisecond, hangs, nil)
	if len(rounds) != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d rounds, %v", len(rounds), err)
	}
}

func TestBusyOf(t *testing.T) {
	if got := busyOf("cpu  100 1 50 9999 9999 2 3 4 77 88"); got != 1600*time.Millisecond {
		t.Errorf("%v, want 1.6s", got)
	}
}
