package member

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golang/snappy"

	"github.com/heliosdb/metadata/raftlog"
)

// lyingStore writes checkpoints, while it lies, whose objects do not decode. All
// checksums are right.
type lyingStore struct {
	raftlog.Storage
	lies *atomic.Bool
}

const truth = "the comment of a table"

func (s *lyingStore) CreateCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	w, err := s.Storage.CreateCheckpoint(g, d)
	if err != nil || !s.lies.Load() {
		return w, err
	}
	return &lyingWriter{w}, nil
}

type lyingWriter struct{ raftlog.CheckpointWriter }

func (w *lyingWriter) WriteChunk(data []byte) error {
	noText := bytes.Repeat([]byte{0xff}, len(truth))
	records, err := snappy.Decode(nil, data)
	if err != nil {
		return err
	}
	return w.CheckpointWriter.WriteChunk(snappy.Encode(nil, bytes.ReplaceAll(records, []byte(truth), noText)))
}

// countedStages counts the checkpoints of other members that were begun.
type countedStages struct {
	raftlog.Storage
	n atomic.Int64
}

func (s *countedStages) StageCheckpoint(g raftlog.GroupID, d raftlog.Descriptor) (raftlog.CheckpointWriter, error) {
	s.n.Add(1)
	return s.Storage.StageCheckpoint(g, d)
}

// A checkpoint with objects that do not decode is never installed, by a member that
// lags nor by one in quarantine: the first read of them would end it. An honest one is.
func TestACheckpointThatDoesNotDecodeIsNotTaken(t *testing.T) {
	for name, lose := range map[string]func(*cluster){
		"lagging":       func(*cluster) {},
		"in quarantine": func(c *cluster) { c.disks[3] = vfs.NewCrashableMem() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lies atomic.Bool
			var begun *countedStages
			c := newCluster(t, 3, func(c *Config) {
				shortLogs(c)
				if c.ID == 3 {
					begun = &countedStages{Storage: c.Store}
					c.Store = begun
				} else {
					c.Store = &lyingStore{c.Store, &lies}
				}
			})
			c.start(1, 2, 3)
			commented := createTable("commented")
			commented.Table.Comment = truth
			if _, err := c.up[1].Write(t.Context(), commented, "test"); err != nil {
				t.Fatal(err)
			}
			c.converged()
			c.stop(3)
			tables := 1
			write := func() {
				for range 45 {
					tables++
					c.mustCreate(1, fmt.Sprintf("t%d", tables))
				}
			}
			lies.Store(true)
			write()
			lose(c)
			c.start(3)
			began := time.Now()
			c.eventually("a second try", func() bool { return begun.n.Load() > 1 })
			if r := c.up[3].running.Load(); r != nil {
				if n := r.schema.status.Load().Installs; n != 0 {
					t.Fatalf("%d installs after %v", n, time.Since(began))
				}
			} else { // it says so between two tries
				c.eventually("it says why", func() bool {
					quarantined := c.up[3].quarantine.Load()
					return quarantined != nil && strings.Contains(quarantined.waiting, "does not decode")
				})
			}
			lies.Store(false)
			write()
			c.sound()
			if n := c.converged(); n != tables {
				t.Fatalf("%d tables, want %d", n, tables)
			}
			for table := range c.up[3].running.Load().schema.replica.View().Model.TablesByID(0) {
				_ = table.Message().GetName()
			}
		})
	}
}
