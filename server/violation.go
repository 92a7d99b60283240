package server

import (
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxQuoted bounds how much of a wrong value an error repeats.
const maxQuoted = 64

// describe says which rule is broken and by what.
func describe(v *protovalidate.Violation) string {
	rule := v.Proto.GetMessage()
	if rule == "" {
		rule = v.Proto.GetRuleId()
	}
	if !v.FieldValue.IsValid() {
		return rule
	}
	return rule + got(v.FieldValue)
}

// got shows a wrong value, or how much of it there is.
func got(value protoreflect.Value) string {
	switch wrong := value.Interface().(type) {
	case protoreflect.List:
		return fmt.Sprintf(" (got %d items)", wrong.Len())
	case protoreflect.Map:
		return fmt.Sprintf(" (got %d pairs)", wrong.Len())
	case protoreflect.EnumNumber:
		return fmt.Sprintf(" (got %d)", wrong)
	case string:
		if len(wrong) > maxQuoted {
			return fmt.Sprintf(" (got %d bytes, %q...)", len(wrong), wrong[:maxQuoted])
		}
		return fmt.Sprintf(" (got %q)", wrong)
	case []byte:
		return fmt.Sprintf(" (got %d bytes)", len(wrong))
	case protoreflect.Message:
		return ""
	}
	return fmt.Sprintf(" (got %v)", value.Interface())
}

func quote(key []byte) string { return fmt.Sprintf("%q", key) }
