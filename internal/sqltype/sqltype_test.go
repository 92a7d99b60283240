package sqltype_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	kInt64   = metadatav1.TypeKind_TYPE_KIND_INT64
	kString  = metadatav1.TypeKind_TYPE_KIND_STRING
	kDecimal = metadatav1.TypeKind_TYPE_KIND_DECIMAL
	kVector  = metadatav1.TypeKind_TYPE_KIND_VECTOR
	kList    = metadatav1.TypeKind_TYPE_KIND_LIST
	kMap     = metadatav1.TypeKind_TYPE_KIND_MAP
	kStruct  = metadatav1.TypeKind_TYPE_KIND_STRUCT
)

// The texts are read by the console's tests too, which has a reader of its own.
func TestTexts(t *testing.T) {
	var texts struct {
		Parsed  map[string]string
		Refused []string
	}
	content, err := os.ReadFile("testdata/texts.json")
	if err == nil {
		err = json.Unmarshal(content, &texts)
	}
	if err != nil || len(texts.Parsed) == 0 || len(texts.Refused) == 0 {
		t.Fatalf("%d and %d texts: %v", len(texts.Parsed), len(texts.Refused), err)
	}
	for text, canonical := range texts.Parsed {
		got, err := sqltype.Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
			continue
		}
		if text := sqltype.Format(got); text != canonical {
			t.Errorf("Format(Parse(%q)) = %q, want %q", text, text, canonical)
		}
	}
	for _, text := range texts.Refused {
		if got, err := sqltype.Parse(text); err == nil {
			t.Errorf("Parse(%q) is %v", text, got)
		}
	}
}

