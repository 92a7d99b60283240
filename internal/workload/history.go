package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	historyWriters = 64
	logPage        = 20 // changes of a table that are asked for
)

// past asks about the past of tables that were altered again and again: in turn for the
// log of one of them and for one as it was at some revision, both at random.
type past struct {
	*base
	first, last uint64 // revisions at which all tables were there
}

// Prepare makes the tables and alters them until there are as many changes as asked for.
func (w *past) Prepare(ctx context.Context) error {
	if err := w.prepareTables(ctx); err != nil {
		return err
	}
	head := func() (uint64, error) {
		res, err := w.Control.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: schema})
		return res.GetRevision(), err
	}
	var err error
	if w.first, err = head(); err != nil {
		return err
	}
	if err := w.alterAll(ctx, w.Changes); err != nil {
		return err
	}
	w.last, err = head()
	return err
}

// alterAll makes a number of changes.
func (w *past) alterAll(ctx context.Context, changes int) error {
	w.Say("making %d changes", changes)
	group, ctx := errgroup.WithContext(ctx)
	var made atomic.Int64
	for i := range historyWriters {
		caller, random := w.caller(i), w.random(i)
		group.Go(func() error {
			for {
				n := made.Add(1)
				if n > int64(changes) {
					return nil
				}
				if err := w.alter(ctx, caller, random); err != nil {
					return fmt.Errorf("altering tables: %w", err)
				}
				if n%sayEvery == 0 {
					w.Say("made %d of %d changes", n, changes)
				}
			}
		})
	}
	return group.Wait()
}

func (w *past) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	return w.loop(ctx, plan, func(client int) measure.Op {
		caller, random, turn := w.caller(client), w.random(historyWriters+client), 0
		return func(ctx context.Context) (string, error) {
			turn++
			if turn%2 == 0 {
				return "object-log", w.log(ctx, caller, random)
			}
			return "table-as-of", w.asOf(ctx, caller, random)
		}
	})
}

func (w *past) log(ctx context.Context, caller Caller, random *rand.Rand) error {
	_, err := caller.ObjectLog(ctx, &metadatav1.ObjectLogRequest{
		Object: &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: w.pick(random)}}, PageSize: logPage,
	})
	return err
}

func (w *past) asOf(ctx context.Context, caller Caller, random *rand.Rand) error {
	revision := w.first + random.Uint64N(w.last-w.first+1)
	_, err := caller.GetTableAsOf(ctx, &metadatav1.GetTableAsOfRequest{
		Table: w.pick(random), At: &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: revision}},
	})
	return err
}
