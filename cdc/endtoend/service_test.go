package endtoend

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/fleet"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The programs, as a user builds them.
var heliosmeta, heliosmetaCDC string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "heliosmeta-cdc")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	heliosmeta, heliosmetaCDC = filepath.Join(dir, "heliosmeta"), filepath.Join(dir, "heliosmeta-cdc")
	for module, program := range map[string]string{"../..": heliosmeta, "..": heliosmetaCDC} {
		build := exec.Command("go", "build", "-o", program, "./cmd/"+filepath.Base(program))
		build.Dir = module
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// service is a member as a process, and a client of it.
type service struct {
	*client.Client
	cluster *fleet.Cluster
}

func startService(t *testing.T) *service {
	t.Helper()
	cluster, err := fleet.Start(t.Context(), fleet.Options{Binary: heliosmeta, Members: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(client.Options{Endpoints: cluster.API(), Timeout: 20 * time.Second, Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &service{c, cluster}
}

// restart ends the member as kill -9 does, and starts it again.
func (s *service) restart(ctx context.Context) error {
	if err := s.cluster.Kill(0); err != nil {
		return err
	}
	if err := s.cluster.Launch(0); err != nil {
		return err
	}
	return s.cluster.Ready(ctx)
}

// write changes both streams until it is told to stop, which returns how many changes the
// service has acknowledged.
func (s *service) write(t *testing.T) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var counts [2]int
	for i, change := range []func(n int) error{
		func(n int) error {
			_, err := s.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{
				Name:    fmt.Sprint("t", n),
				Columns: []*metadatav1.ColumnSchema{{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}}},
			}})
			return err
		},
		func(n int) error {
			_, err := s.RegisterNode(ctx, &metadatav1.RegisterNodeRequest{
				Node: &metadatav1.NodeInfo{NodeId: fmt.Sprint("n", n), Addr: "127.0.0.1:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE},
			})
			return err
		},
	} {
		all.Go(func() {
			for ; ctx.Err() == nil; counts[i]++ {
				if err := change(counts[i]); err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				time.Sleep(time.Millisecond) // the processes have something left of the machine
			}
		})
	}
	t.Cleanup(cancel)
	return func() int {
		cancel()
		all.Wait()
		return counts[0] + counts[1]
	}
}

// history is what the service has: ids are of its cluster and recovery epoch, and revisions
// have no gaps.
type history struct {
	cluster string
	epoch   uint64
	last    map[string]int // revision, by stream
}

func (s *service) history(t *testing.T) history {
	t.Helper()
	status, err := s.Status(t.Context(), &metadatav1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return history{status.GetClusterId(), status.GetRecoveryEpoch(), revisions(status.GetPosition())}
}

func revisions(p *metadatav1.Position) map[string]int {
	return map[string]int{"schema": int(p.GetSchemaRevision()), "topology": int(p.GetTopologyRevision())}
}

// acknowledged returns how much of each stream a consumer has acknowledged.
func (s *service) acknowledged(ctx context.Context, consumer string) (map[string]int, error) {
	res, err := s.GetConsumer(ctx, &metadatav1.GetConsumerRequest{Name: consumer})
	if err != nil && !client.IsNotFound(err) { // it may have been killed before it created its consumer
		return nil, err
	}
	return revisions(res.GetConsumer().GetPosition()), nil
}
