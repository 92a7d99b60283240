package main

import (
	"context"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// beat NODE EPOCH sends a heartbeat with a load, as a node does.
func beat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: beat NODE EPOCH")
	}
	epoch, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	c, err := client.New(client.Options{Endpoints: []string{ts.Getenv("API")}})
	ts.Check(err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = c.Heartbeat(ctx, &metadatav1.HeartbeatRequest{
		NodeId: args[0], Epoch: epoch,
		Load: &metadatav1.NodeLoad{CpuMillis: 1500, MemoryBytes: 3 << 30, DiskBytes: 512, RequestsPerSecond: 12.25},
	})
	ts.Check(err)
}
