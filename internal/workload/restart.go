package workload

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

const (
	restartLimit = 2 * time.Minute  // for a member to answer again
	restartLook  = time.Millisecond // between two questions
	restartWait  = 5 * time.Second  // for one answer
)

// restart kills one member after the other and starts it again, until the window is over.
// Each operation is one start; its latency is the time until a LOCAL read finds the last
// table that was made.
type restart struct {
	*base
	member int
}

func (w *restart) Prepare(ctx context.Context) error { return w.prepareTables(ctx) }

func (w *restart) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	return w.rounds(ctx, plan, func(ctx context.Context) (time.Duration, error) {
		w.member = (w.member + 1) % w.Cluster.Size()
		if err := w.Cluster.Kill(w.member); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := w.Cluster.Launch(w.member); err != nil {
			return 0, err
		}
		last := &metadatav1.TableRef{Namespace: w.id, Name: TableName(int64(w.Tables) - 1)}
		if err := AwaitLocal(ctx, w.Cluster.API()[w.member], last, w.Cluster.Lost); err != nil {
			return 0, err
		}
		took := time.Since(began)
		return took, errors.Join(w.Cluster.Ready(ctx), sleep(ctx, w.Settle))
	})
}

// AwaitLocal waits until a member answers a LOCAL read of a table with it. lost says
// whether there is nothing to wait for any more.
func AwaitLocal(ctx context.Context, address string, table *metadatav1.TableRef, lost func() error) error {
	ctx, cancel := context.WithTimeout(ctx, restartLimit)
	defer cancel()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	service := metadatav1connect.NewMetadataServiceClient(&http.Client{Transport: transport, Timeout: restartWait}, "http://"+address)
	for {
		_, err := service.GetTable(ctx, &metadatav1.GetTableRequest{Table: table, Read: localRead})
		if err == nil {
			return nil
		}
		if dead := lost(); dead != nil {
			return dead
		}
		if sleep(ctx, restartLook) != nil {
			return err
		}
	}
}
