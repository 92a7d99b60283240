package objects

import (
	"context"
	"iter"
	"time"

	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/diff"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
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
	return blame(now.After, func(yield func(setting, error) bool) {
		for v, err := range l.Versions(ctx, o, 0, now.Change.Revision(), true) {
			s := setting{before: v.Before, known: v.Known}
			if err == nil {
				s.by = history.Info(v.Change)
			}
			if !yield(s, err) {
				return
			}
		}
	})
}

// BlameFrom is [Log.Blame] for those who have an object as it was and its changes up to
// then, newest first, as messages: answers to ObjectLog. The object has to have an id, if
// it is of a kind that has ids. An error among the changes is returned.
func BlameFrom(now proto.Message, o Object, changes iter.Seq2[*metadatav1.ObjectChange, error]) ([]Blame, error) {
	return blame(now, func(yield func(setting, error) bool) {
		var newer setting // waits for its state before
		for c, err := range changes {
			if err != nil {
				yield(setting{}, err)
				return
			}
			before, after, known := o.around(c.GetEvents())
			if newer.by != nil && !yield(setting{newer.by, after, true}, nil) {
				return
			}
			newer = setting{by: c.GetChange()}
			if known {
				if !yield(setting{c.GetChange(), before, true}, nil) {
					return
				}
				newer = setting{}
			}
		}
	})
}

// around returns what an object was before and after events about it, and whether they
// tell what it was before.
func (o Object) around(about []*metadatav1.Event) (before, after proto.Message, known bool) {
	for i, e := range about {
		s := stepOf(e)
		if i == 0 {
			before, known = o.find(s.before), s.known
		}
		after = o.find(s.after)
	}
	return before, after, known && len(about) > 0
}

// setting is a change of an object with what the object was before it.
type setting struct {
	by     *metadatav1.ChangeInfo
	before proto.Message // nil: the object did not exist
	known  bool
}

// blame finds for each part of an object the newest change behind which it has its value.
func blame(now proto.Message, settings iter.Seq2[setting, error]) ([]Blame, error) {
	var blames []Blame
	open := make(map[string]int) // place in blames of the parts that nobody is blamed for yet, by their keys
	for _, p := range diff.Parts(now) {
		if !counters[p.Path] {
			open[p.Key] = len(blames)
			blames = append(blames, Blame{Path: p.Path, Value: p.Value})
		}
	}
	for s, err := range settings {
		if err != nil {
			return nil, err
		}
		if !s.known || len(open) == 0 {
			break
		}
		before := make(map[string]string)
		for _, p := range diff.Parts(s.before) {
			before[p.Key] = p.Value
		}
		for key, i := range open {
			if value, ok := before[key]; !ok || value != blames[i].Value {
				blames[i].set(s.by)
				delete(open, key)
			}
		}
	}
	return blames, nil
}

// set puts the blame on a change.
func (b *Blame) set(by *metadatav1.ChangeInfo) {
	b.Revision, b.Time, b.Actor, b.RequestID = by.GetRevision(), by.GetTime().AsTime(), by.GetActor(), by.GetRequestId()
}
