package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/clienttest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A compute node's cache and routing, as the README has them.
func Example_computeNode() {
	service, err := clienttest.Run(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = service.Stop() }()
	if err := laySales(service.Endpoints()); err != nil {
		log.Fatal(err)
	}
	if err := computeNode(context.Background(), service.Endpoints()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// table 1, shard 1 on 127.0.0.1:6000 with epoch 1
}

func computeNode(ctx context.Context, endpoints []string) error {
	c, err := client.New(client.Options{Endpoints: endpoints})
	if err != nil {
		return err
	}
	cache, err := c.NewCache(client.CacheOptions{MaxStaleness: 5 * time.Second})
	if err != nil {
		return err
	}
	table, noTable := cache.GetTable(ctx, "sales", "orders")  // from memory, unless that is too old
	route, noRoute := cache.GetRoute(ctx, []byte("order/42")) // its shard, nodes and epoch, likewise

	defer c.Close()
	if noTable != nil || noRoute != nil {
		return fmt.Errorf("%w, %w", noTable, noRoute)
	}
	fmt.Printf("table %d, shard %d on %s with epoch %d\n", table.GetTableId(), route.Shard.GetShardId(), route.Primary.GetAddr(), route.Epoch)
	return nil
}

// laySales makes what the example looks for.
func laySales(endpoints []string) error {
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.CreateNamespace(ctx, &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "sales"}}); err != nil {
		return err
	}
	orders := newTable("orders")
	orders.Namespace = "sales"
	if _, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: orders}); err != nil {
		return err
	}
	if _, err := c.RegisterNode(ctx, storageNode("storage_1", 6000)); err != nil {
		return err
	}
	_, err = c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{put(1, "", "", "storage_1")}})
	return err
}

// The README's lines are those of the example above, and are as few as it says.
func TestTheREADMEsExampleIsCompiled(t *testing.T) {
	readme, source := linesOf(t, "../README.md"), linesOf(t, "readme_example_test.go")
	from := slices.Index(readme, "c, err := client.New(client.Options{Endpoints: endpoints})")
	if from < 0 {
		t.Fatal("the README has no example of a compute node")
	}
	to := from + slices.Index(readme[from:], "```")
	example := readme[from:to]
	if len(example) != 10 {
		t.Errorf("it has %d lines", len(example))
	}
	at := slices.Index(source, example[0])
	if at < 0 || !slices.Equal(source[at:at+len(example)], example) {
		t.Fatalf("the README says\n%s\nthe example is\n%s", strings.Join(example, "\n"), strings.Join(source[at:at+len(example)], "\n"))
	}
}

// linesOf returns the lines of a file without what is around them.
func linesOf(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
