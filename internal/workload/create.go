package workload

import (
	"context"
	"sync/atomic"

	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// create makes one table a call.
type create struct {
	*base
	next atomic.Int64 // number of a table
}

func (w *create) Prepare(ctx context.Context) error { return w.openNamespace(ctx) }

func (w *create) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	return w.loop(ctx, plan, w.op)
}

func (w *create) op(client int) measure.Op {
	caller := w.caller(client)
	return func(ctx context.Context) (string, error) {
		_, err := caller.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: Table(w.id, w.next.Add(1))})
		return "", err
	}
}

// bulk makes Batch tables a call, atomically.
type bulk struct {
	*base
	next atomic.Int64
}

func (w *bulk) Prepare(ctx context.Context) error { return w.openNamespace(ctx) }

func (w *bulk) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	report, err := w.loop(ctx, plan, func(client int) measure.Op {
		caller := w.caller(client)
		return func(ctx context.Context) (string, error) {
			n := int64(w.Batch)
			first := w.next.Add(n) - n
			_, err := caller.ApplyBatch(ctx, tableBatch(w.id, first, first+n))
			return "", err
		}
	})
	report.ObjectsPerSec = report.OpsPerSec * float64(w.Batch)
	return report, err
}
