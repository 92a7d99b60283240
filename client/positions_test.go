package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestConsumeFromAFile(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 10)
	file := PositionFile(filepath.Join(t.TempDir(), "position.json"))
	got := newCatcher()
	opts := ConsumeOptions{Start: new(metadatav1.Position), BatchChanges: 3}
	if err := c.ConsumeFrom(soon(t), file, opts, got.until(7)); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	saved, err := file.Load(t.Context())
	if p := saved.GetPosition(); err != nil || p.GetSchemaRevision() != 6 || p.GetClusterId() != fakefeed.ClusterID {
		t.Fatalf("the file has %v, %v", saved, err)
	}
	if err := c.ConsumeFrom(soon(t), file, opts, got.until(13)); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if !strings.HasSuffix(got.ids[9], "/schema/7") {
		t.Fatalf("got %v", got.ids)
	}
	if left, _ := filepath.Glob(string(file) + "*"); len(left) != 1 {
		t.Fatalf("there is %v", left)
	}
}

// What the old filter left out lies before the position: with another one it would never
// be sent.
func TestAPositionBelongsToItsFilter(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 3)
	feed.Append(topologyStream, 3)
	file := PositionFile(filepath.Join(t.TempDir(), "position.json"))
	streams := func(all ...metadatav1.Stream) ConsumeOptions {
		return ConsumeOptions{Start: new(metadatav1.Position), Filter: &metadatav1.Filter{Streams: all, Nodes: []string{"n1"}}, BatchChanges: 1}
	}
	got := newCatcher()
	if err := c.ConsumeFrom(soon(t), file, streams(topologyStream), got.until(3)); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	never := func(context.Context, []Delivery) error { return errors.New("delivered") }
	for _, other := range []ConsumeOptions{{}, streams(schemaStream), streams(topologyStream, schemaStream)} {
		err := c.ConsumeFrom(soon(t), file, other, never)
		if err == nil || !strings.Contains(err.Error(), "filter") {
			t.Fatalf("the filter {%v}: %v", other.Filter, err)
		}
	}
	if err := c.ConsumeFrom(soon(t), file, streams(topologyStream, topologyStream), got.until(4)); !errors.Is(err, errEnough) {
		t.Fatalf("the same filter: %v", err)
	}
}

// counting is a store that notes what is saved.
type counting struct {
	PositionStore
	saved []string
}

func (c *counting) Save(ctx context.Context, consumer *metadatav1.Consumer) error {
	c.saved = append(c.saved, fmt.Sprint(consumer.GetPosition().GetSchemaRevision()))
	return c.PositionStore.Save(ctx, consumer)
}

// A position that does not move is not saved again and again.
func TestAPositionIsSavedWhenItMoves(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 3)
	store := &counting{PositionStore: PositionFile(filepath.Join(t.TempDir(), "position.json"))}
	opts := ConsumeOptions{Start: new(metadatav1.Position), AckInterval: 10 * time.Millisecond, AckChanges: 1}
	done := func(context.Context, []Delivery) error { return nil }
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // many intervals
		if err := c.ConsumeFrom(ctx, store, opts, done); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	if got := slices.Compact(slices.Clone(store.saved)); len(got) == 0 || len(got) != len(store.saved) || got[len(got)-1] != "3" {
		t.Fatalf("saved %v", store.saved)
	}
}

// A new consumer that begins at the newest change has that kept before it is handed one.
func TestConsumeFromTheNewestChange(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 10)
	file := PositionFile(filepath.Join(t.TempDir(), "position.json"))
	opts := ConsumeOptions{Acknowledged: func(p *metadatav1.Position) {
		if p.GetSchemaRevision() == 10 {
			feed.Append(schemaStream, 1)
		}
	}}
	err := c.ConsumeFrom(soon(t), file, opts, func(ctx context.Context, batch []Delivery) error {
		if saved, err := file.Load(ctx); err != nil || saved.GetPosition().GetSchemaRevision() != 10 || batch[0].Change.GetRevision() != 11 {
			return fmt.Errorf("handed %v, kept is %v, %v", batch, saved, err) //nolint:errorlint // for people
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestPositionFilesAreChecked(t *testing.T) {
	file := PositionFile(filepath.Join(t.TempDir(), "position.json"))
	for _, text := range []string{
		"", "{", "{}", `{"position":{"clusterId":"c","x":1}}`, `{"clusterId":"c"}`, `{"position":{"schemaRevision":"3"}}`,
		strings.Repeat(" ", maxPositionBytes+1),
	} {
		if err := os.WriteFile(string(file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if saved, err := file.Load(t.Context()); err == nil || !strings.Contains(err.Error(), string(file)) {
			t.Errorf("%.20q: %v, %v", text, saved, err)
		}
	}
	if err := PositionFile(filepath.Join(t.TempDir(), "none", "position.json")).Save(t.Context(), new(metadatav1.Consumer)); err == nil {
		t.Error("saved in a directory that does not exist")
	}
	tooLong := &metadatav1.Consumer{Filter: &metadatav1.Filter{Tables: []string{strings.Repeat("t", maxPositionBytes)}}}
	if err := file.Save(t.Context(), tooLong); err == nil || !strings.Contains(err.Error(), "shorten the filter") {
		t.Errorf("a long filter: %v", err)
	}
	want := &metadatav1.Consumer{
		Filter:   &metadatav1.Filter{Streams: []metadatav1.Stream{schemaStream}, Shards: []uint64{7}},
		Position: &metadatav1.Position{ClusterId: "c", RecoveryEpoch: 2, SchemaRevision: 1 << 63, TopologyRevision: 4},
	}
	if err := file.Save(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if saved, err := file.Load(t.Context()); err != nil || !proto.Equal(saved, want) {
		t.Errorf("%v, %v", saved, err)
	}
}
