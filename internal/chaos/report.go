package chaos

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run found.
type Report struct {
	Seed uint64 `json:"seed"`
	// Violations are the promises that were broken; empty: none.
	Violations []string `json:"violations"`
	// LeftOut are the faults that cannot be made here.
	LeftOut []LeftOut `json:"left_out"`
	// Faults are all faults in order.
	Faults []Occurrence `json:"faults"`
	// Kinds sums them up.
	Kinds []Unavailability `json:"unavailability"`
	// Operations, Changes, Frames and CachedReads count what was judged.
	Operations  int `json:"operations"`
	Changes     int `json:"changes"`
	Frames      int `json:"frames"`
	CachedReads int `json:"cached_reads"`
	// Checked says what was compared at the end.
	Checked []string `json:"checked"`
}

// LeftOut is a kind of fault that cannot be made here.
type LeftOut struct {
	Kind string `json:"kind"`
	Why  string `json:"why"`
}

// Occurrence is one fault.
type Occurrence struct {
	Kind   string        `json:"kind"`
	Detail string        `json:"detail"`
	Began  time.Duration `json:"began_ns"`
	// Lasted is until all members served again.
	Lasted time.Duration `json:"lasted_ns"`
	// Any is the longest time during which no member took a write, as seen by asking all
	// of them; Client as seen by a client with default settings that may choose.
	Any    time.Duration `json:"any_member_ns"`
	Client time.Duration `json:"client_ns"`
}

// Unavailability sums up the faults of one kind: for how long no write got through.
type Unavailability struct {
	Kind         string        `json:"kind"`
	Count        int           `json:"count"`
	AnyMedian    time.Duration `json:"any_member_median_ns"`
	AnyWorst     time.Duration `json:"any_member_worst_ns"`
	ClientMedian time.Duration `json:"client_median_ns"`
	ClientWorst  time.Duration `json:"client_worst_ns"`
}

// summarize fills in Kinds.
func (r *Report) summarize() {
	byKind := make(map[string][]Occurrence)
	var order []string
	for _, o := range r.Faults {
		if byKind[o.Kind] == nil {
			order = append(order, o.Kind)
		}
		byKind[o.Kind] = append(byKind[o.Kind], o)
	}
	slices.Sort(order)
	r.Kinds = nil
	for _, kind := range order {
		u := Unavailability{Kind: kind, Count: len(byKind[kind])}
		u.AnyMedian, u.AnyWorst = spread(byKind[kind], func(o Occurrence) time.Duration { return o.Any })
		u.ClientMedian, u.ClientWorst = spread(byKind[kind], func(o Occurrence) time.Duration { return o.Client })
		r.Kinds = append(r.Kinds, u)
	}
}

// spread returns the median (of an even number: the larger one) and the largest.
func spread(list []Occurrence, of func(Occurrence) time.Duration) (median, worst time.Duration) {
	var all []time.Duration
	for _, o := range list {
		all = append(all, of(o))
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "unavailability for writes, ms\tn\tany member: median\tworst\tone client: median\tworst\t")
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	for _, u := range r.Kinds {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t\n", u.Kind, u.Count, ms(u.AnyMedian), ms(u.AnyWorst), ms(u.ClientMedian), ms(u.ClientWorst))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\njudged: %d operations, %d changes, %d frames of subscriptions, %d reads of caches\n",
		r.Operations, r.Changes, r.Frames, r.CachedReads)
	for _, c := range r.Checked {
		fmt.Fprintf(w, "  %s\n", c)
	}
	for _, l := range r.LeftOut {
		fmt.Fprintf(w, "LEFT OUT: %s: %s\n", l.Kind, l.Why)
	}
	for _, v := range r.Violations {
		first, _, _ := strings.Cut(v, "\n") // the log has the rest
		fmt.Fprintf(w, "VIOLATION: %s\n", first)
	}
	_, err := fmt.Fprintf(w, "seed %d: %d faults, %d violations\n", r.Seed, len(r.Faults), len(r.Violations))
	return err
}
