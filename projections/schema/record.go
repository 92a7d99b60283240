package schema

import (
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// public is the encoding of the namespace that exists from the beginning.
var public = fold.Marshal(&metadatav1.Namespace{NamespaceId: PublicID, Name: Public, Version: 1})

// Namespace is one namespace as it was logged. It is immutable.
type Namespace struct {
	raw         string
	id, version uint64
	name        string // a part of raw
}

func newNamespace(raw []byte) (*Namespace, error) {
	n := &Namespace{raw: string(raw)}
	err := fold.Fields(n.raw, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			n.id = number
		case 2:
			n.name = value
		case 5:
			n.version = number
		}
	})
	return n, err
}

// ID returns the namespace's id.
func (n *Namespace) ID() uint64 { return n.id }

// Name returns the namespace's name.
func (n *Namespace) Name() string { return n.name }

// Version returns the namespace's version.
func (n *Namespace) Version() uint64 { return n.version }

// Bytes returns the encoding. It is shared: never write to it.
func (n *Namespace) Bytes() []byte { return fold.Bytes(n.raw) }

// Message decodes the namespace. The message is the caller's.
func (n *Namespace) Message() *metadatav1.Namespace {
	m := new(metadatav1.Namespace)
	fold.Decode(n.raw, m)
	return m
}
