package workload

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// How tables that are not measured are made and removed.
const (
	fillBatch   = 1000 // in one change
	fillWriters = 4
	sayEvery    = 100_000 // tables
)

// openNamespace creates the Work's namespace.
func (b *base) openNamespace(ctx context.Context) error {
	_, err := b.Control.CreateNamespace(ctx, &metadatav1.CreateNamespaceRequest{
		Namespace: &metadatav1.Namespace{Name: b.id, Comment: "Made by heliosmeta bench, which removes it at the end"},
	})
	return err
}

// fill creates the tables numbered from up to below until in a namespace.
func fill(ctx context.Context, c *client.Client, namespace string, from, until int64, say func(string, ...any)) error {
	group, ctx := errgroup.WithContext(ctx)
	var next, made atomic.Int64
	next.Store(from)
	for range fillWriters {
		group.Go(func() error {
			for {
				first := next.Add(fillBatch) - fillBatch
				if first >= until {
					return nil
				}
				last := min(first+fillBatch, until)
				if _, err := c.ApplyBatch(ctx, tableBatch(namespace, first, last)); err != nil {
					return fmt.Errorf("creating tables: %w", err)
				}
				before := made.Load()
				if now := made.Add(last - first); now/sayEvery > before/sayEvery {
					say("created %d of %d tables", now, until-from)
				}
			}
		})
	}
	return group.Wait()
}

// Fill creates tables in a namespace that is there, numbered from up to below until.
func Fill(ctx context.Context, t *Target, namespace string, from, until int64) error {
	return fill(ctx, t.Control, namespace, from, until, func(string, ...any) {})
}

// tableBatch creates tables as one change.
func tableBatch(namespace string, first, until int64) *metadatav1.ApplyBatchRequest {
	req := &metadatav1.ApplyBatchRequest{Commands: make([]*metadatav1.Command, 0, until-first)}
	for n := first; n < until; n++ {
		req.Commands = append(req.Commands, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{
			CreateTable: &metadatav1.CreateTableRequest{Table: Table(namespace, n)},
		}})
	}
	return req
}

// prepareTables makes the namespace and the tables to be read.
func (b *base) prepareTables(ctx context.Context) error {
	if err := b.openNamespace(ctx); err != nil {
		return err
	}
	b.Say("creating %d tables", b.Tables)
	return fill(ctx, b.Control, b.id, 0, int64(b.Tables), b.Say)
}

// Clean removes the namespace with all that is in it.
func (b *base) Clean(ctx context.Context) error {
	b.Say("removing what was created")
	for {
		page, err := b.Control.ListTables(ctx, &metadatav1.ListTablesRequest{Namespace: b.id, PageSize: fillBatch})
		if err != nil && !client.IsNotFound(err) {
			return err
		}
		if len(page.GetTables()) == 0 {
			break
		}
		req := new(metadatav1.ApplyBatchRequest)
		for _, t := range page.GetTables() {
			req.Commands = append(req.Commands, &metadatav1.Command{Command: &metadatav1.Command_DropTable{
				DropTable: &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{TableId: t.GetTableId()}},
			}})
		}
		if _, err := b.Control.ApplyBatch(ctx, req); err != nil {
			return err
		}
	}
	_, err := b.Control.DropNamespace(ctx, &metadatav1.DropNamespaceRequest{Name: b.id})
	if client.IsNotFound(err) {
		return nil
	}
	return err
}
