package member

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// A retry that the member makes by itself, after so many other changes that the first
// attempt has been forgotten, is not carried out again.
func TestARetryOfAForgottenAttemptIsNotCarriedOut(t *testing.T) {
	c := newCluster(t, 1, nil) // one keeps its leadership however long the large writes take
	c.start(1)
	known := c.mustCreate(1, "before").GetResult().GetPosition().GetSchemaRevision()
	q := replica.Request{Command: createTable("t"), Env: commands.Env{Actor: "test", RequestID: "once"}}
	leader := c.up[c.leader(schemaStream)]
	r := leader.running.Load()
	if _, err := leader.attempt(t.Context(), r, r.schema, q); err != nil {
		t.Fatal(err)
	}
	drop := &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: "t"}}
	if _, err := c.up[1].Write(t.Context(), drop, "test"); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", commands.MaxTextBytes)
	for i, bytes := 0, 0; bytes <= projections.MaxRequestBytes; i++ {
		request := createTable(fmt.Sprintf("large%d", i))
		for n := range 240 {
			request.Table.Columns = append(request.Table.Columns, &metadatav1.ColumnSchema{
				Name: fmt.Sprintf("c%d", n), Comment: large, DataType: request.Table.Columns[0].GetDataType(),
			})
			bytes += len(large)
		}
		if _, err := c.up[1].Write(t.Context(), request, "test"); err != nil {
			t.Fatal(err)
		}
	}
	for id, m := range c.up {
		r := m.running.Load()
		var err error
		c.eventually("an answer of a leader", func() bool {
			_, err = m.attempt(t.Context(), r, r.schema, retryKnowing(q, known))
			return !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_NO_LEADER)
		})
		if !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE) {
			t.Errorf("through member %d: %v", id, err)
		}
	}
	if commands.WriteOptionsOf(q.Command).GetKnownRevision() != 0 {
		t.Error("the first attempt's command was changed")
	}
}

func TestWhatACallerHearsAtLast(t *testing.T) {
	reason := func(r metadatav1.ErrorReason) error { return failure.New(r, "refused because of %v", r) }
	q := replica.Request{Command: createTable("t"), Env: commands.Env{RequestID: "id"}}
	dry := createTable("t")
	dry.Write = &metadatav1.WriteOptions{DryRun: true}
	for r := range metadatav1.ErrorReason_name {
		reason, err := metadatav1.ErrorReason(r), reason(metadatav1.ErrorReason(r))
		if got := finalError(err, false, q); !errors.Is(got, err) {
			t.Errorf("%v: after attempts without effect: %v", reason, got)
		}
		if got := finalError(err, true, replica.Request{Command: dry, Env: q.Env}); !errors.Is(got, err) {
			t.Errorf("%v: of a dry run: %v", reason, got)
		}
		got := failure.As(finalError(err, true, q))
		switch reason {
		case metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE, metadatav1.ErrorReason_ERROR_REASON_CANCELED:
			if got.Reason != reason {
				t.Errorf("%v: %v", reason, got)
			}
		default:
			if got.Reason != metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN || !strings.Contains(got.Message, err.Error()) {
				t.Errorf("%v: %v", reason, got)
			}
		}
	}
}
