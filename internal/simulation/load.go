package simulation

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// newWorkload makes the clients of a run.
func newWorkload(w *world) workload { return &plainLoad{w: w} }

// plainLoad is a few clients that create, read and drop, and nodes that beat. It
// checks only that everybody is answered.
type plainLoad struct {
	w        *world
	settling bool
	open     int
	serial   int
}

func (l *plainLoad) start() {
	for c := range l.w.plan.clients {
		l.next(c)
		l.subscribe(c)
	}
}

func (l *plainLoad) settle() { l.settling = true }

func (l *plainLoad) settled() (bool, string) {
	return l.open == 0, fmt.Sprintf("%d operations are open", l.open)
}

func (l *plainLoad) check() {}

func (l *plainLoad) next(client int) {
	l.w.after(around(l.w.rng, 200*time.Millisecond), func() {
		if l.settling {
			return
		}
		l.open++
		l.try(client, l.request(client))
	})
}

func (l *plainLoad) request(client int) proto.Message {
	rng := l.w.rng
	l.serial++
	name := fmt.Sprintf("t%d", rng.IntN(30))
	write := &metadatav1.WriteOptions{RequestId: fmt.Sprintf("r%d", l.serial)}
	switch rng.IntN(6) {
	case 0, 1:
		return &metadatav1.CreateTableRequest{Write: write, Table: &metadatav1.TableSchema{Name: name, Columns: []*metadatav1.ColumnSchema{
			{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
		}}}
	case 2:
		return &metadatav1.DropTableRequest{Write: write, Table: &metadatav1.TableRef{Name: name}}
	case 3:
		return &metadatav1.RegisterNodeRequest{Write: write, Node: &metadatav1.NodeInfo{
			NodeId: fmt.Sprintf("n%d", client), Addr: fmt.Sprintf("n%d:%d", client, 1+rng.IntN(60000)),
			NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "a",
		}}
	case 4:
		return &metadatav1.HeartbeatRequest{NodeId: fmt.Sprintf("n%d", client), Epoch: uint64(1 + rng.IntN(5))}
	}
	return &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: name}}
}

func (l *plainLoad) try(client int, request proto.Message) {
	to := uint64(1 + l.w.rng.IntN(len(l.w.members)))
	l.w.call(client, to, request, 2*time.Second, func(_ proto.Message, err error) {
		f := failure.As(err)
		if f != nil && (f.Kind() == failure.Unavailable || f.Kind() == failure.Deadline || f.Kind() == failure.Exhausted) {
			l.w.after(around(l.w.rng, 100*time.Millisecond), func() { l.try(client, request) })
			return
		}
		l.open--
		l.next(client)
	})
}

func (l *plainLoad) subscribe(client int) {
	to := uint64(1 + l.w.rng.IntN(len(l.w.members)))
	req := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{}}
	l.w.subscribe(client, to, req, func(*metadatav1.SubscribeResponse) {}, func(error) {
		l.w.after(around(l.w.rng, time.Second), func() { l.subscribe(client) })
	})
}
