package audit_test

import (
	"testing"
	"time"

	"github.com/heliosdb/metadata/history/audit"
)

func TestSchedule(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	minute := func(m float64) time.Time { return start.Add(time.Duration(m * float64(time.Minute))) }
	both := audit.Policy{Every: 100, Within: time.Hour}
	type ask struct {
		at           float64 // minutes
		signed, head uint64
		due          bool
		next         float64 // minutes; -1: never
	}
	for name, test := range map[string]struct {
		policy audit.Policy
		asks   []ask
	}{
		"nothing to sign": {both, []ask{{0, 0, 0, false, -1}, {90, 0, 0, false, -1}, {91, 7, 7, false, -1}, {92, 9, 7, false, -1}}},
		"by count":        {both, []ask{{0, 0, 99, false, 60}, {1, 0, 100, true, 1 + 1./6}, {1.1, 100, 100, false, -1}, {2, 100, 199, false, 62}, {3, 100, 205, true, 3 + 1./6}}},
		"by time":         {both, []ask{{0, 0, 1, false, 60}, {30, 0, 50, false, 60}, {60, 0, 51, true, 60 + 1./6}, {60.1, 51, 52, false, 120.1}}},
		"again when it was not kept": {both, []ask{
			{0, 0, 100, true, 1. / 6}, {0.1, 0, 100, false, 1. / 6}, {0.15, 0, 300, false, 1. / 6}, {1, 0, 300, true, 1 + 1./6},
		}},
		"kept by another member":   {both, []ask{{0, 0, 50, false, 60}, {50, 40, 50, false, 110}, {60, 40, 50, false, 110}, {110, 40, 50, true, 110 + 1./6}}},
		"it rests and begins anew": {both, []ask{{0, 0, 1, false, 60}, {1, 1, 1, false, -1}, {100, 1, 2, false, 160}}},
		"by count alone":           {audit.Policy{Every: 10}, []ask{{0, 0, 9, false, -1}, {900, 0, 9, false, -1}, {901, 0, 10, true, 901 + 1./6}}},
		"by time alone":            {audit.Policy{Within: time.Minute}, []ask{{0, 0, 1 << 40, false, 1}, {1, 0, 1 << 40, true, 1 + 1./6}}},
		"never":                    {audit.Policy{}, []ask{{0, 0, 1 << 40, false, -1}, {1e6, 0, 1 << 41, false, -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := audit.NewSchedule(test.policy)
			for _, a := range test.asks {
				due, next := s.Due(a.signed, a.head, minute(a.at))
				want := minute(a.next)
				if a.next < 0 {
					want = time.Time{}
				}
				if due != a.due || next.Sub(want).Abs() > time.Millisecond {
					t.Errorf("at minute %v, signed %d of %d: due %v, next %v; want %v, %v", a.at, a.signed, a.head, due, next, a.due, want)
				}
			}
		})
	}
}

// How long a head has been due is counted from the first time, until it is kept.
func TestOverdue(t *testing.T) {
	s, start := audit.NewSchedule(audit.Policy{Every: 5, Within: time.Hour}), time.Unix(1000, 0)
	overdue := func(after time.Duration, signed, head uint64, want time.Duration) {
		t.Helper()
		s.Due(signed, head, start.Add(after))
		if got := s.Overdue(start.Add(after)); got != want {
			t.Errorf("after %v, signed %d of %d: overdue for %v, want %v", after, signed, head, got, want)
		}
	}
	overdue(0, 0, 4, 0)
	overdue(time.Second, 0, 5, 0)
	overdue(4*time.Second, 0, 6, 3*time.Second)
	overdue(40*time.Second, 0, 7, 39*time.Second)
	overdue(50*time.Second, 7, 8, 0)
	overdue(60*time.Second, 8, 8, 0)
}
