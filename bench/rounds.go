package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// leastRounds is how many rounds a ratio needs: fewer say more about the machine's mood
// than about the systems.
const leastRounds = 5

// line is one comparison that a row prints.
type line struct {
	title  string
	metric string
	unit   string
	lower  bool    // less is better
	target float64 // of the ratio, or of the figure itself if absolute; NaN: none
	// absolute lines are about ours alone.
	absolute bool
}

// spread is figures of several rounds.
type spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Rounds []float64 `json:"rounds"`
}

func spreadOf(values []float64) *spread {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return &spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1], Rounds: values}
}

// round is what one round measured on both sides, one directly after the other.
type round struct{ a, b figure }

// compared is a line with its figures.
type compared struct {
	Title  string   `json:"title"`
	Unit   string   `json:"unit"`
	Lower  bool     `json:"less_is_better"`
	Target *float64 `json:"target"`
	A      *spread  `json:"a"`
	B      *spread  `json:"b,omitempty"`
	// Ratio is of A over B within each round; null without enough rounds.
	Ratio *spread `json:"ratio,omitempty"`
	Met   *bool   `json:"met"`
	Note  string  `json:"note,omitempty"`
}

// compare puts rounds into a line.
func (l line) compare(rounds []round) compared {
	c := compared{Title: l.title, Unit: l.unit, Lower: l.lower}
	if !math.IsNaN(l.target) {
		c.Target = &l.target
	}
	var a, b, ratios []float64
	for _, r := range rounds {
		va, okA := r.a[l.metric]
		if !okA {
			continue
		}
		a = append(a, va)
		vb, okB := r.b[l.metric]
		if l.absolute || !okB {
			continue
		}
		b = append(b, vb)
		if vb > 0 {
			ratios = append(ratios, va/vb)
		}
	}
	c.A, c.B = spreadOf(a), spreadOf(b)
	decides := a
	if !l.absolute {
		decides = ratios
	}
	if len(decides) < leastRounds {
		c.Note = fmt.Sprintf("needs %d rounds, has %d", leastRounds, len(decides))
		return c
	}
	judged := spreadOf(decides)
	if !l.absolute {
		c.Ratio = judged
	}
	if c.Target != nil {
		met := judged.Median >= l.target
		if l.lower {
			met = judged.Median <= l.target
		}
		c.Met = &met
	}
	return c
}

// pair measures one round.
type pair func(ctx context.Context) (round, error)

// maxRepeats is how many rounds may be measured again because of what else ran.
const maxRepeats = 5

// run measures rounds of a pair. A round in which something else used the machine is
// measured again, a few times at most, after renew if that is given: what such rounds leave
// behind adds up. What was measured before an error counts.
func (e *env) run(
	ctx context.Context, name string, n int, limit time.Duration, one pair, renew func() (pair, error),
) (rounds []round, repeats int, err error) {
	for len(rounds) < n {
		r, err := bounded(ctx, limit, one)
		if err != nil {
			return rounds, repeats, fmt.Errorf("round %d: %w", len(rounds)+1, err)
		}
		noise := max(r.a[foreign], r.b[foreign])
		if e.maxForeign > 0 && noise > e.maxForeign && repeats < maxRepeats {
			repeats++
			e.say("%s: something else used %.2f cores; measuring round %d again", name, noise, len(rounds)+1)
			if renew != nil {
				if one, err = renew(); err != nil {
					return rounds, repeats, err
				}
			}
			continue
		}
		rounds = append(rounds, r)
		e.say("%s: round %d of %d", name, len(rounds), n)
	}
	return rounds, repeats, nil
}

// bounded measures one round within a limit.
func bounded(ctx context.Context, limit time.Duration, one pair) (round, error) {
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took more than %v", limit))
	defer cancel()
	r, err := one(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = errors.Join(context.Cause(within), err)
	}
	return r, err
}
