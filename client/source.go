package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// History is the history of a stream as the service has it: the bytes of the changes as
// they were logged, which is what digests cover. Nothing is believed of them: they are
// decoded here, and [history.Verify] follows their digests; what is left of a trimmed stream
// [history.ReadBase] and [history.Replay] fold. It is safe for concurrent use,
// and quickest for one who reads on where the last read ended: then it keeps a stream open.
// Close it.
type History struct {
	client *Client
	origin history.Origin
	read   *metadatav1.ReadOptions
	slot   chan *reading // held by whoever reads

	mu   sync.Mutex
	head *metadatav1.GetHeadResponse // what a member said last
}

var _ interface {
	history.Source
	history.DigestKeeper
	history.BaseKeeper
} = (*History)(nil)

// History returns the history of a stream. It is of the cluster and the recovery epoch of
// the member that answers now; a member of another one is an error later. read says how
// fresh its answers are; nil: they have everything that was acknowledged before.
func (c *Client) History(ctx context.Context, stream metadatav1.Stream, read *metadatav1.ReadOptions) (*History, error) {
	head, err := c.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: stream, Read: read})
	if err != nil {
		return nil, err
	}
	cluster, err := events.ParseClusterID(head.GetClusterId())
	if err != nil {
		return nil, fmt.Errorf("client: a member says that its cluster is %q: %w", head.GetClusterId(), err)
	}
	h := &History{
		client: c,
		origin: history.Origin{Stream: stream, Cluster: cluster, RecoveryEpoch: head.GetRecoveryEpoch()},
		read:   read,
		slot:   make(chan *reading, 1),
		head:   head,
	}
	h.slot <- nil
	return h, nil
}

// Origin returns whose history it is.
func (h *History) Origin() history.Origin { return h.origin }

// Bounds asks a member what it has.
func (h *History) Bounds(ctx context.Context) (history.Bounds, error) {
	head, err := h.client.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: h.origin.Stream, Read: h.read})
	if err != nil {
		return history.Bounds{}, err
	}
	if err := h.own(head.GetClusterId(), head.GetRecoveryEpoch()); err != nil {
		return history.Bounds{}, err
	}
	floor := head.GetFloor()
	b := history.Bounds{
		First: max(1, floor.GetOldestRevision()), Last: head.GetRevision(),
		Previous: events.FirstDigest(h.origin.Cluster, h.origin.Stream),
	}
	if b.First > 1 {
		if n := len(floor.GetPreviousDigest()); n != len(b.Previous) {
			return b, fmt.Errorf("client: member %d says of the digest before revision %d that it has %d bytes, not %d",
				head.GetMemberId(), b.First, n, len(b.Previous))
		}
		b.Previous = events.Digest(floor.GetPreviousDigest())
	}
	if b.First > b.Last+1 {
		return b, fmt.Errorf("client: member %d says that the %s stream begins at revision %d and ends at %d",
			head.GetMemberId(), events.StreamName(h.origin.Stream), b.First, b.Last)
	}
	h.mu.Lock()
	h.head = head
	h.mu.Unlock()
	return b, nil
}

// said returns what a member said last of where the stream stands.
func (h *History) said() *metadatav1.GetHeadResponse {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head
}

// own refuses what another cluster, or this one in another recovery epoch, says.
func (h *History) own(cluster string, epoch uint64) error {
	if cluster == h.origin.Cluster.String() && epoch == h.origin.RecoveryEpoch {
		return nil
	}
	return fmt.Errorf("client: a member is of cluster %s, recovery epoch %d; another one of cluster %v, recovery epoch %d: name endpoints of one cluster",
		cluster, epoch, h.origin.Cluster, h.origin.RecoveryEpoch)
}

// KeptDigest returns the digest that a member has named in answer to the last Bounds.
func (h *History) KeptDigest(_ context.Context, from uint64) (uint64, events.Digest, error) {
	head := h.said()
	if from > head.GetRevision() {
		return 0, events.Digest{}, nil
	}
	if len(head.GetDigest()) != len(events.Digest{}) {
		return 0, events.Digest{}, fmt.Errorf("client: member %d says that the digest of the %s stream is %s",
			head.GetMemberId(), events.StreamName(h.origin.Stream), hex.EncodeToString(head.GetDigest()))
	}
	return head.GetRevision(), events.Digest(head.GetDigest()), nil
}

