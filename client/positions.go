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

// PositionStore keeps how far a consumer is that the service does not know of. It is
// called by one goroutine at a time.
type PositionStore interface {
	// Load returns the position that was saved last; nil: none was.
	Load(ctx context.Context) (*metadatav1.Position, error)
	// Save keeps a position. When it returns without an error, the position survives
	// whatever happens to the process; what was saved before does until then. An error ends
	// the consumer.
	Save(ctx context.Context, p *metadatav1.Position) error
}

// maxPositionBytes bounds the file of a position.
const maxPositionBytes = 4096

// PositionFile is a PositionStore in the file of that name, as JSON. It replaces the file
// as a whole, by way of another one beside it, and has both synced.
type PositionFile string

// Load implements PositionStore.
func (f PositionFile) Load(context.Context) (*metadatav1.Position, error) {
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
	p := new(metadatav1.Position)
	if err := protojson.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("client: %s is not the file of a position: %w", f, err)
	}
	if p.GetClusterId() == "" {
		return nil, fmt.Errorf("client: %s has a position without cluster; delete it to begin anew", f)
	}
	return p, nil
}

// Save implements PositionStore.
func (f PositionFile) Save(_ context.Context, p *metadatav1.Position) error {
	text, err := protojson.Marshal(p)
	if err != nil {
		return err
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
}

func (o *ownConsumer) open(ctx context.Context) (*metadatav1.Position, *metadatav1.Filter, error) {
	saved, err := o.store.Load(ctx)
	if err != nil || saved != nil || o.options.Start == nil {
		return saved, o.options.Filter, err
	}
	start := proto.CloneOf(o.options.Start)
	if start.GetClusterId() == "" {
		status, err := persist(ctx, o.client.Status, &metadatav1.StatusRequest{})
		if err != nil {
			return nil, nil, err
		}
		start.ClusterId, start.RecoveryEpoch = status.GetClusterId(), status.GetRecoveryEpoch()
	}
	return start, o.options.Filter, nil
}

func (o *ownConsumer) acknowledge(ctx context.Context, p *metadatav1.Position) (later bool, err error) {
	return false, o.store.Save(ctx, p)
}
