package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// service runs a member for an example, and returns its address.
func service() (address string, stop func()) {
	c := newCluster(1, log.Panicf)
	c.startAll()
	return c.api[1], c.close
}

// Create a table, look at it, drop it.
func Example_tableManagement() {
	address, stop := service()
	defer stop()

	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	created, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{
		Name: "users",
		Columns: []*metadatav1.ColumnSchema{
			{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
			{
				Name: "profile", Nullable: true,
				DataType:      &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_JSON},
				ToastStrategy: metadatav1.ToastStrategy_TOAST_STRATEGY_EXTENDED,
			},
		},
		PrimaryKey: []string{"id"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	table := created.GetTable()
	fmt.Printf("created table %d, %s.%s, version %d\n", table.GetTableId(), table.GetNamespace(), table.GetName(), table.GetVersion())
	for _, column := range table.GetColumns() {
		fmt.Printf("  column %d: %s\n", column.GetColumnId(), column.GetName())
	}

	_, err = c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: table})
	fmt.Println("created again:", client.IsAlreadyExists(err))

	dropped, err := c.DropTable(ctx, &metadatav1.DropTableRequest{
		Table: &metadatav1.TableRef{TableId: table.GetTableId()},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("dropped at schema revision", dropped.GetResult().GetPosition().GetSchemaRevision())

	// Output:
	// created table 1, public.users, version 1
	//   column 1: id
	//   column 2: profile
	// created again: true
	// dropped at schema revision 2
}

// Register storage nodes and give one of them a range of keys.
func Example_topologyManagement() {
	address, stop := service()
	defer stop()

	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for i, id := range []string{"storage_1", "storage_2"} {
		_, err := c.RegisterNode(ctx, &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
			NodeId:      id,
			Addr:        fmt.Sprintf("127.0.0.1:%d", 6000+i),
			NodeType:    metadatav1.NodeType_NODE_TYPE_STORAGE,
			Incarnation: "first run",
		}})
		if err != nil {
			log.Fatal(err)
		}
	}
	updated, err := c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{
		{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{
			ShardId:     1,
			PrimaryNode: "storage_1",
			MirrorNode:  "storage_2",
			KeyRange:    &metadatav1.KeyRange{Start: []byte{0x00}, End: []byte{0xFF}},
		}}}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	for _, shard := range updated.GetShards() {
		fmt.Printf("shard %d: %s, mirror %s, epoch %d\n",
			shard.GetShardId(), shard.GetPrimaryNode(), shard.GetMirrorNode(), shard.GetEpoch())
	}
	for _, hole := range updated.GetHoles() {
		fmt.Printf("no shard holds [%x, %x)\n", hole.GetStart(), hole.GetEnd())
	}

	read, err := c.GetTopology(ctx, &metadatav1.GetTopologyRequest{})
	if err != nil {
		log.Fatal(err)
	}
	for _, node := range read.GetTopology().GetNodes() {
		fmt.Println(node.GetNodeId(), node.GetAddr(), node.GetStatus())
	}

	// Output:
	// shard 1: storage_1, mirror storage_2, epoch 1
	// no shard holds [, 00)
	// no shard holds [ff, )
	// storage_1 127.0.0.1:6000 NODE_STATUS_ONLINE
	// storage_2 127.0.0.1:6001 NODE_STATUS_ONLINE
}

