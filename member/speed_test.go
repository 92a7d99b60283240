package member

import (
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// BenchmarkWrite measures whole writes on a member that is alone, from the decoded
// request to the encoded answer, with a disk in memory. Many callers share its
// goroutines, entries and syncs, as they do under load.
func BenchmarkWrite(b *testing.B) {
	c := newCluster(b, 1, nil)
	c.start(1)
	c.leader(schemaStream)
	number := new(atomic.Int64)
	create := func() *metadatav1.CreateTableRequest {
		return &metadatav1.CreateTableRequest{Table: workload.Table("", number.Add(1))}
	}
	b.Run("create", func(b *testing.B) {
		c.measure(b, func() proto.Message { return create() })
	})
	b.Run("batch of 100", func(b *testing.B) {
		c.measure(b, func() proto.Message {
			batch := new(metadatav1.ApplyBatchRequest)
			for range 100 {
				batch.Commands = append(batch.Commands, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{CreateTable: create()}})
			}
			return batch
		})
	})
}

func (c *cluster) measure(b *testing.B, command func() proto.Message) {
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(loop *testing.PB) {
		for loop.Next() {
			reply, err := c.up[1].Write(b.Context(), command(), "bench")
			if err == nil {
				_, err = proto.Marshal(reply)
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
}
