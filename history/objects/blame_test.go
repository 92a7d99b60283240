package objects

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// describe writes a change on one line.
func describe(c *metadatav1.ObjectChange) string {
	line := fmt.Sprintf("%d by %s: %d events, %s %s:", c.GetChange().GetRevision(), c.GetChange().GetActor(), len(c.GetEvents()),
		strings.TrimPrefix(c.GetDiff().GetDiff().String(), "DIFF_KIND_"), c.GetDiff().GetName())
	for _, f := range c.GetDiff().GetFields() {
		line += fmt.Sprintf(" %s %q->%q", f.GetPath(), f.GetBefore(), f.GetAfter())
	}
	return line
}

func column(id uint32, name string, kind metadatav1.TypeKind) *metadatav1.ColumnSchema {
	return &metadatav1.ColumnSchema{ColumnId: id, Name: name, DataType: &metadatav1.DataType{Kind: kind}}
}

// altered returns a copy of a table with changes to it.
func altered(t *metadatav1.TableSchema, alter func(*metadatav1.TableSchema)) (*metadatav1.TableSchema, *metadatav1.Event) {
	now := proto.CloneOf(t)
	now.Version++
	alter(now)
	return now, &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
		Table: now, PreviousNamespace: t.Namespace, PreviousName: t.Name}}}
}

func TestBlame(t *testing.T) {
	text, number := metadatav1.TypeKind_TYPE_KIND_STRING, metadatav1.TypeKind_TYPE_KIND_INT64
	v1 := &metadatav1.TableSchema{
		TableId: 1, Namespace: "public", Name: "users", Version: 1, PrimaryKey: []string{"id"}, Comment: "first",
		Columns:    []*metadatav1.ColumnSchema{column(1, "id", number), column(2, "mail", text), column(3, "age", number)},
		Properties: map[string]string{"owner": "a", "tier": "1"},
	}
	made := &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: v1}}}
	v2, second := altered(v1, func(t *metadatav1.TableSchema) { t.Columns[1].Name = "email"; t.Properties["tier"] = "2" })
	v3, third := altered(v2, func(t *metadatav1.TableSchema) { t.Columns = t.Columns[:2]; t.Comment = "second" })
	v4, fourth := altered(v3, func(t *metadatav1.TableSchema) {
		t.Columns = append(t.Columns, column(4, "age", number))
		t.Name, t.Comment = "people", "first"
	})
	_, fifth := altered(v4, func(t *metadatav1.TableSchema) { t.Properties["owner"] = "b" })
	l, source := newLog(story([]*metadatav1.Event{made}, []*metadatav1.Event{second}, []*metadatav1.Event{third},
		[]*metadatav1.Event{fourth}, []*metadatav1.Event{fifth}))
	blame := func(name string, revision uint64) (lines []string) {
		t.Helper()
		blames, err := l.Blame(t.Context(), tableRef(0, "", name), revision)
		if err != nil {
			t.Fatal(err)
		}
		if from := blameFrom(t, l, name, revision); !slices.Equal(from, blames) {
			t.Errorf("%s at %d from messages: %v, from the log: %v", name, revision, from, blames)
		}
		for _, b := range blames {
			lines = append(lines, fmt.Sprintf("%s %d", b.Path, b.Revision))
			if b.Revision > 0 && (b.Actor != "ann" || b.RequestID == "" || b.Time.IsZero()) {
				t.Errorf("nobody is blamed: %+v", b)
			}
		}
		return lines
	}
	want := []string{
		"tableId 1", "namespace 1", "name 4", "columns[id] 1", "columns[email] 2", "columns[age] 4", "primaryKey 1",
		"comment 4", "properties[owner] 5", "properties[tier] 2",
	}
	if got := blame("people", 5); !slices.Equal(got, want) {
		t.Errorf("blame is\n%v\nwant\n%v", got, want)
	}
	early := []string{
		"tableId 1", "namespace 1", "name 1", "columns[id] 1", "columns[email] 2", "columns[age] 1", "primaryKey 1",
		"comment 1", "properties[owner] 1", "properties[tier] 2",
	}
	if got := blame("users", 2); !slices.Equal(got, early) {
		t.Errorf("at revision 2 blame is\n%v\nwant\n%v", got, early)
	}
	source.Trim(3)
	for i, line := range want { // what was set before is not known
		if part, by, _ := strings.Cut(line, " "); by < "4" {
			want[i] = part + " 0"
		}
	}
	if got := blame("people", 5); !slices.Equal(got, want) {
		t.Errorf("without the oldest changes blame is\n%v\nwant\n%v", got, want)
	}
	_, err := l.Blame(t.Context(), tableRef(0, "", "users"), 5)
	wantReason(t, "a name that the table had", err, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND)
}

// blameFrom gives blame for a table with nothing but messages about it.
func blameFrom(t *testing.T, l *Log, name string, revision uint64) []Blame {
	t.Helper()
	now, err := l.AsOf(t.Context(), tableRef(0, "", name), revision)
	if err != nil {
		t.Fatal(err)
	}
	o := Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_TABLE, ID: now.After.(*metadatav1.TableSchema).GetTableId()}
	blames, err := BlameFrom(now.After, o, func(yield func(*metadatav1.ObjectChange, error) bool) {
		for v, err := range l.Versions(t.Context(), o, 0, revision, true) {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(v.Message(), nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return blames
}

func TestBlameFromEndsWithAnErrorAmongTheChanges(t *testing.T) {
	broken := errors.New("broken")
	table := &metadatav1.TableSchema{TableId: 1, Name: "users", Comment: "first"}
	_, err := BlameFrom(table, Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_TABLE, ID: 1}, func(yield func(*metadatav1.ObjectChange, error) bool) {
		yield(nil, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}
