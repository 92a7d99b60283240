package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A write of unknown outcome is made again, minutes later perhaps, as the same request, with how
// old its id is: who has forgotten the id can say so.
func TestAWriteIsRepeatedAsTheSameRequest(t *testing.T) {
	seen := replies(&metadatav1.CreateTableResponse{Result: &metadatav1.WriteResult{
		Position: &metadatav1.Position{ClusterId: "aaaa", RecoveryEpoch: 1, SchemaRevision: 7, TopologyRevision: 3},
	}})
	forgotten := fails(connect.CodeFailedPrecondition, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE)
	f, c := startFakes(t, 1, seen, hangs, forgotten)
	create := &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Name: "t"}}
	if _, err := c.CreateTable(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.CreateTable(ctx, create)
	sent := f.all()[1].request.(*metadatav1.CreateTableRequest).GetWrite()
	again := Repeat(err)
	if want := (&metadatav1.WriteOptions{RequestId: sent.GetRequestId(), KnownRevision: 7}); !proto.Equal(again, want) {
		t.Fatalf("it is to be repeated with %v, want %v", again, want)
	}
	if !IsOutcomeUnknown(err) || !strings.Contains(err.Error(), "request id "+sent.GetRequestId()+" and known revision 7") {
		t.Fatalf("the error says %v", err)
	}
	c.known.last[schemaStream] = sighting{20, time.Now()} // much has been written since
	_, err = c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{Table: create.GetTable(), Write: again})
	repeated := f.all()[2].request.(*metadatav1.CreateTableRequest).GetWrite()
	if !proto.Equal(repeated, again) {
		t.Fatalf("it was repeated with %v, want %v", repeated, again)
	}
	if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWABLE || IsOutcomeUnknown(err) {
		t.Fatalf("the service has forgotten the id: %v", err)
	}
}

// The id of a caller's own is as old as he says, and if he does not, nobody knows.
func TestARequestOfOnesOwnIsAsOldAsOneSays(t *testing.T) {
	for _, own := range []*metadatav1.WriteOptions{{RequestId: "mine"}, {RequestId: "mine", KnownRevision: 2}} {
		_, c := startFakes(t, 1, hangs)
		c.known.last[schemaStream] = sighting{7, time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Write: own})
		cancel()
		if again := Repeat(err); !proto.Equal(again, own) {
			t.Errorf("made with %v, it is to be repeated with %v", own, again)
		}
	}
}
