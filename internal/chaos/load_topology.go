package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	beatPause   = 300 * time.Millisecond
	fenceFactor = 0.8 // of a lease, after which a node stops serving
	// lifeBeats is for how many beats a node lives before it vanishes.
	lifeBeats = 40
)

func topologyRevision(p *metadatav1.Position) uint64 { return p.GetTopologyRevision() }

// node is a node of the database that registers, beats, vanishes and comes back.
func (w *worker) node(ctx context.Context) {
	id := fmt.Sprintf("node-%d", w.number)
	for life := 1; ctx.Err() == nil; life++ {
		session := w.run.history.Session(w.number, id)
		register := &metadatav1.RegisterNodeRequest{
			Node: &metadatav1.NodeInfo{
				NodeId: id, Addr: "127.0.0.1:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE,
				Incarnation: fmt.Sprintf("%s-%d", id, life),
			},
			Write: w.write(topologyRevision),
		}
		res, err := ask(w, register, (*client.Client).RegisterNode)
		if err != nil {
			// Most likely the life before still has its lease.
			pause(ctx, beatPause)
			continue
		}
		w.beats(ctx, id, res.GetNode().GetEpoch(), func(epoch uint64, sent time.Duration, lease time.Duration) {
			session.Alive(epoch, w.run.now(), sent+time.Duration(fenceFactor*float64(lease)))
		})
		session.Fenced(w.run.now())
	}
}

// beats beats until the context ends, the life is over or the service wants another
// registration.
func (w *worker) beats(ctx context.Context, id string, epoch uint64, granted func(uint64, time.Duration, time.Duration)) {
	for range 1 + w.random.IntN(lifeBeats) {
		request := &metadatav1.HeartbeatRequest{NodeId: id, Epoch: epoch, Load: &metadatav1.NodeLoad{CpuMillis: w.random.Uint64N(4000)}}
		sent := w.run.now()
		res, err := ask(w, request, (*client.Client).Heartbeat)
		switch {
		case err == nil:
			granted(epoch, sent, res.GetLeaseDuration().AsDuration())
		case client.IsStaleEpoch(err) || client.IsNotFound(err):
			return
		}
		if w.random.IntN(6) == 0 {
			w.lookAround(id)
		}
		if !pause(ctx, beatPause) {
			return
		}
	}
}

// lookAround reads, or changes something about the node.
func (w *worker) lookAround(id string) {
	switch w.random.IntN(4) {
	case 0:
		_, _ = ask(w, &metadatav1.GetNodeRequest{NodeId: id, Read: w.read()}, (*client.Client).GetNode)
	case 1:
		_, _ = ask(w, &metadatav1.ListNodesRequest{Read: w.read()}, (*client.Client).ListNodes)
	case 2:
		request := &metadatav1.DrainNodeRequest{NodeId: id, Cancel: w.random.IntN(3) > 0, Write: w.write(topologyRevision)}
		_, _ = ask(w, request, (*client.Client).DrainNode)
	default:
		_, _ = ask(w, &metadatav1.UnregisterNodeRequest{NodeId: id, Write: w.write(topologyRevision)}, (*client.Client).UnregisterNode)
	}
}

// shards puts, splits, moves, merges, deletes and reads shards on a node that stays.
func (w *worker) shards(ctx context.Context) {
	home := fmt.Sprintf("home-%d", w.number)
	for ctx.Err() == nil {
		register := &metadatav1.RegisterNodeRequest{
			Node: &metadatav1.NodeInfo{
				NodeId: home, Addr: "127.0.0.1:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: home,
			},
			Write: w.write(topologyRevision),
		}
		if _, err := ask(w, register, (*client.Client).RegisterNode); err == nil {
			break
		}
		pause(ctx, beatPause)
	}
	w.loop(ctx, func() { w.putShard(home) }, w.splitShard, w.mergeShards, w.deleteShard,
		func() { w.moveShard(home) }, w.getShard, w.listShards, w.topology)
}

// key is the beginning of a range that belongs to this worker alone, so that ranges of two
// workers never overlap.
func (w *worker) key(i int) []byte { return fmt.Appendf(nil, "k%03d-%02d", w.number, i) }

// keys is how many ranges a worker has.
const keys = 12

func (w *worker) update(changes ...*metadatav1.ShardMapChange) {
	request := &metadatav1.UpdateShardMapRequest{Changes: changes, Write: w.write(topologyRevision)}
	_, _ = ask(w, request, (*client.Client).UpdateShardMap)
}

func (w *worker) putShard(home string) {
	i := w.random.IntN(keys)
	width := 1 + w.random.IntN(3)
	w.update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{
		KeyRange: &metadatav1.KeyRange{Start: w.key(i), End: w.key(i + width)}, PrimaryNode: home,
	}}}})
}

// owned reads the worker's shards.
func (w *worker) owned() []*metadatav1.ShardInfo {
	request := &metadatav1.ListShardsRequest{
		KeyRange: &metadatav1.KeyRange{Start: w.key(0), End: w.key(99)}, PageSize: 1000, Read: w.read(),
	}
	res, err := ask(w, request, (*client.Client).ListShards)
	if err != nil {
		return nil
	}
	return res.GetShards()
}

func (w *worker) splitShard() {
	for _, s := range w.owned() {
		for i := range keys + 3 {
			if at := string(w.key(i)); at > string(s.GetKeyRange().GetStart()) && at < string(s.GetKeyRange().GetEnd()) {
				version := s.GetVersion()
				w.update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: &metadatav1.SplitShard{
					ShardId: s.GetShardId(), SplitKeys: [][]byte{[]byte(at)}, ExpectedVersion: &version,
				}}})
				return
			}
		}
	}
}

func (w *worker) mergeShards() {
	shards := w.owned()
	for i := 1; i < len(shards); i++ {
		if string(shards[i-1].GetKeyRange().GetEnd()) == string(shards[i].GetKeyRange().GetStart()) {
			w.update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Merge{Merge: &metadatav1.MergeShards{
				ShardIds: []uint64{shards[i-1].GetShardId(), shards[i].GetShardId()},
			}}})
			return
		}
	}
}

func (w *worker) deleteShard() {
	if shards := w.owned(); len(shards) > 0 {
		w.update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{
			ShardId: shards[w.random.IntN(len(shards))].GetShardId(),
		}}})
	}
}

func (w *worker) moveShard(home string) {
	if shards := w.owned(); len(shards) > 0 {
		w.update(&metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{
			ShardId: shards[w.random.IntN(len(shards))].GetShardId(), PrimaryNode: home,
			WitnessNode: fmt.Sprintf("witness-%d", w.random.IntN(2)), // there is no such node: refused
		}}})
	}
}

func (w *worker) getShard() {
	request := &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: w.key(w.random.IntN(keys))}, Read: w.read()}
	_, _ = ask(w, request, (*client.Client).GetShard)
}

func (w *worker) listShards() { w.owned() }

func (w *worker) topology() {
	_, _ = ask(w, &metadatav1.GetTopologyRequest{PageSize: 1000, Read: w.read()}, (*client.Client).GetTopology)
}
