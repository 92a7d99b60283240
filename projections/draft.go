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
	forgets uint64 // changes up to this revision are not remembered
}

// Draft returns a private copy to fold changes into. It costs next to nothing.
func (s *State[D]) Draft() *Draft[D] {
	model := s.Model.Begin()
	d := &Draft[D]{state: *s, model: model}
	d.state.Model = model.View()
	return d
}

// DraftTo is Draft for folding all changes up to a revision. If there are more than [MaxRequests],
// it takes up to a third of the time less, because only the last ones are remembered by their
// request ids. [Draft.Complete] says whether that was enough when they are folded.
func (s *State[D]) DraftTo(last uint64) *Draft[D] {
	d := s.Draft()
	if last <= MaxRequests || last-MaxRequests <= s.Head.Revision {
		return d
	}
	d.forgets = last - MaxRequests
	d.state.Requests = newRequests()
	d.state.Requests.forgotten = s.Requests.newest()
	return d
}

// Complete reports whether the draft remembers what it has to of the changes folded into it. One of
// DraftTo does not if some of the last changes have no request id: older ones are to be remembered in
// their place.
func (d *Draft[D]) Complete() bool {
	return d.forgets == 0 || d.state.Requests.isWholeBehind(d.forgets)
}

// State returns the draft as it is. It changes with the next Fold: use it at once,
// on the draft's own goroutine.
func (d *Draft[D]) State() *State[D] { return &d.state }

// Fold folds one more change. It panics as [State.Fold] does; the draft is of no
// use after that.
func (d *Draft[D]) Fold(c *events.Change) {
	d.state.advance(c)
	if c.Revision() <= d.forgets {
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
