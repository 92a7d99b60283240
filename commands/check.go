package commands

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// publicNamespace always exists and is meant where no namespace is named.
const publicNamespace = "public"

// invalid returns the rejection of a field. Paths are relative to what is
// checked; within completes them on the way out, so that success costs nothing.
func invalid(path, format string, args ...any) error {
	return failure.InvalidField(path, format, args...)
}

// reject returns a rejection that blames the state and not a field.
func reject(reason metadatav1.ErrorReason, format string, args ...any) *failure.Error {
	return failure.New(reason, format, args...)
}

// within says under which path of the command a rejection arose. Rejections that
// blame no field carry the path as the metadata pair "field".
func within(path string, err error) error {
	e := failure.As(err)
	if e == nil || path == "" {
		return err
	}
	if len(e.Fields) == 0 {
		below := e.Metadata["field"]
		at := join(path, below)
		moved := e.With("field", at)
		moved.Message = at + ": " + strings.TrimPrefix(e.Message, below+": ")
		return moved
	}
	moved := *e
	moved.Fields = slices.Clone(e.Fields)
	for i := range moved.Fields {
		moved.Fields[i].Path = join(path, moved.Fields[i].Path)
	}
	moved.Message = moved.Fields[0].Path + ": " + moved.Fields[0].Description
	return &moved
}

// element is within for one element of a list.
func element(list string, i int, err error) error {
	return within(list+"["+strconv.Itoa(i)+"]", err)
}

func join(path, below string) string {
	switch {
	case path == "":
		return below
	case below == "", below[0] == '[', below[0] == '.':
		return path + below
	}
	return path + "." + below
}

// checkName checks the name of a namespace, table or column.
func checkName(path, name string) error {
	if name == "" {
		return invalid(path, "the name is empty")
	}
	if len(name) > MaxNameBytes {
		return invalid(path, "the name has %d bytes; at most %d are allowed", len(name), MaxNameBytes)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '$', c == '-':
		case '0' <= c && c <= '9':
			if i == 0 {
				return invalid(path, "%q starts with a digit", name)
			}
		default:
			return invalid(path, `%q contains more than the letters A-Z and a-z, digits, "_", "$" and "-"`, name)
		}
	}
	return nil
}

// checkNodeID checks the id that a node chose.
func checkNodeID(path, id string) error { return checkChosen(path, "node id", id) }

// checkChosen checks the name of something outside that it chose for itself.
func checkChosen(path, what, id string) error {
	if id == "" {
		return invalid(path, "the %s is empty", what)
	}
	if len(id) > MaxNameBytes {
		return invalid(path, "the %s has %d bytes; at most %d are allowed", what, len(id), MaxNameBytes)
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("_.:-", c) >= 0:
		default:
			return invalid(path, `%q contains more than the letters A-Z and a-z, digits, "_", ".", ":" and "-"`, id)
		}
	}
	return nil
}

// checkAddress checks HOST:PORT, with an IPv6 host in brackets.
func checkAddress(path, addr string) error {
	if len(addr) > MaxAddressBytes {
		return invalid(path, "the address has %d bytes; at most %d are allowed", len(addr), MaxAddressBytes)
	}
	colon := strings.LastIndexByte(addr, ':')
	if colon < 0 {
		return invalid(path, "%q is not HOST:PORT", addr)
	}
	host, port := addr[:colon], addr[colon+1:]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.ContainsAny(host, ":[]") {
		return invalid(path, "%q is not HOST:PORT; an IPv6 host stands in brackets", addr)
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '@' }) {
		return invalid(path, "%q is not HOST:PORT: its host is empty or no host name", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return invalid(path, "%q is not HOST:PORT: the port is not a number from 1 to 65535", addr)
	}
	return nil
}

// checkText checks a comment or default.
func checkText(path, text string) error { return checkLength(path, text, MaxTextBytes) }

func checkLength(path, text string, most int) error {
	if len(text) > most {
		return invalid(path, "the text has %d bytes; at most %d are allowed", len(text), most)
	}
	return nil
}

// checkProperties checks properties or labels. Of several bad pairs it blames
// the first by key, so that the answer is the same each time.
func checkProperties(path string, pairs map[string]string) error {
	if len(pairs) == 0 {
		return nil
	}
	if len(pairs) > MaxProperties {
		return invalid(path, "%d pairs were given; at most %d are allowed", len(pairs), MaxProperties)
	}
	good := true
	for key, value := range pairs {
		good = good && checkPair(path, key, value) == nil
	}
	if good {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		if err := checkPair(path, key, pairs[key]); err != nil {
			return err
		}
	}
	return nil
}

func checkPair(path, key, value string) error {
	if key == "" {
		return invalid(path, "a key is empty")
	}
	if len(key) > MaxPropertyKeyBytes {
		return invalid(path, "the key %.20q... has %d bytes; at most %d are allowed", key, len(key), MaxPropertyKeyBytes)
	}
	if n := len(value); n > MaxPropertyValueBytes {
		return invalid(path, "the value of %q has %d bytes; at most %d are allowed", key, n, MaxPropertyValueBytes)
	}
	return nil
}

// checkVersion compares an object's version with the one that the command
// expects, if it expects one. Here and below, what is only asked if it is not.
func checkVersion(what func() string, version uint64, expected *uint64) error {
	if expected == nil || *expected == version {
		return nil
	}
	return reject(metadatav1.ErrorReason_ERROR_REASON_VERSION_MISMATCH,
		"%s has version %d, not %d as expected: somebody else changed it; read it again and decide anew", what(), version, *expected).
		With("version", strconv.FormatUint(version, 10)).With("expected_version", strconv.FormatUint(*expected, 10))
}

// checkSize keeps an object below the size that one message can carry.
func checkSize(what func() string, size int) error {
	if size <= MaxObjectBytes {
		return nil
	}
	return limit("MaxObjectBytes", "%s would have %d bytes; at most %d are allowed", what(), size, MaxObjectBytes)
}

// usedID is the rejection of an id that was given before.
func usedID(what string, id uint64) error {
	return reject(metadatav1.ErrorReason_ERROR_REASON_ID_USED,
		"%s id %d was used before; ids are never used again: choose another, or 0 to have one assigned", what, id).
		With("id", strconv.FormatUint(id, 10))
}

func notFound(format string, args ...any) *failure.Error {
	return reject(metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND, format, args...)
}

func alreadyExists(format string, args ...any) *failure.Error {
	return reject(metadatav1.ErrorReason_ERROR_REASON_ALREADY_EXISTS, format, args...)
}
