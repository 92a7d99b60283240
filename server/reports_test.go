package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

func TestNodeReports(t *testing.T) {
	w := start(t, Options{})
	for name, client := range map[string]metadatav1connect.ClusterServiceClient{
		"connect":  metadatav1connect.NewClusterServiceClient(http.DefaultClient, w.url),
		"grpc":     metadatav1connect.NewClusterServiceClient(w.http2(), w.url, connect.WithGRPC()),
		"grpc-web": metadatav1connect.NewClusterServiceClient(http.DefaultClient, w.url, connect.WithGRPCWeb()),
	} {
		ask := func(ids ...string) (*metadatav1.NodeReportsResponse, error) {
			return client.NodeReports(t.Context(), &metadatav1.NodeReportsRequest{NodeIds: ids})
		}
		if answer := must(ask("a", "b"))(t); answer.GetLeader() != 7 || len(answer.GetReports()) != 2 || answer.GetReports()[1].GetNodeId() != "b" {
			t.Errorf("%s: %v", name, answer)
		}
		for field, ids := range map[string][]string{
			"node_ids":    slices.Repeat([]string{"a"}, 1001),
			"node_ids[1]": {"a", strings.Repeat("x", 129)},
			"node_ids[0]": {""},
		} {
			_, err := ask(ids...)
			wantFields(t, wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD"), field)
		}
		_, err := ask()
		wantFields(t, wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD"), "node_ids")
	}
}
