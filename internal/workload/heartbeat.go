package workload

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// heartbeat beats for Nodes nodes in turn, over Clients streams with Pipeline beats under
// way on each. Through the Go client, beats that are made at the same moment share a
// message; a stock client sends one a message.
type heartbeat struct {
	*base
	nodes  []string
	epochs []uint64
	next   atomic.Int64
}

func (w *heartbeat) Prepare(ctx context.Context) (err error) {
	w.Say("registering %d nodes", w.Nodes)
	if w.nodes, err = w.registerNodes(ctx, w.Nodes, metadatav1.NodeType_NODE_TYPE_COMPUTE); err != nil {
		return err
	}
	w.epochs, err = w.epochsOf(ctx, w.nodes)
	return err
}

func (w *heartbeat) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	streaming, cancel := context.WithCancel(ctx)
	defer cancel()
	var streams []*gatherer
	for i := range plan.Clients {
		stream, err := w.caller(i).Beats(streaming)
		if err != nil {
			return Report{}, fmt.Errorf("opening a stream of heartbeats: %w", err)
		}
		pipe := NewPipe(w.Pipeline, stream.Send, stream.Receive)
		defer pipe.Wait() //nolint:errcheck // it ends because the stream was closed
		defer stream.Close()
		streams = append(streams, &gatherer{most: w.gathered(), do: pipe.Do})
	}
	plan.Clients *= w.Pipeline
	return w.loop(ctx, plan, func(client int) measure.Op {
		stream := streams[client%len(streams)]
		return func(ctx context.Context) (string, error) { return "", w.beat(ctx, stream) }
	})
}

// gathered is how many beats may share a message.
func (w *heartbeat) gathered() int {
	if w.dial.Client == GRPCClient {
		return 1
	}
	return maxGathered
}

// beat beats for the next node.
func (w *heartbeat) beat(ctx context.Context, stream *gatherer) error {
	i := int(w.next.Add(1)) % len(w.nodes)
	answer, err := stream.beat(ctx, &metadatav1.HeartbeatRequest{NodeId: w.nodes[i], Epoch: w.epochs[i]})
	if err != nil {
		return err
	}
	if refused := answer.GetRefused(); refused != nil {
		return &refusedError{refused.GetReason(), refused.GetMessage()}
	}
	if answer.GetGranted().GetNodeId() != w.nodes[i] {
		return &refusedError{"mixed_up", fmt.Sprintf("the answer to %s is for %q", w.nodes[i], answer.GetGranted().GetNodeId())}
	}
	return nil
}

func (w *heartbeat) Clean(ctx context.Context) error {
	w.Say("removing what was created")
	return w.unregisterNodes(ctx, w.nodes)
}

// registerNodes registers nodes of the Work and returns their ids.
func (b *base) registerNodes(ctx context.Context, n int, kind metadatav1.NodeType) ([]string, error) {
	var ids []string
	for len(ids) < n {
		req := new(metadatav1.ApplyBatchRequest)
		var batch []string
		for i := len(ids); i < min(len(ids)+fillBatch, n); i++ {
			id := fmt.Sprintf("%s-%05d", b.id, i)
			batch = append(batch, id)
			req.Commands = append(req.Commands, &metadatav1.Command{Command: &metadatav1.Command_RegisterNode{
				RegisterNode: &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
					NodeId: id, Addr: fmt.Sprintf("127.0.0.1:%d", 10_000+i), NodeType: kind, Incarnation: b.id,
				}},
			}})
		}
		if _, err := b.Control.ApplyBatch(ctx, req); err != nil {
			return ids, fmt.Errorf("registering nodes: %w", err)
		}
		ids = append(ids, batch...)
	}
	return ids, nil
}

// epochsOf reads the epochs under which nodes were registered.
func (b *base) epochsOf(ctx context.Context, ids []string) ([]uint64, error) {
	found := make(map[string]uint64)
	for token := ""; ; {
		page, err := b.Control.ListNodes(ctx, &metadatav1.ListNodesRequest{PageSize: 1000, PageToken: token})
		if err != nil {
			return nil, err
		}
		for _, n := range page.GetNodes() {
			found[n.GetNodeId()] = n.GetEpoch()
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	epochs := make([]uint64, len(ids))
	for i, id := range ids {
		if epochs[i] = found[id]; epochs[i] == 0 {
			return nil, fmt.Errorf("node %s was registered and is not listed", id)
		}
	}
	return epochs, nil
}

// unregisterNodes removes nodes. Those that are gone already do not matter.
func (b *base) unregisterNodes(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		batch := ids[:min(fillBatch, len(ids))]
		ids = ids[len(batch):]
		req := new(metadatav1.ApplyBatchRequest)
		for _, id := range batch {
			req.Commands = append(req.Commands, &metadatav1.Command{Command: &metadatav1.Command_UnregisterNode{
				UnregisterNode: &metadatav1.UnregisterNodeRequest{NodeId: id},
			}})
		}
		if _, err := b.Control.ApplyBatch(ctx, req); err != nil && !client.IsNotFound(err) {
			return err
		}
	}
	return nil
}
