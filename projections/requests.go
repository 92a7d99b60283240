package projections

import (
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	"github.com/heliosdb/metadata/projections/internal/fold"
)

// The window of remembered requests. It is counted, never timed, so that it is
// the same on all members.
const (
	// MaxRequests is the number of request ids that a state remembers.
	MaxRequests = 16384
	// MaxRequestBytes bounds the size of the changes remembered with them.
	MaxRequestBytes = 32 << 20
)

// Requests is the window of the last request ids with the changes that they
// made. It is an immutable value.
type Requests struct {
	ids       cow.Set[requestID]
	order     queue
	bytes     int
	forgotten uint64
}

// requestID finds a remembered change by its id.
type requestID struct {
	id string // a part of the change's bytes
	request
}

// request is one remembered change.
type request struct {
	revision uint64
	raw      string
}

func newRequests() Requests {
	r := Requests{ids: cow.New(func(a, b requestID) bool { return a.id < b.id })}
	r.freeze()
	return r
}

// Lookup returns the change that a request made, if it is remembered. It decodes
// the change.
func (r Requests) Lookup(id string) (*events.Change, bool) {
	found, ok := r.ids.Get(requestID{id: id})
	if !ok {
		return nil, false
	}
	c, err := events.DecodeChange(fold.Bytes(found.raw))
	if err != nil {
		panic("projections: a remembered change does not decode: " + err.Error())
	}
	return c, true
}

// Forgotten returns the revision of the newest change whose request id was
// remembered and is not any more; 0: none.
func (r Requests) Forgotten() uint64 { return r.forgotten }

// Len returns the number of remembered requests.
func (r Requests) Len() int { return r.order.len() }

// Bytes returns the size of the remembered changes.
func (r Requests) Bytes() int { return r.bytes }

func (r *Requests) freeze() {
	r.ids.Freeze()
	r.order.freeze()
}

// add remembers a change with a request id, and forgets the oldest beyond the
// limits.
func (r *Requests) add(c *events.Change) {
	if c.RequestID() == "" {
		return
	}
	r.put(c.Revision(), c.RequestID(), fold.View(c.Raw()))
	for r.order.len() > MaxRequests || r.bytes > MaxRequestBytes {
		r.forgetOldest()
	}
}

func (r *Requests) put(revision uint64, id, raw string) {
	r.ids.Put(requestID{id, request{revision, raw}})
	r.order.push(request{revision, raw})
	r.bytes += len(raw)
}

func (r *Requests) forgetOldest() {
	oldest := r.order.pop()
	r.bytes -= len(oldest.raw)
	r.forgotten = oldest.revision
	_, id, err := events.ScanChange(fold.Bytes(oldest.raw))
	if err != nil {
		panic("projections: a remembered change is damaged: " + err.Error())
	}
	// The id may have been used for a newer change since.
	if at, ok := r.ids.Get(requestID{id: fold.View(id)}); ok && at.revision == oldest.revision {
		r.ids.Delete(at)
	}
}

// export yields the remembered changes by revision.
func (r Requests) export(yield func(record []byte) error) error {
	var buf []byte
	for c := range r.order.all() {
		buf = fold.AppendRecord(buf[:0], fold.RecordRequest, c.raw)
		if err := yield(buf); err != nil {
			return err
		}
	}
	return nil
}
