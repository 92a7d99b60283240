package sqltype

import (
	"strconv"
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Format returns the canonical text of a type. Of a type that Check refuses it
// prints what can be told, for messages and consoles; such text does not parse.
func Format(t *metadatav1.DataType) string {
	var b strings.Builder
	format(&b, t, 1)
	return b.String()
}

func format(b *strings.Builder, t *metadatav1.DataType, depth int) {
	name := Name(t.GetKind())
	switch {
	case t == nil:
		b.WriteString("?")
		return
	case depth > MaxDepth:
		b.WriteString("...")
		return
	case name == "":
		b.WriteString("?" + strconv.Itoa(int(t.Kind)))
		return
	}
	b.WriteString(name)
	switch t.Kind {
	case metadatav1.TypeKind_TYPE_KIND_DECIMAL:
		b.WriteString("(" + strconv.FormatUint(uint64(t.Precision), 10) + ", " + strconv.FormatUint(uint64(t.Scale), 10) + ")")
	case metadatav1.TypeKind_TYPE_KIND_VECTOR:
		b.WriteString("(" + strconv.FormatUint(uint64(t.Dimensions), 10) + ")")
	case metadatav1.TypeKind_TYPE_KIND_LIST:
		b.WriteByte('<')
		format(b, t.Element, depth+1)
		b.WriteByte('>')
	case metadatav1.TypeKind_TYPE_KIND_MAP:
		b.WriteByte('<')
		format(b, t.Key, depth+1)
		b.WriteString(", ")
		format(b, t.Element, depth+1)
		b.WriteByte('>')
	case metadatav1.TypeKind_TYPE_KIND_STRUCT:
		formatFields(b, t.Fields, depth)
	}
}

func formatFields(b *strings.Builder, fields []*metadatav1.StructField, depth int) {
	b.WriteByte('<')
	for i, f := range fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(f.GetName()))
		b.WriteByte(' ')
		format(b, f.GetDataType(), depth+1)
		if !f.GetNullable() {
			b.WriteString(" NOT NULL")
		}
	}
	b.WriteByte('>')
}

// quote puts a field's name in quotes unless it reads as an identifier.
func quote(name string) string {
	if name != "" && scanIdentifier(name) == len(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
