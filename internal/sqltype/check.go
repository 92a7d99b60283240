package sqltype

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Problem says what is wrong with a type and where in it.
type Problem struct {
	Path        string // field path below the type, as in ".element.precision"; may be empty
	Description string // with the value, and what would be right
}

// Error returns path and description.
func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Description
	}
	return p.Path[1:] + ": " + p.Description
}

func problem(path, format string, args ...any) *Problem {
	return &Problem{Path: path, Description: fmt.Sprintf(format, args...)}
}

// Check returns what is wrong with a type; nil if nothing is. It never panics,
// whatever the message.
func Check(t *metadatav1.DataType) *Problem { return check(t, 1) }

func check(t *metadatav1.DataType, depth int) *Problem {
	if t == nil {
		return problem("", "a type is missing")
	}
	if depth > MaxDepth {
		return problem("", "the type is nested deeper than %d levels", MaxDepth)
	}
	if p := checkNode(t); p != nil {
		return p
	}
	below := func(path string, t *metadatav1.DataType) *Problem {
		p := check(t, depth+1)
		if p != nil {
			p.Path = path + p.Path
		}
		return p
	}
	switch t.Kind {
	case metadatav1.TypeKind_TYPE_KIND_LIST:
		return below(".element", t.Element)
	case metadatav1.TypeKind_TYPE_KIND_MAP:
		if p := below(".key", t.Key); p != nil {
			return p
		}
		return below(".element", t.Element)
	case metadatav1.TypeKind_TYPE_KIND_STRUCT:
		for i, f := range t.Fields {
			if p := below(fmt.Sprintf(".fields[%d].data_type", i), f.GetDataType()); p != nil {
				return p
			}
		}
	}
	return nil
}

// checkNode looks at one type without the types below it.
func checkNode(t *metadatav1.DataType) *Problem {
	name := Name(t.Kind)
	if name == "" {
		if t.Kind == 0 {
			return problem(".kind", "a type is missing; there are %s", allNames())
		}
		return problem(".kind", "there is no type %d; there are %s", int32(t.Kind), allNames())
	}
	if p := checkForeign(t, name); p != nil {
		return p
	}
	switch t.Kind {
	case metadatav1.TypeKind_TYPE_KIND_DECIMAL:
		if t.Precision < 1 || t.Precision > MaxPrecision {
			return problem(".precision", "DECIMAL(%d, %d): the precision has to be between 1 and %d", t.Precision, t.Scale, MaxPrecision)
		}
		if t.Scale > t.Precision {
			return problem(".scale", "DECIMAL(%d, %d): the scale has to be between 0 and the precision", t.Precision, t.Scale)
		}
	case metadatav1.TypeKind_TYPE_KIND_VECTOR:
		if t.Dimensions < 1 || t.Dimensions > MaxDimensions {
			return problem(".dimensions", "VECTOR(%d): the dimensions have to be between 1 and %d", t.Dimensions, MaxDimensions)
		}
	case metadatav1.TypeKind_TYPE_KIND_MAP:
		if t.Key != nil && Name(t.Key.Kind) != "" && !canBeKey(t.Key.Kind) {
			return problem(".key", "%s cannot be the key of a MAP: keys are of a scalar type other than JSON and floating point", Name(t.Key.Kind))
		}
	case metadatav1.TypeKind_TYPE_KIND_STRUCT:
		return checkFields(t.Fields)
	}
	return nil
}

// checkForeign refuses parameters that belong to other kinds.
func checkForeign(t *metadatav1.DataType, name string) *Problem {
	is := func(k metadatav1.TypeKind) bool { return t.Kind == k }
	for _, c := range [...]struct {
		path         string
		set, allowed bool
	}{
		{".precision", t.Precision != 0, is(metadatav1.TypeKind_TYPE_KIND_DECIMAL)},
		{".scale", t.Scale != 0, is(metadatav1.TypeKind_TYPE_KIND_DECIMAL)},
		{".dimensions", t.Dimensions != 0, is(metadatav1.TypeKind_TYPE_KIND_VECTOR)},
		{".element", t.Element != nil, is(metadatav1.TypeKind_TYPE_KIND_LIST) || is(metadatav1.TypeKind_TYPE_KIND_MAP)},
		{".key", t.Key != nil, is(metadatav1.TypeKind_TYPE_KIND_MAP)},
		{".fields", len(t.Fields) > 0, is(metadatav1.TypeKind_TYPE_KIND_STRUCT)},
	} {
		if c.set && !c.allowed {
			return problem(c.path, "%s takes no %s", name, c.path[1:])
		}
	}
	return nil
}

func checkFields(fields []*metadatav1.StructField) *Problem {
	if len(fields) < 1 || len(fields) > MaxFields {
		return problem(".fields", "a STRUCT has 1 to %d fields, not %d", MaxFields, len(fields))
	}
	seen := make(map[string]int, len(fields))
	for i, f := range fields {
		path := fmt.Sprintf(".fields[%d].name", i)
		if d := checkFieldName(f.GetName()); d != "" {
			return problem(path, "%s", d)
		}
		if first, ok := seen[f.GetName()]; ok {
			return problem(path, "%q is the name of fields[%d] too", f.GetName(), first)
		}
		seen[f.GetName()] = i
	}
	return nil
}

// checkFieldName returns what is wrong with the name; "" if nothing is.
func checkFieldName(name string) string {
	if name == "" {
		return "the name is empty"
	}
	if len(name) > MaxFieldName {
		return fmt.Sprintf("the name has %d bytes; at most %d are allowed", len(name), MaxFieldName)
	}
	if !utf8.ValidString(name) {
		return fmt.Sprintf("%q is not valid UTF-8", name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Sprintf("%q contains the control character %U", name, r)
		}
	}
	return ""
}
