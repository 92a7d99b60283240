package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// PositionStore keeps what a consumer is sent and how far it is, of which the service does
// not know. It is called by one goroutine at a time.
type PositionStore interface {
	// Load returns what was saved last; nil: nothing was.
	Load(ctx context.Context) (*metadatav1.Consumer, error)
	// Save keeps a consumer, of which only the filter and the position are set. When it
	// returns without an error, they survive whatever happens to the process; what was saved
	// before does until then. An error ends the consumer.
	Save(ctx context.Context, consumer *metadatav1.Consumer) error
}

// maxPositionBytes bounds the file of a position, with a filter that may name many objects.
const maxPositionBytes = 1 << 20

// PositionFile is a PositionStore in the file of that name, as JSON. It replaces the file
// as a whole, by way of another one beside it, and has both synced.
type PositionFile string

// Load implements PositionStore.
func (f PositionFile) Load(context.Context) (*metadatav1.Consumer, error) {
	info, err := os.Stat(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Size() > maxPositionBytes:
		return nil, fmt.Errorf("client: %s has %d bytes; the file of a position has at most %d: is it another file?", f, info.Size(), maxPositionBytes)
	}
	text, err := os.ReadFile(string(f))
	if err != nil {
		return nil, err
	}
	saved := new(metadatav1.Consumer)
	if err := protojson.Unmarshal(text, saved); err != nil {
		return nil, fmt.Errorf("client: %s is not the file of a position: %w", f, err)
	}
	if saved.GetPosition().GetClusterId() == "" {
		return nil, fmt.Errorf("client: %s has no position that names a cluster; delete it to begin anew", f)
	}
	return saved, nil
}

// Save implements PositionStore.
func (f PositionFile) Save(_ context.Context, consumer *metadatav1.Consumer) error {
	text, err := protojson.Marshal(consumer)
	if err != nil {
		return err
	}
	if len(text) >= maxPositionBytes {
		return fmt.Errorf("client: %s would have %d bytes; the file of a position has at most %d: shorten the filter", f, len(text)+1, maxPositionBytes)
	}
	next := string(f) + ".next"
	if err := writeSynced(next, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(next, string(f)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(string(f)))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(name string, text []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

// ownConsumer is a consumer that keeps its position itself.
type ownConsumer struct {
	client  *Client
	store   PositionStore
	options ConsumeOptions
	saved   *metadatav1.Position // what the store has; nil: nothing, or nobody knows
}

func (o *ownConsumer) open(ctx context.Context) (*metadatav1.Position, *metadatav1.Filter, error) {
	filter := o.options.Filter
	saved, err := o.store.Load(ctx)
	switch {
	case err != nil:
		return nil, nil, err
	case saved != nil && !sameFilter(saved.GetFilter(), filter):
		// Up to the position, what the old filter left out was not sent, and never would be.
		return nil, nil, fmt.Errorf("client: the position was saved with the filter {%v}, not {%v}; take that filter, or another place to keep a position in",
			saved.GetFilter(), filter)
	case saved != nil:
		o.saved = saved.GetPosition()
		return o.saved, filter, nil
	case o.options.FromOldest:
		oldest, err := o.client.beforeOldest(ctx)
		return oldest, filter, err
	case o.options.Start == nil:
		return nil, filter, nil
	}
	start := proto.CloneOf(o.options.Start)
	if start.GetClusterId() == "" {
		status, err := persist(ctx, o.client.Status, &metadatav1.StatusRequest{})
		if err != nil {
			return nil, nil, err
		}
		start.ClusterId, start.RecoveryEpoch = status.GetClusterId(), status.GetRecoveryEpoch()
	}
	return start, filter, nil
}

// beforeOldest returns the position before all that the service keeps now. It asks until it is
// answered, or ctx ends.
func (c *Client) beforeOldest(ctx context.Context) (*metadatav1.Position, error) {
	before := func(stream metadatav1.Stream) (*metadatav1.GetHeadResponse, uint64, error) {
		head, err := persist(ctx, c.GetHead, &metadatav1.GetHeadRequest{
			Stream: stream, Read: &metadatav1.ReadOptions{Consistency: linearizable}, // whatever other reads ask for
		})
		return head, max(head.GetFloor().GetOldestRevision(), 1) - 1, err
	}
	head, schema, err := before(schemaStream)
	if err != nil {
		return nil, err
	}
	_, topology, err := before(topologyStream)
	if err != nil {
		return nil, err
	}
	return &metadatav1.Position{
		ClusterId: head.GetClusterId(), RecoveryEpoch: head.GetRecoveryEpoch(), SchemaRevision: schema, TopologyRevision: topology,
	}, nil
}

func (o *ownConsumer) acknowledge(ctx context.Context, p *metadatav1.Position) (later bool, err error) {
	if proto.Equal(p, o.saved) {
		return false, nil
	}
	if err := o.store.Save(ctx, &metadatav1.Consumer{Filter: o.options.Filter, Position: p}); err != nil {
		return false, err
	}
	o.saved = p
	return false, nil
}
