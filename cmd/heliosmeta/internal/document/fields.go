package document

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/heliosdb/metadata/internal/keytext"
	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// scalar returns the text of a value that is written as one word or string.
func scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.NullNode:
		return "", &fieldError{node, "the value is missing"}
	case ast.ScalarNode:
		return n.GetToken().Value, nil
	}
	return "", &fieldError{node, fmt.Sprintf("text is expected, not %s", node.Type())}
}

// dataType is a type as text.
type dataType struct{ message *metadatav1.DataType }

// UnmarshalYAML reads the type.
func (t *dataType) UnmarshalYAML(node ast.Node) error {
	text, err := scalar(node)
	if err != nil {
		return err
	}
	if t.message, err = sqltype.Parse(text); err != nil {
		return &fieldError{node, "type: " + err.Error()}
	}
	return nil
}

// key is a key as text or hex.
type key struct{ bytes []byte }

// UnmarshalYAML reads the key.
func (k *key) UnmarshalYAML(node ast.Node) error {
	text, err := scalar(node)
	if err != nil {
		return err
	}
	// Bare 0x20 is a number to YAML. What is written counts.
	if k.bytes, err = keytext.Parse(text); err != nil {
		return &fieldError{node, err.Error()}
	}
	return nil
}

// toast is a TOAST strategy by name.
type toast struct{ value metadatav1.ToastStrategy }

// UnmarshalYAML reads the strategy.
func (t *toast) UnmarshalYAML(node ast.Node) error {
	n, err := enum(node, "TOAST strategy", "TOAST_STRATEGY_", metadatav1.ToastStrategy_value)
	t.value = metadatav1.ToastStrategy(n)
	return err
}

// nodeType is a node type by name.
type nodeType struct{ value metadatav1.NodeType }

// UnmarshalYAML reads the type.
func (t *nodeType) UnmarshalYAML(node ast.Node) error {
	n, err := enum(node, "node type", "NODE_TYPE_", metadatav1.NodeType_value)
	t.value = metadatav1.NodeType(n)
	return err
}

// enum reads the name of an enum's value, in any case.
func enum(node ast.Node, what, prefix string, values map[string]int32) (int32, error) {
	text, err := scalar(node)
	if err != nil {
		return 0, err
	}
	if n := values[prefix+strings.ToUpper(text)]; n != 0 {
		return n, nil
	}
	return 0, &fieldError{node, fmt.Sprintf("there is no %s %q; there are %s", what, text, strings.Join(names(prefix, values), ", "))}
}
