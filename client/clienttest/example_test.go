package clienttest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/clienttest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A program's test against the real service.
func Example() {
	service, err := clienttest.Run(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = service.Stop() }()
	c, err := client.New(client.Options{Endpoints: service.Endpoints()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	created, err := c.CreateNamespace(context.Background(), namespace("sales"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.GetNamespace().GetName(), created.GetResult().GetPosition().GetSchemaRevision())
	// Output: sales 1
}

// A program's test of how it gets over a member's end.
func Example_failover() {
	service, err := clienttest.Run(clienttest.Options{Members: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = service.Stop() }()
	c, err := client.New(client.Options{Endpoints: service.Endpoints()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	leader, err := service.Leader(metadatav1.Stream_STREAM_SCHEMA)
	if err != nil {
		log.Fatal(err)
	}
	leader.Kill()
	if _, err := c.CreateNamespace(context.Background(), namespace("sales")); err != nil {
		log.Fatal(err) // another member leads by now
	}
	if err := leader.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("written")
	// Output: written
}
