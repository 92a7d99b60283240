package projections

import (
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
)

// ModelDraft is a stream's model under change.
type ModelDraft[D any] = fold.Draft[D]

// Draft is a state that changes in place: the maps are not copied for each change,
// but once after each Freeze. It belongs to one goroutine.
type Draft[D Domain[D]] struct {
	state   State[D] // its Model is the view of model
	model   ModelDraft[D]
	passing bool // request ids are not indexed
}

// Draft returns a private copy to fold changes into. It costs next to nothing.
func (s *State[D]) Draft() *Draft[D] {
	model := s.Model.Begin()
	d := &Draft[D]{state: *s, model: model}
	d.state.Model = model.View()
	return d
}

// Pass is Draft for folding more than [MaxRequests] changes, most of which are forgotten
// again. It takes up to half of the time, because request ids cannot be looked up in the
// draft, only in what Freeze returns.
func (s *State[D]) Pass() *Draft[D] {
	d := s.Draft()
	d.passing = true
	return d
}

// State returns the draft as it is. It changes with the next Fold: use it at once,
// on the draft's own goroutine.
func (d *Draft[D]) State() *State[D] { return &d.state }

// Fold folds one more change. It panics as [State.Fold] does; the draft is of no
// use after that.
func (d *Draft[D]) Fold(c *events.Change) {
	d.state.advance(c)
	if d.passing {
		d.state.Requests.pass(c)
	} else {
		d.state.Requests.add(c)
	}
	for _, e := range c.Events() {
		d.model.Apply(e, c.Revision())
	}
}

// Take is Fold for a change whose events were applied to a draft of State().Model
// already, and to nothing since: the state has that draft from then on.
func (d *Draft[D]) Take(c *events.Change, model ModelDraft[D]) {
	d.state.advance(c)
	d.state.Requests.add(c)
	d.model, d.state.Model = model, model.View()
}

// Freeze returns what the draft holds as a state of its own. The draft can be used
// on.
func (d *Draft[D]) Freeze() *State[D] {
	if d.passing {
		d.state.Requests.index()
	}
	d.state.Requests.freeze()
	frozen := d.state
	frozen.Model = d.model.Freeze()
	return &frozen
}
