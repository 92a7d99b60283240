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
	state State[D] // its Model is the view of model
	model ModelDraft[D]
	skips uint64 // the changes up to this revision are not remembered
}

// Draft returns a private copy to fold changes into. It costs next to nothing.
func (s *State[D]) Draft() *Draft[D] {
	model := s.Model.Begin()
	d := &Draft[D]{state: *s, model: model}
	d.state.Model = model.View()
	return d
}

// Pass is Draft for folding the changes up to a revision, of which there have to be more than
// [MaxRequests]. It takes up to a third of the time less: only the last MaxRequests of them are
// remembered by their request ids. [Draft.Complete] says whether that was enough.
func (s *State[D]) Pass(last uint64) *Draft[D] {
	d := s.Draft()
	d.skips = last - MaxRequests
	d.state.Requests = newRequests()
	d.state.Requests.forgotten = s.Requests.newest()
	return d
}

// Complete reports whether the draft remembers what the changes folded into it have to be
// remembered of. One that Pass returned does not if some of the last changes have no request id:
// older ones are remembered in their place.
func (d *Draft[D]) Complete() bool { return d.skips == 0 || d.state.Requests.reach(d.skips) }

// State returns the draft as it is. It changes with the next Fold: use it at once,
// on the draft's own goroutine.
func (d *Draft[D]) State() *State[D] { return &d.state }

// Fold folds one more change. It panics as [State.Fold] does; the draft is of no
// use after that.
func (d *Draft[D]) Fold(c *events.Change) {
	d.state.advance(c)
	if c.Revision() <= d.skips {
		d.state.Requests.skip(c)
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
	d.state.Requests.freeze()
	frozen := d.state
	frozen.Model = d.model.Freeze()
	return &frozen
}
