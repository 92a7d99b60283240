package leases_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// renewals returns a Table that leads so many nodes, and a beat of each with all that a
// beat can say.
func renewals(tb testing.TB, nodes int) (*leases.Table, []*metadatav1.HeartbeatRequest) {
	tb.Helper()
	table, err := leases.New(leases.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	var (
		all   []leases.Node
		beats []*metadatav1.HeartbeatRequest
	)
	for i := range nodes {
		id, epoch := fmt.Sprint("node-", i), uint64(i)+1
		all = append(all, leases.Node{ID: id, Epoch: epoch, Status: online})
		beats = append(beats, &metadatav1.HeartbeatRequest{
			NodeId: id, Epoch: epoch, Load: &metadatav1.NodeLoad{CpuMillis: 500, RequestsPerSecond: 2.5},
			Acknowledged: &metadatav1.Position{ClusterId: "0123456789abcdef0123456789abcdef", TopologyRevision: uint64(i)},
		})
	}
	table.Lead(7, slices.Values(all), 0)
	return table, beats
}

// A beat is renewed and judged without an allocation, alone or among others.
func TestBeatsAllocateNothing(t *testing.T) {
	table, beats := renewals(t, 64)
	heard := make([]leases.Verdict, 0, len(beats))
	now := time.Duration(0)
	together := testing.AllocsPerRun(100, func() {
		now += time.Millisecond
		heard = table.BeatAll(heard[:0], beats, now)
		table.CheckAll(heard)
	})
	alone := testing.AllocsPerRun(100, func() {
		table.Beat(beats[0].GetNodeId(), beats[0].GetEpoch(), now, beats[0].GetLoad(), beats[0].GetAcknowledged())
	})
	if together > 0 || alone > 0 {
		t.Errorf("64 beats together allocate %v times, one alone %v times", together, alone)
	}
}

// BenchmarkRenew renews the leases of 64 nodes of 1,000 that beat together.
func BenchmarkRenew(b *testing.B) {
	table, beats := renewals(b, 1000)
	heard := make([]leases.Verdict, 0, 64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		first := i * 64 % 900
		heard = table.BeatAll(heard[:0], beats[first:first+64], time.Duration(i)*time.Microsecond)
		table.CheckAll(heard)
	}
}
