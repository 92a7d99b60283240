package workload

import (
	"context"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Caller makes the calls that are measured. It is safe for concurrent use.
type Caller interface {
	CreateTable(context.Context, *metadatav1.CreateTableRequest) (*metadatav1.CreateTableResponse, error)
	AlterTable(context.Context, *metadatav1.AlterTableRequest) (*metadatav1.AlterTableResponse, error)
	ApplyBatch(context.Context, *metadatav1.ApplyBatchRequest) (*metadatav1.ApplyBatchResponse, error)
	GetTable(context.Context, *metadatav1.GetTableRequest) (*metadatav1.GetTableResponse, error)
	GetTableAsOf(context.Context, *metadatav1.GetTableAsOfRequest) (*metadatav1.GetTableAsOfResponse, error)
	ObjectLog(context.Context, *metadatav1.ObjectLogRequest) (*metadatav1.ObjectLogResponse, error)
	// Beats opens a stream of heartbeats. Close it before its context ends.
	Beats(context.Context) (Beats, error)
	// Frames opens a subscription, until the context ends.
	Frames(context.Context, *metadatav1.SubscribeRequest) (Frames, error)
	Close()
}

// Beats is a stream of heartbeats. One goroutine may send while another receives.
type Beats interface {
	Send(*metadatav1.StreamHeartbeatsRequest) error
	Receive() (*metadatav1.StreamHeartbeatsResponse, error)
	// Close ends the sending. The service answers what it has got and ends the stream.
	Close()
}

// Frames is a subscription, for one goroutine.
type Frames interface {
	Receive() (follow.Frame, error)
}

// goCaller calls through the Go client.
type goCaller struct{ *client.Client }

func (c goCaller) Beats(ctx context.Context) (Beats, error) {
	stream, err := c.StreamHeartbeats(ctx)
	if err != nil {
		return nil, err
	}
	return goBeats{stream}, nil
}

type goBeats struct{ *client.HeartbeatStream }

// Close tells the service; it has nobody to report to.
func (b goBeats) Close() { _ = b.CloseRequest() }

func (c goCaller) Frames(ctx context.Context, req *metadatav1.SubscribeRequest) (Frames, error) {
	stream, err := c.Subscribe(ctx, req)
	if err != nil {
		return nil, err
	}
	return goFrames{stream}, nil
}

type goFrames struct{ *client.Subscription }

func (f goFrames) Receive() (follow.Frame, error) { return f.ReceiveFrame() }
