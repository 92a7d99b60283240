package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	callDeadline = 8 * time.Second // for one call of the load
	callTries    = 4               // calls with one request id, until its outcome is known
	// era is how long the load uses one set of names: then it goes on with fresh ones, so
	// that writes of unknown outcome stay few for each name.
	era = 12 * time.Second
)

// worker is one sequential client of the load.
type worker struct {
	run    *run
	number int // in the history
	random *rand.Rand
	client *client.Client
	member uint64 // that the client asks; 0: any
	seen   *metadatav1.Position
	ids    int
}

// method is an rpc of the client.
type method[Req, Res proto.Message] = func(*client.Client, context.Context, Req) (Res, error)

// ask makes a call and records it. A write whose outcome is unknown is sent again with its
// request id, to other members too.
func ask[Req, Res proto.Message](w *worker, req Req, call method[Req, Res]) (Res, error) {
	op := w.run.begin(w.number, w.member, req)
	at := w.client
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
		res, err := call(at, ctx, req)
		cancel()
		if w.run.end(op, res, err) || try == callTries {
			if err == nil {
				w.learn(res)
			}
			return res, err
		}
		var member uint64
		at, member = w.run.anyClient(w.random)
		op.Retry(member)
	}
}

// learn notes the position of an answer.
func (w *worker) learn(answer proto.Message) {
	switch a := any(answer).(type) {
	case interface {
		GetResult() *metadatav1.WriteResult
	}:
		w.seen = merge(w.seen, a.GetResult().GetPosition())
	case interface{ GetPosition() *metadatav1.Position }:
		w.seen = merge(w.seen, a.GetPosition())
	}
}

// merge returns the larger of two positions, component by component.
func merge(a, b *metadatav1.Position) *metadatav1.Position {
	if b == nil {
		return a
	}
	return &metadatav1.Position{
		ClusterId: b.GetClusterId(), RecoveryEpoch: b.GetRecoveryEpoch(),
		SchemaRevision:   max(a.GetSchemaRevision(), b.GetSchemaRevision()),
		TopologyRevision: max(a.GetTopologyRevision(), b.GetTopologyRevision()),
	}
}

// write returns options with a request id of its own; now and then with the revision that
// the client knows.
func (w *worker) write(revision func(*metadatav1.Position) uint64) *metadatav1.WriteOptions {
	w.ids++
	o := &metadatav1.WriteOptions{RequestId: fmt.Sprintf("w%d-%d", w.number, w.ids)}
	if w.random.IntN(3) == 0 {
		o.KnownRevision = revision(w.seen)
	}
	return o
}

// read returns options of any consistency.
func (w *worker) read() *metadatav1.ReadOptions {
	switch w.random.IntN(4) {
	case 0:
		return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}
	case 1:
		if w.seen != nil {
			return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: proto.CloneOf(w.seen)}
		}
	case 2:
		return nil // linearizable
	}
	return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LINEARIZABLE}
}

// loop does one thing after the other until the context ends. What has begun is finished.
func (w *worker) loop(ctx context.Context, things ...func()) {
	for pause(ctx, time.Duration(3+w.random.IntN(20))*time.Millisecond) {
		things[w.random.IntN(len(things))]()
	}
}

// pick returns one of the names of now, which some workers share.
func (w *worker) pick(prefix string, count int) string {
	return fmt.Sprintf("%s_%d_%d", prefix, w.run.now()/era, w.random.IntN(count))
}