// Keep a cache that the service invalidates, and route keys with it.
func Example_cacheInvalidation() {
	address, stop := service()
	defer stop()

	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	// The cache subscribes to all changes.
	cache, err := c.NewCache(client.CacheOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	if err := cache.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("nodes:", len(cache.Topology().GetNodes()))

	// Somebody changes the topology...
	_, err = c.RegisterNode(ctx, &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
		NodeId: "storage_1", Addr: "127.0.0.1:6000", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "first run",
	}})
	if err != nil {
		log.Fatal(err)
	}
	updated, err := c.UpdateShardMap(ctx, &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{
		{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{
			ShardId: 1, PrimaryNode: "storage_1", KeyRange: &metadatav1.KeyRange{End: []byte("m")},
		}}}},
	}})
	if err != nil {
		log.Fatal(err)
	}

	// ...and the cache follows by itself. Who needs to see a certain write waits
	// for its position.
	if err := cache.WaitFor(ctx, updated.GetResult().GetPosition()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("nodes:", len(cache.Topology().GetNodes()))
	route, err := cache.Route([]byte("apple"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("apple is in shard %d on %s\n", route.Shard.GetShardId(), route.Primary.GetAddr())
	_, err = cache.Route([]byte("zebra"))
	fmt.Println(err)

	// Output:
	// nodes: 0
	// nodes: 1
	// apple is in shard 1 on 127.0.0.1:6000
	// client: no shard holds the keys from "zebra" to the end; add one with UpdateShardMap
}

// Follow the history from its beginning, whatever breaks in between.
func ExampleClient_Watch() {
	address, stop := service()
	defer stop()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.New(client.Options{Endpoints: []string{address}, Actor: "ddl-job"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"orders", "lines"} {
		if _, err := c.CreateTable(ctx, createTable(name)); err != nil {
			log.Fatal(err)
		}
	}

	request := &metadatav1.SubscribeRequest{
		Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{}},
	}
	for frame, err := range c.Watch(ctx, request) {
		if err != nil {
			log.Fatal(err)
		}
		for _, change := range frame.GetChanges().GetChanges() {
			for _, event := range change.GetEvents() {
				fmt.Printf("%d: %s created %s\n", change.GetRevision(), change.GetActor(), event.GetTableCreated().GetTable().GetName())
			}
			if change.GetRevision() == 2 {
				return
			}
		}
	}

	// Output:
	// 1: ddl-job created orders
	// 2: ddl-job created lines
}

// Read all changes, once each, and keep how far one is in a file.
func ExampleClient_ConsumeFrom() {
	address, stop := service()
	defer stop()

	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"orders", "parts"} {
		if _, err := c.CreateNamespace(ctx, &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: name}}); err != nil {
			log.Fatal(err)
		}
	}

	dir, err := os.MkdirTemp("", "consumer")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	position := client.PositionFile(filepath.Join(dir, "position"))
	fromTheBeginning := client.ConsumeOptions{Start: new(metadatav1.Position), BatchChanges: 1}
	enough := errors.New("enough")
	for range 2 {
		// Each run goes on where the one before has ended.
		runs := 0
		err := c.ConsumeFrom(ctx, position, fromTheBeginning, func(_ context.Context, batch []client.Delivery) error {
			if runs++; runs > 1 {
				return enough // this change is not carried out: it comes again
			}
			d := batch[0]
			fmt.Println(strings.TrimPrefix(d.ID(), d.ClusterID), d.Change.GetEvents()[0].GetNamespaceCreated().GetNamespace().GetName())
			if d.Change.GetRevision() == 2 {
				go c.Close()
			}
			return nil
		})
		fmt.Println(errors.Is(err, enough))
	}

	// Output:
	// /0/schema/1 orders
	// true
	// /0/schema/2 parts
	// false
}

// Be a node of the cluster: serve while the lease is held, stop when it is lost.
func ExampleClient_JoinAsNode() {
	address, stop := service()
	defer stop()

	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	cache, err := c.NewCache(client.CacheOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	session, err := c.JoinAsNode(ctx, client.JoinOptions{
		Node: &metadatav1.NodeInfo{
			NodeId: "storage_1", Addr: "127.0.0.1:6000", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE,
		},
		Cache: cache, // the service hears what the node has seen
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("joined with epoch", session.Epoch())

	lost := session.Done()
	select {
	case <-lost:
		fmt.Println("stop serving:", session.Err())
		err = session.Joined(ctx) // by itself, perhaps under another epoch
	default:
		fmt.Println("serving")
	}
	if err != nil {
		log.Fatal(err)
	}

	if err := session.Close(); err != nil {
		log.Fatal(err)
	}
	_, err = c.GetNode(ctx, &metadatav1.GetNodeRequest{NodeId: "storage_1"})
	fmt.Println("gone:", client.IsNotFound(err))

	// Output:
	// joined with epoch 1
	// serving
	// gone: true
}
