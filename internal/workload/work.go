package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits of Settings.
const (
	MaxTables      = 1_000_000
	MaxChanges     = 10_000_000
	MaxNodes       = 10_000
	MaxSubscribers = 10_000
	MaxBatch       = 5_000
	MaxPipeline    = 1_000
)

// Settings say how much of what a Work uses. Each uses only some.
type Settings struct {
	Clients     int
	Tables      int // that reads and restarts find
	Changes     int // whose history is asked about
	Nodes       int // that beat
	Pipeline    int // beats under way on one stream
	Subscribers int
	Batch       int // tables of one atomic batch
	Fault       Fault
	// Settle is how long a cluster is left alone between two faults.
	Settle time.Duration
	Seed   uint64
	// Say tells people what is being prepared; nil: nobody is told.
	Say func(format string, args ...any)
}

// Check refuses settings that cannot be met.
func (s *Settings) Check() error {
	for _, l := range []struct {
		what       string
		value, max int
	}{
		{"tables", s.Tables, MaxTables},
		{"changes", s.Changes, MaxChanges},
		{"nodes", s.Nodes, MaxNodes},
		{"beats under way on a stream", s.Pipeline, MaxPipeline},
		{"subscribers", s.Subscribers, MaxSubscribers},
		{"tables in a batch", s.Batch, MaxBatch},
	} {
		if l.value < 1 || l.value > l.max {
			return fmt.Errorf("%d %s; give 1 to %d", l.value, l.what, l.max)
		}
	}
	return nil
}

// Report is what one run of a Work measured.
type Report struct {
	measure.Result
	// ObjectsPerSec is set where an operation is about several objects.
	ObjectsPerSec float64 `json:"objects_per_sec,omitempty"`
	// AllocsPerOp is set where operations stay in this process.
	AllocsPerOp *float64 `json:"allocs_per_op,omitempty"`
	// ChangesPerSec is how fast the service was changed while others listened.
	ChangesPerSec float64 `json:"changes_per_sec,omitempty"`
}

// Work is something to measure.
type Work interface {
	// Prepare makes what the operations need.
	Prepare(ctx context.Context) error
	// Run measures. The plan's Repeat and Kind are the Work's own.
	Run(ctx context.Context, plan measure.Plan) (Report, error)
	// Clean removes what Prepare and Run left in the service.
	Clean(ctx context.Context) error
}

// Name describes a Work for people.
type Name struct {
	Name, About string
	// Stream is whose leader it asks.
	Stream metadatav1.Stream
	// Clients is how many there are by default.
	Clients int
	// Uses are the names of the settings that it looks at, beside Clients.
	Uses []string
	// Local says that it needs members of its own.
	Local bool
	make  func(*base) Work
}

const (
	schema   = metadatav1.Stream_STREAM_SCHEMA
	topology = metadatav1.Stream_STREAM_TOPOLOGY
)

// Names lists what there is, in the order of the manual.
var Names = []Name{
	{
		"create", "create tables, one a call",
		schema, 64, nil, false, func(b *base) Work { return &create{base: b} },
	}, {
		"bulk", "create tables in atomic batches",
		schema, 16, []string{"batch"}, false, func(b *base) Work { return &bulk{base: b} },
	}, {
		"get", "read tables, linearizable",
		schema, 64, []string{"tables"}, false, func(b *base) Work { return &get{base: b} },
	}, {
		"get-local", "read tables, LOCAL",
		schema, 64, []string{"tables"}, false, func(b *base) Work { return &get{base: b, read: localRead} },
	}, {
		"cached-get", "read tables from the client's cache",
		schema, 1, []string{"tables"}, false, func(b *base) Work { return &cachedGet{base: b} },
	}, {
		"route", "find the shard and the nodes of a key in the client's cache",
		topology, 1, nil, false, func(b *base) Work { return &route{base: b} },
	}, {
		"heartbeat", "beat for nodes; a client is an open stream",
		topology, 16, []string{"nodes", "pipeline"}, false, func(b *base) Work { return &heartbeat{base: b} },
	}, {
		"subscribe", "hear of created tables; clients create, subscribers have a stream each",
		schema, 8, []string{"subscribers"}, false, func(b *base) Work { return &subscribe{base: b} },
	}, {
		"failover", "kill or pause the leader: the time to the next acknowledged write",
		schema, 1, []string{"fault", "settle"}, true, func(b *base) Work { return &failover{base: b} },
	}, {
		"restart", "kill a member and start it: the time until it answers LOCAL reads",
		schema, 1, []string{"tables", "settle"}, true, func(b *base) Work { return &restart{base: b} },
	}, {
		"mixed", "60 % LOCAL reads, 30 % linearizable ones, 8 % alterations, 2 % creations",
		schema, 64, []string{"tables"}, false, func(b *base) Work { return &mixed{base: b} },
	}, {
		"history", "read the log of a table, and a table as it was, after many alterations",
		schema, 1, []string{"tables", "changes"}, false, func(b *base) Work { return &past{base: b} },
	},
}

// Find returns what has a name.
func Find(name string) (Name, error) {
	for _, n := range Names {
		if n.Name == name {
			return n, nil
		}
	}
	return Name{}, fmt.Errorf("there is no workload %q", name)
}

// New returns the Work on a target.
func (n Name) New(t *Target, s Settings) (Work, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if n.Local && t.Cluster == nil {
		return nil, errors.New("it kills members, and those of this cluster are not its own")
	}
	if s.Say == nil {
		s.Say = func(string, ...any) {}
	}
	return n.make(&base{Target: t, Settings: s, id: "bench_" + uuid.NewString()[:8]}), nil
}

// base is what every Work has.
type base struct {
	*Target
	Settings

	id string // of this Work: the name of its namespace, and the beginning of its nodes'
}

// kinds returns a plan with the kinds of our errors.
func (b *base) kinds(plan measure.Plan) measure.Plan {
	plan.Kind = Kind
	return plan
}

// loop runs an operation in a loop.
func (b *base) loop(ctx context.Context, plan measure.Plan, op func(client int) measure.Op) (Report, error) {
	result, err := measure.Run(ctx, b.kinds(plan), op)
	return Report{Result: result}, err
}
