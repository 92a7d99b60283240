package history_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// benchChanges create tables with so many columns and alter each of them once, with what
// a change by a client has beside that.
func benchChanges(n, columns int) []*events.Change {
	changes := make([]*events.Change, 0, n)
	hash := make([]byte, 32)
	seal := func(m *metadatav1.Event) {
		r := uint64(len(changes) + 1)
		changes = append(changes, events.Seal(events.Header{
			Revision: r, Time: pasts.Start.Add(time.Duration(r) * time.Millisecond), Actor: "bench",
			RequestID: fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012d", r*7919%1_000_003), CommandHash: hash,
		}, []events.Event{events.New(m)}))
	}
	for id := uint64(1); len(changes) < n; id++ {
		t := &metadatav1.TableSchema{TableId: id, Namespace: "public", NamespaceId: 1, Name: fmt.Sprintf("table_%08d", id*7919%100_000_007), Version: 1}
		for i := range columns {
			t.Columns = append(t.Columns, &metadatav1.ColumnSchema{ColumnId: uint32(i + 1), Name: fmt.Sprintf("column_%02d", i),
				DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING}})
		}
		seal(&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}})
		now := proto.CloneOf(t)
		now.Version, now.Comment = 2, "altered"
		seal(&metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{Table: now}}})
	}
	return changes[:n]
}

// encodedSource decodes what it reads, as a store does.
type encodedSource struct{ *pasts.Source }

func (s encodedSource) Read(ctx context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	held, err := s.Source.Read(ctx, from, maxBytes)
	decoded := make([]*events.Change, len(held))
	for i, c := range held {
		if decoded[i], err = events.DecodeChange(c.Raw()); err != nil {
			return nil, err
		}
	}
	return decoded, err
}

// BenchmarkFold is a model of 100,000 changes from the beginning, decoding included.
func BenchmarkFold(b *testing.B) {
	const changes = 100_000
	for _, columns := range []int{2, 20} {
		b.Run(fmt.Sprint("columns=", columns), func(b *testing.B) {
			source := encodedSource{pasts.NewSource(benchChanges(changes, columns))}
			b.ReportAllocs()
			for b.Loop() {
				models := history.NewModels(source, history.Beginning[*schema.Model]{State: schemaStart()}, nil)
				if _, err := models.At(b.Context(), changes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(changes*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

// BenchmarkAtTime finds a time among 100,000 changes.
func BenchmarkAtTime(b *testing.B) {
	source := encodedSource{pasts.NewSource(benchChanges(100_000, 2))}
	t := pasts.Start.Add(33 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := history.AtTime(b.Context(), source, t); err != nil {
			b.Fatal(err)
		}
	}
}
