package transport

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/semaphore"
)

// errBroken is why an outbox takes no more frames.
var errBroken = errors.New("connection is closed")

// maxControlBytes bounds the encoded frames that wait when another pong or cancel is added:
// a peer that sends pings and reads nothing must not grow the outbox.
const maxControlBytes = 64 << 10

// queued is a message that waits to be encoded.
type queued struct {
	group  raftlog.GroupID
	m      *pb.Message
	weight int
}

// outbox is what waits to be written to one connection: encoded frames, and
// messages that who writes them encodes. Many goroutines put, one at a time writes.
type outbox struct {
	wake chan struct{} // has a token when there may be something to take
	room *semaphore.Weighted

	mu       sync.Mutex
	frames   []byte
	reserved int64 // of room, by frames
	messages []queued
	bytes    int // weight of messages
	closed   bool
	writing  bool // somebody has taken what waited and is writing it
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), room: semaphore.NewWeighted(MaxCallBytes)}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// putMessage queues a message and returns what was dropped: older expendable
// messages that had to make room, or m itself. Call signal afterwards.
func (o *outbox) putMessage(group raftlog.GroupID, m *pb.Message, dropped []*pb.Message) []*pb.Message {
	w := weight(m)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || w > MaxQueuedBytes {
		return append(dropped, m)
	}
	for len(o.messages) >= MaxQueuedMessages || o.bytes+w > MaxQueuedBytes {
		i := slices.IndexFunc(o.messages, func(q queued) bool { return expendable(q.m) })
		if i < 0 {
			return append(dropped, m)
		}
		dropped = append(dropped, o.messages[i].m)
		o.bytes -= o.messages[i].weight
		o.messages = slices.Delete(o.messages, i, i+1)
	}
	o.messages = append(o.messages, queued{group: group, m: m, weight: w})
	o.bytes += w
	return dropped
}

// putCall queues one encoded frame of a call, of about size bytes, and waits
// for room until ctx ends. An error means that nothing was queued.
func (o *outbox) putCall(ctx context.Context, size int, encode func([]byte) []byte) error {
	if err := o.room.Acquire(ctx, int64(size)); err != nil {
		return err
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		o.room.Release(int64(size))
		return errBroken
	}
	o.frames = encode(o.frames)
	o.reserved += int64(size)
	o.mu.Unlock()
	o.signal()
	return nil
}

// putControl queues a small encoded frame, or drops it when much waits already.
func (o *outbox) putControl(encoded []byte) {
	o.mu.Lock()
	if !o.closed && len(o.frames) < maxControlBytes {
		o.frames = append(o.frames, encoded...)
	}
	o.mu.Unlock()
	o.signal()
}

// parcel is what is taken at once.
type parcel struct {
	frames   []byte
	reserved int64
	messages []queued
}

// take moves all that waits into p, whose emptied slices it keeps for what
// comes next. more is false when nothing waited; open is false when in
// addition nothing can come any more.
func (o *outbox) take(p *parcel) (more, open bool) {
	clear(p.messages) // do not keep sent messages alive
	o.mu.Lock()
	defer o.mu.Unlock()
	p.frames, o.frames = o.frames, p.frames[:0]
	p.messages, o.messages = o.messages, p.messages[:0]
	p.reserved, o.reserved, o.bytes = o.reserved, 0, 0
	return len(p.frames) > 0 || len(p.messages) > 0, !o.closed
}

// begin is take for the writer, who calls end when it has written. While a sender writes
// nothing is taken; the outbox wakes the writer if that leaves something.
func (o *outbox) begin(p *parcel) (more, open bool) {
	if !o.enter(func() bool { return true }) {
		return false, true
	}
	if more, open = o.take(p); !more {
		o.end()
	}
	return more, open
}

// beginDirect is begin for a sender that wants to write what waits, and calls endDirect then.
// It takes nothing, and says so, unless the connection is idle and that is little.
func (o *outbox) beginDirect(p *parcel) bool {
	little := func() bool {
		return !o.closed && len(o.frames) == 0 && len(o.messages) > 0 && o.bytes <= maxDirectBytes
	}
	if !o.enter(little) {
		return false
	}
	o.take(p)
	return true
}

// enter makes the caller the only one who writes, if nobody does and may agrees.
func (o *outbox) enter(may func() bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing || !may() {
		return false
	}
	o.writing = true
	return true
}

// end is after what begin has taken was written.
func (o *outbox) end() {
	o.mu.Lock()
	o.writing = false
	o.mu.Unlock()
}

// endDirect puts what was not written, which may begin within a frame, before all else, and
// wakes the writer if there is something for it to do.
func (o *outbox) endDirect(left []byte) {
	o.mu.Lock()
	o.writing = false
	if len(left) > 0 {
		o.frames = append(bytes.Clone(left), o.frames...)
	}
	more := o.closed || len(o.frames) > 0 || len(o.messages) > 0
	o.mu.Unlock()
	if more {
		o.signal()
	}
}

// close refuses all further puts. What waits can still be taken.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.signal()
}
