package objects

import (
	"context"
	"time"

	"github.com/heliosdb/metadata/history/diff"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Blame says which change last set a part of an object.
type Blame struct {
	// Path names the part as a FieldDiff does: a column is "columns[name]".
	Path string `json:"path"`
	// Value is the part as compact JSON.
	Value string `json:"value"`
	// Revision is that of the change; 0: it came before the oldest one that is known, and
	// what follows is empty.
	Revision  uint64    `json:"revision,omitzero"`
	Time      time.Time `json:"time,omitzero"`
	Actor     string    `json:"actor,omitzero"`
	RequestID string    `json:"request_id,omitzero"`
}

// counters are the fields that every change of an object sets: nobody asks who did.
var counters = map[string]bool{"version": true, "updatedRevision": true, "updateTime": true}

// Blame returns who last set each part of an object as it was at a revision: its fields,
// the columns of a table, the entries of maps; in order of the contract. A column is
// followed by its id, so that another name is a change of it and not another column.
// Errors are those of [Log.AsOf].
func (l *Log) Blame(ctx context.Context, ref *metadatav1.ObjectRef, revision uint64) ([]Blame, error) {
	now, err := l.AsOf(ctx, ref, revision)
	if err != nil {
		return nil, err
	}
	o, err := l.Resolve(ctx, ref, revision)
	if err != nil {
		return nil, err
	}
	var blames []Blame
	open := make(map[string]int) // place in blames of the parts that nobody is blamed for yet, by their keys
	for _, p := range diff.Parts(now.After) {
		if !counters[p.Path] {
			open[p.Key] = len(blames)
			blames = append(blames, Blame{Path: p.Path, Value: p.Value})
		}
	}
	for v, err := range l.Versions(ctx, o, 0, now.Change.Revision(), true) {
		if err != nil {
			return nil, err
		}
		if !v.Known || len(open) == 0 {
			break
		}
		before := make(map[string]string)
		for _, p := range diff.Parts(v.Before) {
			before[p.Key] = p.Value
		}
		for key, i := range open {
			if value, ok := before[key]; !ok || value != blames[i].Value {
				blames[i].by(v)
				delete(open, key)
			}
		}
	}
	return blames, nil
}

// by puts the blame on the change that made a version.
func (b *Blame) by(v Version) {
	b.Revision, b.Time, b.Actor, b.RequestID = v.Change.Revision(), v.Change.Time(), v.Change.Actor(), v.Change.RequestID()
}
