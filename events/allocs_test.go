package events

import "testing"

// What a change costs on its way is counted exactly: every allocation is made for
// each change on each member.
func TestAllocations(t *testing.T) {
	m := wideTable()
	evs := []Event{New(m)}
	header := Header{Revision: 1, Time: noon, Actor: "ann", RequestID: "request", CommandHash: make([]byte, 32)}
	change := Seal(header, evs)
	batch := sampleBatch()
	batch.Changes = []*Change{change}
	entry := batch.Encode()
	for name, c := range map[string]struct {
		want float64
		run  func()
	}{
		"Seal":         {2, func() { Seal(header, evs) }},
		"Encode":       {1, func() { batch.Encode() }},
		"DecodeChange": {1, func() { must(t)(DecodeChange(change.Raw())) }},
		"DecodeBatch":  {3, func() { must(t)(DecodeBatch(entry)) }}, // the batch, its list, the change
		"Digest.Next":  {0, func() { batch.Previous.Next(change.Raw()) }},
		"Object":       {0, func() { change.Events()[0].Object(0) }},
		"Stream":       {0, func() { change.Stream() }},
	} {
		if got := testing.AllocsPerRun(100, c.run); got != c.want {
			t.Errorf("%s allocates %v times, want %v", name, got, c.want)
		}
	}
}

func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		if err != nil {
			t.Error(err)
		}
	}
}