func TestParseBuildsTheMessage(t *testing.T) {
	got, err := sqltype.Parse("LIST<STRUCT<a STRING NOT NULL, b DECIMAL(5, 1)>>")
	if err != nil {
		t.Fatal(err)
	}
	want := &metadatav1.DataType{Kind: kList, Element: &metadatav1.DataType{Kind: kStruct, Fields: []*metadatav1.StructField{
		{Name: "a", DataType: &metadatav1.DataType{Kind: kString}},
		{Name: "b", DataType: &metadatav1.DataType{Kind: kDecimal, Precision: 5, Scale: 1}, Nullable: true},
	}}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKindHasText(t *testing.T) {
	parameters := map[metadatav1.TypeKind]string{kDecimal: "(5, 2)", kVector: "(3)", kList: "<INT8>", kMap: "<INT8, INT8>", kStruct: "<a INT8>"}
	for n := range metadatav1.TypeKind_name {
		kind := metadatav1.TypeKind(n)
		if kind == 0 {
			continue
		}
		text := sqltype.Name(kind) + parameters[kind]
		got, err := sqltype.Parse(text)
		if err != nil {
			t.Errorf("%v: %v", kind, err)
			continue
		}
		if got.Kind != kind || sqltype.Format(got) != text {
			t.Errorf("%q is read as %v and printed as %q", text, got.Kind, sqltype.Format(got))
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text, want string
		offset     int
	}{
		{"", "a type is expected, not the end", 0},
		{"INT65", "there is no type INT65; there are INT8, INT16", 0},
		{"DECIMAL", "DECIMAL needs a precision and a scale", 7},
		{"DECIMAL(0, 5)", "DECIMAL(0, 5): the precision has to be between 1 and 76", 0},
		{"DECIMAL(77, 5)", "DECIMAL(77, 5): the precision", 0},
		{"DECIMAL(5, 6)", "DECIMAL(5, 6): the scale has to be between 0 and the precision", 0},
		{"DECIMAL(5, 6, 7)", `")" is expected, not ","`, 12},
		{"DECIMAL(-5)", `a number below 4294967296 is expected, not "-"`, 8},
		{"VECTOR(0)", "VECTOR(0): the dimensions have to be between 1 and 65535", 0},
		{"VECTOR(4294967296)", "a number below 4294967296 is expected", 7},
		{"VARCHAR(25)", "VARCHAR takes no parameters", 7},
		{"TIMESTAMP(3)", "TIMESTAMP takes no parameters", 9},
		{"TIMESTAMP WITH ZONE", `"TIME" is expected, not "ZONE"`, 15},
		{"LIST", `"<" is expected, not the end`, 4},
		{"LIST<INT8", `">" is expected, not the end`, 9},
		{"LIST<INT8>>", `">" is left over behind the type`, 10},
		{"MAP<INT8>", `"," is expected, not ">"`, 8},
		{"MAP<FLOAT64, INT8>", "FLOAT64 cannot be the key of a MAP", 4},
		{"MAP<LIST<INT8>, INT8>", "LIST cannot be the key of a MAP", 4},
		{"STRUCT<>", `the name of a field is expected, not ">"`, 7},
		{"STRUCT<a INT8, a INT8>", `the STRUCT has a field "a" already`, 15},
		{`STRUCT<"" INT8>`, "the name is empty", 7},
		{`STRUCT<"a INT8>`, `the name of a field is expected`, 7},
		{"STRUCT<a INT8 NOT>", `"NULL" is expected, not ">"`, 17},
		{"STRUCT<" + strings.Repeat("x", 129) + " INT8>", "the name has 129 bytes; at most 128", 7},
		{strings.Repeat("LIST<", 8) + "INT8" + strings.Repeat(">", 8), "nested deeper than 8 levels", 40},
		{"LIST<ü>", `a type is expected, not "ü"`, 5},
		{strings.Repeat(" ", 64<<10) + "INT8", "the text has 65540 bytes", 0},
	} {
		_, err := sqltype.Parse(c.text)
		syntax, ok := errors.AsType[*sqltype.SyntaxError](err)
		if !ok {
			t.Errorf("Parse(%.40q) = %v, want a SyntaxError", c.text, err)
			continue
		}
		if !strings.Contains(syntax.Description, c.want) || syntax.Offset != c.offset {
			t.Errorf("Parse(%.40q): %q at %d, want %q at %d", c.text, syntax.Description, syntax.Offset, c.want, c.offset)
		}
	}
}

func TestErrorNamesTheCharacter(t *testing.T) {
	_, err := sqltype.Parse(`STRUCT<"ü" FOO>`)
	if err == nil || !strings.HasPrefix(err.Error(), `character 12 of "STRUCT<\"ü\" FOO>": there is no type FOO`) {
		t.Error(err)
	}
}

func TestDepthLimitIsInclusive(t *testing.T) {
	text := strings.Repeat("LIST<", 7) + "INT8" + strings.Repeat(">", 7)
	if got, err := sqltype.Parse(text); err != nil || sqltype.Check(got) != nil {
		t.Errorf("8 levels are refused: %v", err)
	}
}

func TestCheck(t *testing.T) {
	deep := &metadatav1.DataType{Kind: kInt64}
	for range 100_000 {
		deep = &metadatav1.DataType{Kind: kList, Element: deep}
	}
	many := &metadatav1.DataType{Kind: kStruct, Fields: make([]*metadatav1.StructField, 257)}
	for _, c := range []struct {
		name      string
		in        *metadatav1.DataType
		path, say string
	}{
		{"absent", nil, "", "a type is missing"},
		{"no kind", &metadatav1.DataType{}, ".kind", "a type is missing; there are INT8"},
		{"unknown kind", &metadatav1.DataType{Kind: 99}, ".kind", "there is no type 99"},
		{"negative kind", &metadatav1.DataType{Kind: -1}, ".kind", "there is no type -1"},
		{"foreign parameter", &metadatav1.DataType{Kind: kInt64, Precision: 3}, ".precision", "INT64 takes no precision"},
		{"foreign element", &metadatav1.DataType{Kind: kString, Element: deep}, ".element", "STRING takes no element"},
		{"list of nothing", &metadatav1.DataType{Kind: kList}, ".element", "a type is missing"},
		{"map without key", &metadatav1.DataType{Kind: kMap, Element: &metadatav1.DataType{Kind: kInt64}}, ".key", "a type is missing"},
		{"deep", deep, strings.Repeat(".element", 8), "nested deeper than 8 levels"},
		{"no fields", &metadatav1.DataType{Kind: kStruct}, ".fields", "a STRUCT has 1 to 256 fields, not 0"},
		{"many fields", many, ".fields", "not 257"},
		{"nil field", &metadatav1.DataType{Kind: kStruct, Fields: []*metadatav1.StructField{nil}}, ".fields[0].name", "the name is empty"},
		{"bad utf8", &metadatav1.DataType{Kind: kStruct, Fields: []*metadatav1.StructField{{Name: "\xff"}}}, ".fields[0].name", "not valid UTF-8"},
		{"control", &metadatav1.DataType{Kind: kStruct, Fields: []*metadatav1.StructField{{Name: "a\n"}}}, ".fields[0].name", "control character U+000A"},
		{"below", &metadatav1.DataType{Kind: kList, Element: &metadatav1.DataType{Kind: kStruct, Fields: []*metadatav1.StructField{
			{Name: "a", DataType: &metadatav1.DataType{Kind: kVector}},
		}}}, ".element.fields[0].data_type.dimensions", "VECTOR(0)"},
	} {
		got := sqltype.Check(c.in)
		if got == nil || got.Path != c.path || !strings.Contains(got.Description, c.say) {
			t.Errorf("%s: got %v, want %q at %q", c.name, got, c.say, c.path)
		}
		sqltype.Format(c.in) // whatever it is, it can be shown
	}
}

// typeGen draws types that pass Check.
func typeGen(depth int) *rapid.Generator[*metadatav1.DataType] {
	return rapid.Custom(func(t *rapid.T) *metadatav1.DataType {
		last := int32(kMap)
		if depth == sqltype.MaxDepth {
			last = int32(kVector)
		}
		d := &metadatav1.DataType{Kind: metadatav1.TypeKind(rapid.Int32Range(1, last).Draw(t, "kind"))}
		switch d.Kind {
		case kDecimal:
			d.Precision = rapid.Uint32Range(1, sqltype.MaxPrecision).Draw(t, "precision")
			d.Scale = rapid.Uint32Range(0, d.Precision).Draw(t, "scale")
		case kVector:
			d.Dimensions = rapid.Uint32Range(1, sqltype.MaxDimensions).Draw(t, "dimensions")
		case kList:
			d.Element = typeGen(depth+1).Draw(t, "element")
		case kMap:
			d.Key = &metadatav1.DataType{Kind: kString}
			d.Element = typeGen(depth+1).Draw(t, "element")
		case kStruct:
			names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z "0-9\-]{1,6}`), 1, 3, rapid.ID).Draw(t, "names")
			for _, name := range names {
				d.Fields = append(d.Fields, &metadatav1.StructField{
					Name: name, DataType: typeGen(depth+1).Draw(t, name), Nullable: rapid.Bool().Draw(t, "nullable"),
				})
			}
		}
		return d
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := typeGen(1).Draw(t, "type")
		if problem := sqltype.Check(want); problem != nil {
			t.Fatalf("the generator is wrong: %v", problem)
		}
		got, err := sqltype.Parse(sqltype.Format(want))
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(want, got) {
			t.Fatalf("%s came back as %s", sqltype.Format(want), sqltype.Format(got))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"INT64", "DECIMAL(15, 2)", "LIST<STRUCT<a STRING NOT NULL, \"b c\" INT64>>", "MAP<STRING, VECTOR(3)>", "TIMESTAMP WITH TIME ZONE", "\"", "LIST<LIST<"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := sqltype.Parse(text)
		if err != nil {
			_ = err.Error()
			return
		}
		if problem := sqltype.Check(parsed); problem != nil {
			t.Fatalf("Parse took what Check refuses: %v", problem)
		}
		again, err := sqltype.Parse(sqltype.Format(parsed))
		if err != nil || !proto.Equal(parsed, again) {
			t.Fatalf("%q does not come back: %v", sqltype.Format(parsed), err)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte{8, 23, 42, 2, 8, 4})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(metadatav1.DataType)
		if proto.Unmarshal(raw, m) != nil {
			return
		}
		text := sqltype.Format(m)
		if sqltype.Check(m) != nil || len(text) > sqltype.MaxTextBytes {
			return
		}
		if got, err := sqltype.Parse(text); err != nil || sqltype.Format(got) != text {
			t.Fatalf("%q passes Check and does not parse: %v", text, err)
		}
	})
}
