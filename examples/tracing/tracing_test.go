package tracing_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/clienttest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Trace each attempt of a call, and each stream. A program has an exporter where this one has a
// recorder.
func Example() {
	service, err := clienttest.Run(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = service.Stop() }()
	recorder := tracetest.NewSpanRecorder()
	traces := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))

	interceptor, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(traces))
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Options{
		Endpoints:    service.Endpoints(),
		Interceptors: []connect.Interceptor{interceptor},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx := context.Background()
	_, err = c.CreateNamespace(ctx, &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "sales"}})
	if err != nil {
		log.Fatal(err)
	}
	from := &metadatav1.SubscribeRequest_After{After: new(metadatav1.Position)}
	for frame, err := range c.Watch(ctx, &metadatav1.SubscribeRequest{Start: from}) {
		if err != nil {
			log.Fatal(err)
		}
		if len(frame.GetChanges().GetChanges()) > 0 {
			break
		}
	}

	var names []string
	for _, span := range recorder.Ended() {
		names = append(names, span.Name())
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Println(name)
	}

	// Output:
	// heliosdb.metadata.v1.MetadataService/CreateNamespace
	// heliosdb.metadata.v1.MetadataService/Subscribe
}
