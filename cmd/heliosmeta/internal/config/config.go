// Package config fills in flags from where else settings come: the command line
// wins over the environment, the environment over a YAML file, the file over the
// flag's default.
//
// Each flag is a setting; there is no second list. "--tick-interval" is
// HELIOSMETA_TICK_INTERVAL in the environment and tick_interval in the file,
// unless Source.Keys gives it another key there. Values are what the flag itself
// would take; in the file a list may be a sequence and pairs a mapping.
//
// The package refuses keys that it does not know and keys that are given twice,
// with file and line. It does not refuse unknown environment variables: others
// set some with our prefix (Kubernetes does for each service). It touches no file
// and no environment by itself, and is not for concurrent use.
package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/pflag"
)

// Prefix of the environment variables.
const Prefix = "HELIOSMETA_"

// MaxFileBytes bounds a configuration file.
const MaxFileBytes = 1 << 20

// Source is where settings come from beside the command line.
type Source struct {
	LookupEnv func(string) (string, bool)
	// FileName is for messages; FileText is the content, nil if there is no file.
	FileName string
	FileText []byte
	// Keys are those keys of the file, by flag, that are not the flag's name with
	// "_" for "-". A flag with the key "" cannot be set by the file.
	Keys map[string]string
}

// EnvName returns the environment variable of a flag.
func EnvName(flag string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Fill sets every flag that the command line did not set and the source has. The
// error names the variable, or file and line, and the value.
func Fill(flags *pflag.FlagSet, s Source) error {
	settings, err := s.settings(flags)
	if err != nil {
		return err
	}
	var failures []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		value, origin := settings[f.Name].value, settings[f.Name].origin
		if text, ok := s.LookupEnv(EnvName(f.Name)); ok {
			value, origin = text, "environment variable "+EnvName(f.Name)
		}
		if origin == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failures = append(failures, fmt.Errorf("%s: %q is not right for --%s: %w", origin, value, f.Name, cause(err)))
		}
	})
	return errors.Join(failures...)
}

// cause is what a flag's value said, without the flag library's sentence around it.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// setting is a value and where it was found.
type setting struct{ value, origin string }

// settings reads the file: values by flag.
func (s Source) settings(flags *pflag.FlagSet) (map[string]setting, error) {
	if len(s.FileText) > MaxFileBytes {
		return nil, fmt.Errorf("%s: %d bytes; a configuration has at most %d", s.FileName, len(s.FileText), MaxFileBytes)
	}
	file, err := parser.ParseBytes(s.FileText, 0)
	if err != nil {
		return nil, s.explain(err)
	}
	flagOf := s.flagsByKey(flags)
	found := make(map[string]setting)
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		pairs, ok := doc.Body.(ast.MapNode)
		if !ok {
			return nil, fmt.Errorf("%s: write pairs such as \"node_id: 1\", not %s", s.at(doc.Body), doc.Body.Type())
		}
		for pair := pairs.MapRange(); pair.Next(); {
			key := pair.Key().GetToken().Value
			flag, ok := flagOf[key]
			if !ok {
				return nil, fmt.Errorf("%s: unknown key %q; there are %s", s.at(pair.Key()), key,
					strings.Join(slices.Sorted(maps.Keys(flagOf)), ", "))
			}
			if _, twice := found[flag]; twice {
				return nil, fmt.Errorf("%s: key %q is given twice", s.at(pair.Key()), key)
			}
			value, err := text(pair.Value())
			if err != nil {
				return nil, fmt.Errorf("%s: key %q: %w", s.at(pair.Value()), key, err)
			}
			found[flag] = setting{value, s.at(pair.Key())}
		}
	}
	return found, nil
}

// flagsByKey returns the flag of each key that the file may have.
func (s Source) flagsByKey(flags *pflag.FlagSet) map[string]string {
	byKey := make(map[string]string)
	flags.VisitAll(func(f *pflag.Flag) {
		key, ok := s.Keys[f.Name]
		if !ok {
			key = strings.ReplaceAll(f.Name, "-", "_")
		}
		if key != "" && f.Name != "help" {
			byKey[key] = f.Name
		}
	})
	return byKey
}

// text is a value as it would stand on the command line.
func text(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.SequenceNode:
		parts := make([]string, len(n.Values))
		for i, value := range n.Values {
			var err error
			if parts[i], err = text(value); err != nil {
				return "", err
			}
		}
		return strings.Join(parts, ","), nil
	case ast.MapNode:
		var parts []string
		for pair := n.MapRange(); pair.Next(); {
			value, err := text(pair.Value())
			if err != nil {
				return "", err
			}
			parts = append(parts, pair.Key().GetToken().Value+"="+value)
		}
		return strings.Join(parts, ","), nil
	case *ast.NullNode:
		return "", errors.New("the value is missing")
	case *ast.StringNode:
		return n.Value, nil
	case ast.ScalarNode:
		return n.GetToken().Value, nil
	}
	return "", fmt.Errorf("a %s is not a value", node.Type())
}

// at is where a node stands.
func (s Source) at(node ast.Node) string {
	return fmt.Sprintf("%s:%d", s.FileName, node.GetToken().Position.Line)
}

// explain gives the parser's error its place and takes its drawing away.
func (s Source) explain(err error) error {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", s.FileName, e.GetToken().Position.Line, e.GetMessage())
	}
	return fmt.Errorf("%s: %w", s.FileName, err)
}
