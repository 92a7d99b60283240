package clienttest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/clienttest"
)

// A program's test against the real service.
func Example() {
	service, err := clienttest.Run(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = service.Stop() }()
	c, err := client.New(client.Options{Endpoints: []string{service.Endpoint()}})
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
