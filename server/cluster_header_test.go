package server

import (
	"context"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// meaning returns the context of calls for a cluster.
func meaning(t *testing.T, cluster string) context.Context {
	ctx, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set(ClusterHeader, cluster)
	return ctx
}

// Calls for another cluster are refused, whatever they ask and however they come, and nothing is
// done; but which cluster it is, the member tells everybody.
func TestCallsForAnotherCluster(t *testing.T) {
	w := lived(t)
	before := w.member.schema.Load().Head
	const other = "00000000000000000000000000000000"
	for protocol, history := range historians(w) {
		options := map[string][]connect.ClientOption{"connect": nil, "json": {connect.WithProtoJSON()}, "grpc": {connect.WithGRPC()}}[protocol]
		rpc := metadatav1connect.NewMetadataServiceClient(w.http2(), w.url, options...)
		for name, call := range map[string]func(context.Context) error{
			"a write": func(ctx context.Context) error {
				_, err := rpc.CreateTable(ctx, createTable("elsewhere-"+protocol))
				return err
			},
			"a read": func(ctx context.Context) error {
				return read(&metadatav1.ReadChangesRequest{Selection: ofSchema()})(ctx, history)
			},
			"a stream": func(ctx context.Context) error {
				return based(&metadatav1.StreamBaseRequest{Stream: schemaStream})(ctx, history)
			},
			"a consumer": func(ctx context.Context) error {
				_, err := history.consumers.ListConsumers(ctx, new(metadatav1.ListConsumersRequest))
				return err
			},
		} {
			err := wantFailure(t, call(meaning(t, other)), connect.CodeFailedPrecondition, "FOREIGN_CLUSTER", other)
			if own := detail[*errdetails.ErrorInfo](err).GetMetadata()["cluster_id"]; own != testCluster.String() {
				t.Errorf("%s, %s: the member says that it is of %q", protocol, name, own)
			}
			if name == "a write" {
				continue
			}
			if err := call(meaning(t, testCluster.String())); err != nil {
				t.Errorf("%s, %s for its own cluster: %v", protocol, name, err)
			}
		}
		status := metadatav1connect.NewClusterServiceClient(w.http2(), w.url, options...)
		if _, err := status.Status(meaning(t, other), new(metadatav1.StatusRequest)); err != nil {
			t.Errorf("%s: of which cluster it is: %v", protocol, err)
		}
	}
	if got := w.member.schema.Load().Head.Revision; got != before.Revision {
		t.Errorf("the member has taken %d changes", got-before.Revision)
	}
}
