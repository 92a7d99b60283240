package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/heliosdb/metadata/cdc/record"
)

const (
	// minPause and maxPause are between attempts; they grow by half each time, give or take
	// a half by chance.
	minPause = 100 * time.Millisecond
	maxPause = 30 * time.Second
	// maxBusy bounds how long a sink can ask to be left alone.
	maxBusy = 5 * time.Minute
)

// DefaultDeadInARow is how many records in a row may go to the dead letters.
const DefaultDeadInARow = 100

// Courier delivers records to a sink.
type Courier struct {
	// Sink is where records go.
	Sink Sink
	// DeadLetters is where records go that the sink will never take; nil: such a record is
	// an error.
	DeadLetters *DeadLetters
	// DeadInARow bounds how many records in a row go there: a sink that rejects everything says
	// nothing about the records. 0: DefaultDeadInARow.
	DeadInARow int
	// Metrics count; nil: nobody does.
	Metrics *Metrics
	// Log is told of what is tried again and what is given up; nil: nobody is.
	Log *slog.Logger
	// Sleep waits, unless the context ends first; nil: on the clock.
	Sleep func(ctx context.Context, d time.Duration) error

	deadInARow int
}

// Deliver returns when all records are where they belong, or among the dead letters. It
// tries for as long as it takes, without end: bound it by the context. It fails for that
// context's end, for a sink that is broken, and for a record that is rejected when there
// are no dead letters or too many in a row.
func (c *Courier) Deliver(ctx context.Context, records []record.Record) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = minPause, maxPause
	together := len(records) // how many are tried at once
	failed := 0              // attempts since the last success
	for len(records) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := c.Sink.Send(ctx, records[:min(together, len(records))])
		if n > 0 {
			c.Metrics.delivered(records[:n])
			if failed > 0 {
				c.log().Info("a delivery succeeded", "change", records[0].ID, "failed_before", failed)
			}
			pause.Reset()
			c.deadInARow, failed = 0, 0
			together = min(2*together, len(records)) // after a rejection, up to all of them again
		}
		records = records[n:]
		rejected, isRejected := errors.AsType[*RejectedError](err)
		switch {
		case err == nil:
		case isRejected && rejected.Records > 1:
			together = rejected.Records / 2 // until the one to blame is alone
		case isRejected:
			if err := c.bury(records[0], rejected); err != nil {
				return err
			}
			records = records[1:]
		default:
			failed++
			if err := c.wait(ctx, err, pause.NextBackOff(), records[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

// bury puts a record among the dead letters.
func (c *Courier) bury(r record.Record, why *RejectedError) error {
	if c.DeadLetters == nil {
		return fmt.Errorf("change %s was %w; to go on without such changes, say where they go with --dead-letters", r.ID, why)
	}
	if most := cmp.Or(c.DeadInARow, DefaultDeadInARow); c.deadInARow == most {
		return fmt.Errorf("change %s was %w; it stays where it is, because the %d changes before it went to the dead letters already: "+
			"see to the target, or allow more with --dead-letters-in-a-row", r.ID, why, most)
	}
	if err := c.DeadLetters.Append(r, why.Reason); err != nil {
		return err
	}
	c.deadInARow++
	c.Metrics.buried()
	c.log().Warn("a change went to the dead letters", "change", r.ID, "reason", why.Reason)
	return nil
}

// wait waits before another attempt, unless none can help.
func (c *Courier) wait(ctx context.Context, why error, pause time.Duration, next record.Record) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, broken := errors.AsType[*BrokenError](why); broken {
		return why
	}
	if busy, ok := errors.AsType[*BusyError](why); ok {
		pause = max(pause, min(busy.After, maxBusy))
	}
	c.Metrics.retried()
	c.log().Warn("a delivery failed; it is tried again", "change", next.ID, "error", why, "after", pause.Round(time.Millisecond))
	if c.Sleep != nil {
		return c.Sleep(ctx, pause)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Courier) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}
