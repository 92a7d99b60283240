package workload

import (
	"context"
	"math/rand/v2"
	"sync/atomic"

	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var localRead = &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}

// random is a client's own source of numbers.
func (b *base) random(client int) *rand.Rand {
	return rand.New(rand.NewPCG(b.Seed, uint64(client)))
}

// get reads tables at random.
type get struct {
	*base
	read *metadatav1.ReadOptions // nil: linearizable
}

func (w *get) Prepare(ctx context.Context) error { return w.prepareTables(ctx) }

func (w *get) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	return w.loop(ctx, plan, func(client int) measure.Op {
		caller, random := w.caller(client), w.random(client)
		return func(ctx context.Context) (string, error) {
			_, err := caller.GetTable(ctx, &metadatav1.GetTableRequest{Table: w.pick(random), Read: w.read})
			return "", err
		}
	})
}

// pick names one of the tables.
func (b *base) pick(random *rand.Rand) *metadatav1.TableRef {
	return &metadatav1.TableRef{Namespace: b.id, Name: TableName(random.Int64N(int64(b.Tables)))}
}

// Shares of the mix, in percent; what is left are linearizable reads.
const (
	mixedLocal  = 60
	mixedAlter  = 8
	mixedCreate = 2
)

// mixed reads and writes as a database does that is being worked with.
type mixed struct {
	*base
	next atomic.Int64
}

func (w *mixed) Prepare(ctx context.Context) error {
	w.next.Store(int64(w.Tables))
	return w.prepareTables(ctx)
}

func (w *mixed) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	return w.loop(ctx, plan, func(client int) measure.Op {
		caller, random := w.caller(client), w.random(client)
		return func(ctx context.Context) (string, error) {
			switch n := random.IntN(100); {
			case n < mixedLocal:
				_, err := caller.GetTable(ctx, &metadatav1.GetTableRequest{Table: w.pick(random), Read: localRead})
				return "get-local", err
			case n < mixedLocal+mixedAlter:
				return "alter", w.alter(ctx, caller, random)
			case n < mixedLocal+mixedAlter+mixedCreate:
				_, err := caller.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: Table(w.id, w.next.Add(1))})
				return "create", err
			}
			_, err := caller.GetTable(ctx, &metadatav1.GetTableRequest{Table: w.pick(random)})
			return "get", err
		}
	})
}

// alter gives a table another comment.
func (b *base) alter(ctx context.Context, caller Caller, random *rand.Rand) error {
	_, err := caller.AlterTable(ctx, &metadatav1.AlterTableRequest{
		Table: b.pick(random),
		Alterations: []*metadatav1.TableAlteration{{Action: &metadatav1.TableAlteration_SetComment{
			SetComment: &metadatav1.SetComment{Comment: TableName(random.Int64N(1 << 30))},
		}}},
	})
	return err
}
