package client

import (
	"net/http"
	"path"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	ours   = "0000000000000000000000000000000a"
	theirs = "0000000000000000000000000000000b"
)

// ofCluster answers writes as a member of a cluster does: it refuses those for another one.
func ofCluster(cluster string, wrote *int) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		meant := r.Header.Get(clusterHeader)
		switch {
		case path.Base(r.URL.Path) == "Status":
			replies(&metadatav1.StatusResponse{ClusterId: cluster})(w, r)
		case meant != "" && meant != cluster:
			err := connect.NewError(connect.CodeFailedPrecondition, errUnwanted)
			d, _ := connect.NewErrorDetail(&errdetails.ErrorInfo{
				Reason: "FOREIGN_CLUSTER", Domain: "metadata.heliosdb", Metadata: map[string]string{"cluster_id": cluster},
			})
			err.AddDetail(d)
			_ = connect.NewErrorWriter().Write(w, r, err)
		default:
			*wrote++
			replies(&metadatav1.CreateNamespaceResponse{Result: &metadatav1.WriteResult{
				Position: &metadatav1.Position{ClusterId: cluster, SchemaRevision: 1},
			}})(w, r)
		}
	}
}

func create(t *testing.T, c *Client) error {
	_, err := c.CreateNamespace(t.Context(), &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "n"}})
	return err
}

// A client that is for a cluster, or has seen one, writes in no other.
func TestNoWriteTakesEffectInAnotherCluster(t *testing.T) {
	for name, pinned := range map[string]string{"named": ours, "seen": ""} {
		var here, there int
		f, _ := startFakes(t, 2, nil)
		f.each = []answer{ofCluster(ours, &here), ofCluster(theirs, &there)}
		c, err := New(Options{Endpoints: f.addrs, InOrder: true, Actor: "tester", ClusterID: pinned})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if pinned == "" {
			if err := create(t, c); err != nil {
				t.Fatal(err)
			}
		}
		c.preferred.Store(1)
		if err := create(t, c); err != nil || there != 0 || here == 0 {
			t.Errorf("%s: %v; writes: %d here, %d elsewhere", name, err, here, there)
		}
	}
}

// Where all endpoints are of another cluster, a client that is for one fails, and knows that
// nothing was done; one that has only seen one goes on with them.
func TestAllEndpointsAreOfAnotherCluster(t *testing.T) {
	for name, pinned := range map[string]string{"named": ours, "seen": ""} {
		var wrote int
		f, _ := startFakes(t, 2, ofCluster(theirs, &wrote))
		c, err := New(Options{Endpoints: f.addrs, Actor: "tester", ClusterID: pinned})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		seen := ours
		c.cluster.Store(&seen)
		err = create(t, c)
		if pinned == "" {
			if err != nil || wrote != 1 {
				t.Errorf("%s: %v; writes: %d", name, err, wrote)
			}
			continue
		}
		foreign, ok := isForeign(err)
		unknown := IsOutcomeUnknown(err)
		if !ok || foreign.Written || foreign.Own != ours || foreign.Cluster != theirs || unknown || wrote != 0 {
			t.Errorf("%s: %v, unknown: %t; writes: %d", name, err, unknown, wrote)
		}
	}
	if _, err := New(Options{Endpoints: []string{"a:1"}, ClusterID: "mine"}); err == nil || !strings.Contains(err.Error(), "ClusterID") {
		t.Errorf("an id that is none: %v", err)
	}
}
