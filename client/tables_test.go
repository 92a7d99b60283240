package client

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// world is a schema that changes one event at a time.
type world struct {
	model    *schema.Model
	revision uint64
}

func (w *world) fold(e *metadatav1.Event) []*events.Change {
	w.revision++
	c := events.Seal(events.Header{Revision: w.revision}, []events.Event{events.New(e)})
	w.model = w.model.Fold(c)
	return []*events.Change{c}
}

func tableCreated(id uint64, name string) *metadatav1.Event {
	return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
		Table: &metadatav1.TableSchema{TableId: id, Namespace: schema.Public, Name: name, Version: 1},
	}}}
}

// Each version of the trie finds what its model does, also when later ones were made of
// it, and a table that did not change stays decoded.
func TestTrieFollowsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			trie  tables
			model *schema.Model
		}
		w := world{model: schema.New()}
		at := map[string]uint64{}
		now := version{model: w.model}
		var versions []version
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			name := fmt.Sprint("t", rapid.IntRange(0, 40).Draw(t, "name"))
			id, there := at[name]
			var changes []*events.Change
			old := &metadatav1.TableSchema{TableId: id, Namespace: schema.Public, Name: name, Version: 1}
			other := fmt.Sprint("r", rapid.IntRange(0, 10).Draw(t, "other name"))
			_, taken := at[other]
			switch {
			case !there:
				at[name] = w.revision + 1
				changes = w.fold(tableCreated(w.revision+1, name))
			case taken || rapid.Bool().Draw(t, "drop"):
				delete(at, name)
				changes = w.fold(&metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: old}}})
			default:
				delete(at, name)
				at[other] = id
				renamed := &metadatav1.TableSchema{TableId: id, Namespace: schema.Public, Name: other, Version: 1}
				changes = w.fold(&metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
					Table: renamed, PreviousName: name, PreviousNamespace: schema.Public,
				}}})
			}
			now = version{now.trie.after(changes, w.model), w.model}
			versions = append(versions, now)
		}
		for i, v := range append(versions, version{tablesOf(now.model), now.model}) {
			for n := range 41 {
				for _, name := range []string{fmt.Sprint("t", n), fmt.Sprint("r", n)} {
					record, ok := v.model.TableByName("", name)
					found := v.trie.find("", name)
					if ok != (found != nil) || ok && (found.record != record || found.decoded().GetName() != name) {
						t.Fatalf("version %d: %q is %v, want %v", i, name, found, record)
					}
				}
			}
		}
	})
}

// Tables whose names have one hash are told apart.
func TestTrieOfOneHash(t *testing.T) {
	w := world{model: schema.New()}
	e := new(edit)
	all := map[string]*table{}
	b := &branch{owner: e}
	for i := range uint64(4) {
		w.fold(tableCreated(i+1, fmt.Sprint("t", i)))
		record, _ := w.model.Table(i + 1)
		one := newTable(record)
		one.hash = 42 | i/3<<40 // the last one differs, deep down
		all[one.name] = one
		b = b.with(e, one, 0)
	}
	check := func(b *branch, names map[string]*table) {
		t.Helper()
		var seen []string
		var walk func(*branch)
		walk = func(b *branch) {
			for i := range b.children {
				for one := b.children[i].table; one != nil; one = one.same {
					seen = append(seen, one.name)
					if names[one.name] == nil {
						t.Errorf("%s is still there", one.name)
					}
				}
				if b.children[i].branch != nil {
					walk(b.children[i].branch)
				}
			}
		}
		if b != nil {
			walk(b)
		}
		if len(seen) != len(names) {
			t.Errorf("there are %v, want %v", seen, names)
		}
	}
	check(b, all)
	whole, left := b, maps.Clone(all)
	for _, name := range []string{"t1", "t1", "t3", "t0", "t2"} {
		delete(left, name)
		b = b.without(new(edit), all[name], 0)
		check(b, left)
	}
	check(whole, all)
	if b != nil {
		t.Errorf("an empty trie is %v", b)
	}
}
