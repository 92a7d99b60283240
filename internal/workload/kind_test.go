package workload

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/heliosdb/metadata/client"
)

func TestKind(t *testing.T) {
	for want, err := range map[string]error{
		"unavailable":        connect.NewError(connect.CodeUnavailable, errors.New("gone")),
		"resource_exhausted": status.Error(codes.ResourceExhausted, "full"),
		"deadline_exceeded":  fmt.Errorf("late: %w", context.DeadlineExceeded),
		"canceled":           context.Canceled,
		"stale_epoch":        &refusedError{"STALE_EPOCH", "register again"},
		"no_shard":           &client.HoleError{},
		"other":              errors.New("something else"),
	} {
		if got := Kind(err); got != want {
			t.Errorf("%v is of kind %q, want %q", err, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	good := Settings{Tables: 1, Changes: 1, Nodes: 1, Pipeline: 1, Subscribers: 1, Batch: 1}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Settings){
		"tables": func(s *Settings) { s.Tables = MaxTables + 1 }, "nodes": func(s *Settings) { s.Nodes = 0 },
		"pipeline": func(s *Settings) { s.Pipeline = -1 }, "subscribers": func(s *Settings) { s.Subscribers = MaxSubscribers + 1 },
		"batch": func(s *Settings) { s.Batch = MaxBatch + 1 }, "changes": func(s *Settings) { s.Changes = 0 },
	} {
		s := good
		change(&s)
		if s.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, name := range Names {
		if _, err := Find(name.Name); err != nil {
			t.Error(err)
		}
		_, err := name.New(&Target{}, good)
		if (err != nil) != name.Local {
			t.Errorf("%s on a cluster that is not its own: %v", name.Name, err)
		}
	}
	if _, err := Find("nothing"); err == nil {
		t.Error("nothing was found")
	}
}
