package client

import (
	"sync"
	"sync/atomic"
)

// decodedSlack is how many messages may be kept beside those of twice the objects
// that exist.
const decodedSlack = 1024

// decoded keeps the messages that readers asked for, by the record that each was
// decoded from, so that asking again costs no decoding. Records that were
// replaced stay until there are too many of them; then a new decoded begins.
type decoded struct {
	messages sync.Map // *schema.Table and the like -> its message
	size     atomic.Int64
}

// record is an object of a model in its encoding.
type record[M any] interface {
	comparable
	Message() M
}

// messageOf returns a record's message, which all readers share.
func messageOf[M any, R record[M]](d *decoded, r R) M {
	if m, ok := d.messages.Load(r); ok {
		return m.(M)
	}
	m, known := d.messages.LoadOrStore(r, r.Message())
	if !known {
		d.size.Add(1)
	}
	return m.(M)
}

// orNew returns d as long as it holds little that no model of so many objects
// needs, else a new one.
func (d *decoded) orNew(objects int) *decoded {
	if d == nil || d.size.Load() > int64(2*objects+decodedSlack) {
		return new(decoded)
	}
	return d
}
