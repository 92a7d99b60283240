package sqltype

import (
	"slices"
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits of a data type.
const (
	MaxDepth      = 8      // levels of nesting, the outermost type included
	MaxPrecision  = 76     // digits of a DECIMAL
	MaxDimensions = 65_535 // components of a VECTOR
	MaxFields     = 256    // fields of a STRUCT
	MaxFieldName  = 128    // bytes of a field's name
	MaxTextBytes  = 64 << 10
)

const timestampTZ = "TIMESTAMP WITH TIME ZONE"

// names holds the canonical name of each kind, indexed by kind.
var names = [...]string{
	metadatav1.TypeKind_TYPE_KIND_INT8:         "INT8",
	metadatav1.TypeKind_TYPE_KIND_INT16:        "INT16",
	metadatav1.TypeKind_TYPE_KIND_INT32:        "INT32",
	metadatav1.TypeKind_TYPE_KIND_INT64:        "INT64",
	metadatav1.TypeKind_TYPE_KIND_UINT8:        "UINT8",
	metadatav1.TypeKind_TYPE_KIND_UINT16:       "UINT16",
	metadatav1.TypeKind_TYPE_KIND_UINT32:       "UINT32",
	metadatav1.TypeKind_TYPE_KIND_UINT64:       "UINT64",
	metadatav1.TypeKind_TYPE_KIND_FLOAT32:      "FLOAT32",
	metadatav1.TypeKind_TYPE_KIND_FLOAT64:      "FLOAT64",
	metadatav1.TypeKind_TYPE_KIND_BOOLEAN:      "BOOLEAN",
	metadatav1.TypeKind_TYPE_KIND_STRING:       "STRING",
	metadatav1.TypeKind_TYPE_KIND_BYTES:        "BYTES",
	metadatav1.TypeKind_TYPE_KIND_TIMESTAMP:    "TIMESTAMP",
	metadatav1.TypeKind_TYPE_KIND_TIMESTAMP_TZ: timestampTZ,
	metadatav1.TypeKind_TYPE_KIND_DATE:         "DATE",
	metadatav1.TypeKind_TYPE_KIND_TIME:         "TIME",
	metadatav1.TypeKind_TYPE_KIND_INTERVAL:     "INTERVAL",
	metadatav1.TypeKind_TYPE_KIND_UUID:         "UUID",
	metadatav1.TypeKind_TYPE_KIND_JSON:         "JSON",
	metadatav1.TypeKind_TYPE_KIND_DECIMAL:      "DECIMAL",
	metadatav1.TypeKind_TYPE_KIND_VECTOR:       "VECTOR",
	metadatav1.TypeKind_TYPE_KIND_LIST:         "LIST",
	metadatav1.TypeKind_TYPE_KIND_STRUCT:       "STRUCT",
	metadatav1.TypeKind_TYPE_KIND_MAP:          "MAP",
}

// synonyms are the names that other databases use. None of them may lose
// information: CHAR(10) is not here, because its length would be dropped.
var synonyms = map[string]metadatav1.TypeKind{
	"TINYINT":     metadatav1.TypeKind_TYPE_KIND_INT8,
	"SMALLINT":    metadatav1.TypeKind_TYPE_KIND_INT16,
	"INT":         metadatav1.TypeKind_TYPE_KIND_INT32,
	"INTEGER":     metadatav1.TypeKind_TYPE_KIND_INT32,
	"BIGINT":      metadatav1.TypeKind_TYPE_KIND_INT64,
	"REAL":        metadatav1.TypeKind_TYPE_KIND_FLOAT32,
	"DOUBLE":      metadatav1.TypeKind_TYPE_KIND_FLOAT64,
	"BOOL":        metadatav1.TypeKind_TYPE_KIND_BOOLEAN,
	"TEXT":        metadatav1.TypeKind_TYPE_KIND_STRING,
	"VARCHAR":     metadatav1.TypeKind_TYPE_KIND_STRING,
	"BLOB":        metadatav1.TypeKind_TYPE_KIND_BYTES,
	"BYTEA":       metadatav1.TypeKind_TYPE_KIND_BYTES,
	"TIMESTAMPTZ": metadatav1.TypeKind_TYPE_KIND_TIMESTAMP_TZ,
	"NUMERIC":     metadatav1.TypeKind_TYPE_KIND_DECIMAL,
}

var kindsByName = func() map[string]metadatav1.TypeKind {
	m := make(map[string]metadatav1.TypeKind, len(names)+len(synonyms))
	for k, name := range names {
		if name != "" && name != timestampTZ {
			m[name] = metadatav1.TypeKind(k)
		}
	}
	for name, k := range synonyms {
		m[name] = k
	}
	return m
}()

// Name returns the canonical name of a kind, without parameters; "" if there
// is no such kind.
func Name(k metadatav1.TypeKind) string {
	if k < 0 || int(k) >= len(names) {
		return ""
	}
	return names[k]
}

// Toastable reports whether values of the kind can be stored out of line, so
// that a column of it takes a TOAST strategy.
func Toastable(k metadatav1.TypeKind) bool {
	switch k {
	case metadatav1.TypeKind_TYPE_KIND_STRING, metadatav1.TypeKind_TYPE_KIND_BYTES,
		metadatav1.TypeKind_TYPE_KIND_JSON, metadatav1.TypeKind_TYPE_KIND_DECIMAL,
		metadatav1.TypeKind_TYPE_KIND_VECTOR, metadatav1.TypeKind_TYPE_KIND_LIST,
		metadatav1.TypeKind_TYPE_KIND_STRUCT, metadatav1.TypeKind_TYPE_KIND_MAP:
		return true
	}
	return false
}

// canBeKey reports whether a MAP takes the kind for its keys: equality has to
// be plain, which rules out floating point, JSON and everything composed.
func canBeKey(k metadatav1.TypeKind) bool {
	switch k {
	case metadatav1.TypeKind_TYPE_KIND_FLOAT32, metadatav1.TypeKind_TYPE_KIND_FLOAT64,
		metadatav1.TypeKind_TYPE_KIND_JSON, metadatav1.TypeKind_TYPE_KIND_VECTOR,
		metadatav1.TypeKind_TYPE_KIND_LIST, metadatav1.TypeKind_TYPE_KIND_STRUCT,
		metadatav1.TypeKind_TYPE_KIND_MAP:
		return false
	}
	return Name(k) != ""
}

// allNames lists the canonical names for error messages.
func allNames() string {
	return strings.Join(slices.DeleteFunc(slices.Clone(names[:]), func(s string) bool { return s == "" }), ", ")
}
