package history_test

import (
	"context"
	"errors"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	"go.uber.org/goleak"
)

// fetching is a history that is read in two steps, a few changes at a time.
type fetching struct{ *historytest.Memory }

const fetchedTogether = 7

func (f fetching) Fetch(_ context.Context, from uint64, _ int) (history.Fetched, error) {
	last := min(from+fetchedTogether, f.First+uint64(len(f.Encoded))) - 1
	if from > last {
		return history.Fetched{}, nil
	}
	return history.Fetched{Last: last, Decode: func() (changes []*events.Change, err error) {
		for _, raw := range f.Encoded[from-f.First : last+1-f.First] {
			c, err := events.DecodeChange(raw)
			if err != nil {
				return changes, err
			}
			changes = append(changes, c)
		}
		return changes, nil
	}}, nil
}

// Read is not what a scan of a Fetcher uses, but for what is to be found behind damage.
func (f fetching) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	one := *f.Memory
	one.AtMost = 1
	return one.Read(ctx, from, maxBytes)
}

var _ history.Fetcher = fetching{}

func TestScanFetches(t *testing.T) {
	defer goleak.VerifyNone(t)
	whole := historytest.New(schemaStream, historytest.Tables(100, 2))
	cut := historytest.New(schemaStream, historytest.Tables(100, 2))
	cut.Encoded[49] = cut.Encoded[49][:20]
	isMissing := func(err error) bool { _, ok := errors.AsType[*history.DamagedError](err); return ok }
	isCut := func(err error) bool { _, ok := errors.AsType[*events.CorruptError](err); return ok }
	for name, c := range map[string]struct {
		of          *historytest.Memory
		first, last uint64
		end         uint64 // the last revision that it yields
		fails       func(error) bool
	}{
		"whole":             {whole, 1, 100, 100, nil},
		"from within":       {whole, 13, 100, 100, nil},
		"to within a part":  {whole, 1, 45, 45, nil},
		"one":               {whole, 100, 100, 100, nil},
		"behind the end":    {whole, 90, 103, 100, isMissing},
		"damaged":           {cut, 1, 100, 49, isCut},
		"damaged from here": {cut, 50, 100, 49, isCut},
		"before the damage": {cut, 2, 49, 49, nil}, // which is fetched with what lies before it
	} {
		t.Run(name, func(t *testing.T) {
			next, failed := c.first, error(nil)
			for changes, err := range history.Scan(t.Context(), fetching{c.of}, c.first, c.last) {
				for _, change := range changes {
					if change.Revision() != next {
						t.Fatalf("change %d comes, %d is due", change.Revision(), next)
					}
					next++
				}
				if failed != nil {
					t.Fatal("something comes behind an error")
				}
				failed = err
			}
			if next != c.end+1 {
				t.Errorf("it ended behind %d, not %d", next-1, c.end)
			}
			if c.fails == nil && failed != nil || c.fails != nil && !c.fails(failed) {
				t.Errorf("it failed with %v", failed)
			}
		})
	}
}

// TestScanEnds leaves off in the middle, and has the context end: nothing runs on.
func TestScanEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	whole := fetching{historytest.New(schemaStream, historytest.Tables(100, 2))}
	for _, err := range history.Scan(t.Context(), whole, 1, 100) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var last error
	for _, err := range history.Scan(ctx, whole, 1, 100) {
		stop()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("it ended with %v", last)
	}
}