// Read returns changes as [history.Source] says. The service's answers are errors as they
// are of other calls.
func (h *History) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	var r *reading
	select {
	case r = <-h.slot:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { h.slot <- r }()
	if r.at(from) {
		changes, err := r.read(ctx, maxBytes)
		if err == nil && len(changes) > 0 {
			return changes, nil
		}
		// It has broken, perhaps while nobody read, or has come to its end.
	}
	if maxBytes <= oneChange {
		return h.one(ctx, from)
	}
	r.close()
	r = h.begin(ctx, from, 0)
	changes, err := r.read(ctx, maxBytes)
	return changes, h.explain(ctx, from, changes, err)
}

// oneChange is how many bytes those ask for who want one change.
const oneChange = 1

// one reads one change, without a stream of all that follow.
func (h *History) one(ctx context.Context, from uint64) ([]*events.Change, error) {
	r := h.begin(ctx, from, from)
	defer r.close()
	changes, err := r.read(ctx, oneChange)
	return changes, h.explain(ctx, from, changes, err)
}

// explain turns an answer into what a Source says. Behind its last revision it has nothing;
// but a member that lags must not look like a history that ends.
func (h *History) explain(ctx context.Context, from uint64, changes []*events.Change, err error) error {
	switch Reason(err) {
	case metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION:
		err = nil
	case metadatav1.ErrorReason_ERROR_REASON_DAMAGED:
		// So whoever reads histories, wherever they are, takes it for what it is.
		err = failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED, "%v", err)
	}
	if err != nil || len(changes) > 0 {
		return err
	}
	head := h.said()
	if from > head.GetRevision() {
		return ctx.Err()
	}
	return fmt.Errorf("client: the member that answers does not have revision %d of the %s stream yet, but member %d is at %d; try again",
		from, events.StreamName(h.origin.Stream), head.GetMemberId(), head.GetRevision())
}

// Close ends what is open. Nobody may read any more.
func (h *History) Close() {
	(<-h.slot).close()
	h.slot <- nil
}

// reading is one stream of originals. A nil reading is at no revision.
type reading struct {
	history *History
	next    uint64   // the revision that is read next
	ready   [][]byte // from next on
	size    int      // of the changes given by the read under way
	cancel  context.CancelFunc
	pull    func() (*metadatav1.StreamChangesResponse, error, bool)
	stop    func()
	begun   bool
	done    bool
}

// begin asks for the changes from a revision on, to a last one if it is not 0. The stream
// outlives the context: the next read has another one.
func (h *History) begin(ctx context.Context, from, last uint64) *reading {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pull, stop := iter.Pull2(h.client.StreamChanges(ctx, &metadatav1.StreamChangesRequest{
		Selection: &metadatav1.ChangeSelection{Stream: h.origin.Stream, FirstRevision: from, LastRevision: last}, Originals: true, Read: h.read,
	}))
	return &reading{history: h, next: from, cancel: cancel, pull: pull, stop: stop}
}

func (r *reading) at(revision uint64) bool { return r != nil && !r.done && r.next == revision }

func (r *reading) close() {
	if r != nil {
		r.cancel()
		r.stop()
		r.done = true
	}
}

// read decodes as many changes as fit, at least one if there is one.
func (r *reading) read(ctx context.Context, maxBytes int) (changes []*events.Change, err error) {
	defer context.AfterFunc(ctx, r.cancel)()
	for r.size = 0; ; {
		if len(r.ready) == 0 {
			if more, err := r.receive(); err != nil || !more {
				r.close()
				return changes, endOf(ctx, changes, err)
			}
			continue
		}
		raw := r.ready[0]
		if r.size += len(raw); r.size > maxBytes && len(changes) > 0 {
			return changes, nil
		}
		c, err := events.DecodeChange(raw)
		if err != nil {
			r.close()
			return changes, endOf(ctx, changes, err)
		}
		changes = append(changes, c)
		r.ready = r.ready[1:]
		r.next++
	}
}

// endOf is the error of a read that has ended early: with what it has, there is none yet.
func endOf(ctx context.Context, changes []*events.Change, err error) error {
	switch {
	case len(changes) > 0:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// receive takes the next message; false after the last one.
func (r *reading) receive() (more bool, err error) {
	m, err, more := r.pull()
	if !more || err != nil {
		return false, err
	}
	if !r.begun {
		if err := r.history.own(m.GetClusterId(), m.GetRecoveryEpoch()); err != nil {
			return false, err
		}
		r.begun = true
	}
	if len(m.GetChanges()) > 0 {
		return false, errors.New("client: a member sent changes as messages where their bytes were asked for")
	}
	r.ready = m.GetOriginals()
	return true, nil
}
