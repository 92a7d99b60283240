package output

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var shard = &metadatav1.ShardInfo{ShardId: 7, KeyRange: &metadatav1.KeyRange{Start: []byte{0xff}}, PrimaryNode: "a <b>"}

func TestFormats(t *testing.T) {
	rows := func(r *Rows) {
		r.Row("ID", "NODE")
		r.Row(7, "a <b>")
		r.Row(12345, "")
	}
	for _, c := range []struct {
		format Format
		want   string
	}{
		{Table, "ID     NODE\n7      a <b>\n12345  -\n"},
		{JSON, "{\n  \"shard_id\": \"7\",\n  \"key_range\": {\n    \"start\": \"/w==\"\n  },\n  \"primary_node\": \"a <b>\"\n}\n"},
		{YAML, "shard_id: \"7\"\nkey_range:\n  start: /w==\nprimary_node: a <b>\n"},
	} {
		var b bytes.Buffer
		if err := (Printer{&b, c.format}).Message(shard, rows); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.format, &b, c.want)
		}
	}
}

func TestLines(t *testing.T) {
	for format, want := range map[Format]string{
		JSON: `{"shard_id":"7"}` + "\n",
		YAML: "---\nshard_id: \"7\"\n",
	} {
		var b bytes.Buffer
		if err := (Printer{&b, format}).Line(&metadatav1.ShardInfo{ShardId: 7}); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, &b, err, want)
		}
	}
}

func TestValues(t *testing.T) {
	v := struct {
		Marks []string `json:"marks"`
	}{[]string{"->"}}
	for format, want := range map[Format]string{
		JSON: "{\n  \"marks\": [\n    \"->\"\n  ]\n}\n",
		YAML: "marks:\n- ->\n",
	} {
		var b bytes.Buffer
		if err := (Printer{&b, format}).Value(v, nil); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, &b, err, want)
		}
	}
}

func TestValueLines(t *testing.T) {
	object, err := Encode(&metadatav1.ShardInfo{ShardId: 7})
	if err != nil {
		t.Fatal(err)
	}
	v := map[string]any{"shard": object}
	for format, want := range map[Format]string{
		JSON: `{"shard":{"shard_id":"7"}}` + "\n",
		YAML: "---\nshard:\n  shard_id: \"7\"\n",
	} {
		var b bytes.Buffer
		if err := (Printer{&b, format}).ValueLine(v, nil); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, &b, err, want)
		}
	}
}

func TestNoTextForgesRows(t *testing.T) {
	var b bytes.Buffer
	err := Printer{&b, Table}.Rows(func(r *Rows) {
		r.Row("a\nb\tc", "\x1b[31m\u009b")
		r.Text("x\ry%d", 1)
	})
	if want := "a b c   [31m \nx y1\n"; err != nil || b.String() != want {
		t.Errorf("got %q, %v; want %q", &b, err, want)
	}
}

// broken refuses to be written to.
type broken struct{}

var errBroken = errors.New("broken pipe")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteErrorsAreSeen(t *testing.T) {
	for _, format := range []Format{Table, JSON, YAML} {
		p := Printer{broken{}, format}
		if err := p.Message(shard, func(r *Rows) { r.Row("x") }); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", format, err)
		}
		if err := p.Line(proto.Message(shard)); !errors.Is(err, errBroken) {
			t.Errorf("%s line: %v", format, err)
		}
	}
}

func TestFormatAsFlag(t *testing.T) {
	var f Format
	if err := f.Set("yaml"); err != nil || f != YAML {
		t.Errorf("got %v, %v", f, err)
	}
	if err := f.Set("xml"); err == nil || err.Error() != `there is no format "xml"; there are table, json, yaml` || f != YAML {
		t.Errorf("got %v, %v", f, err)
	}
}
