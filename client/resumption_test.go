package client

import (
	"io"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func failed(code connect.Code, reason string) error {
	err := connect.NewError(code, io.ErrNoProgress)
	if d, bad := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: reason}); bad == nil {
		err.AddDetail(d)
	}
	return err
}

var errBroken = connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF)

func wantStart(t *testing.T, r *resumption, want *metadatav1.SubscribeRequest) {
	t.Helper()
	if got := r.next(); !proto.Equal(got, want) {
		t.Fatalf("the next request is %v, want %v", got, want)
	}
}

func after(p *metadatav1.Position, failOnGap bool) *metadatav1.SubscribeRequest {
	return &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: p}, FailOnGap: failOnGap}
}

func snapshotRequest() *metadatav1.SubscribeRequest {
	return &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_Snapshot{Snapshot: true}}
}

// seeAll feeds frames and returns how many of them came out.
func seeAll(r *resumption, frames ...frame) (out []frame) {
	for _, f := range frames {
		if f = r.see(f); f != nil {
			out = append(out, f)
		}
	}
	return out
}

func TestResumingGoesOnBehindWhatWasSeen(t *testing.T) {
	r := newResumption(&metadatav1.SubscribeRequest{}, 3)
	wantStart(t, r, &metadatav1.SubscribeRequest{}) // "latest", until it is known where that is
	if out := seeAll(r, bookmark(at(1, 5, 2)), created(6, 7)); len(out) != 2 {
		t.Fatalf("%d frames came out", len(out))
	}
	wantStart(t, r, after(at(1, 7, 2), true))
	if _, again := r.broke(errBroken); !again || r.announce() != nil {
		t.Fatal("a broken connection is not resumed as it is")
	}
	// What comes twice is left out, a part of a frame too.
	out := seeAll(r, created(6, 7), registered(2), created(7, 9), registered(3))
	if len(out) != 2 || len(out[0].GetChanges().GetChanges()) != 2 || out[0].GetChanges().GetChanges()[0].GetRevision() != 8 {
		t.Fatalf("got %v", out)
	}
	// A bookmark does not lead back.
	if out := seeAll(r, bookmark(at(1, 7, 2))); !proto.Equal(out[0].GetBookmark().GetPosition(), at(1, 9, 3)) {
		t.Fatalf("the bookmark says %v", out)
	}
	wantStart(t, r, after(at(1, 9, 3), true))
}

func TestInterruptedSnapshotsBeginAnew(t *testing.T) {
	r := newResumption(snapshotRequest(), 3)
	wantStart(t, r, snapshotRequest())
	r.broke(errBroken)
	if r.announce() != nil {
		t.Fatal("nothing came, but the caller is to forget it")
	}
	seeAll(r, tablesAt(3))
	r.broke(errBroken)
	if f := r.announce(); f.GetReset_().GetReason() != snapshotInterrupted || f.GetReset_().GetStream() != 0 {
		t.Fatalf("the caller is told %v", f)
	}
	wantStart(t, r, snapshotRequest())
	r.broke(errBroken)
	if r.announce() != nil {
		t.Fatal("the caller is told twice")
	}
	// The next member is behind the first one: its frames count.
	if out := seeAll(r, tablesAt(2), nodesAt(1), bookmark(at(1, 2, 1)), created(3, 3)); len(out) != 4 {
		t.Fatalf("%d frames came out", len(out))
	}
	wantStart(t, r, after(at(1, 3, 1), true))
	// A reset of one stream, broken off, begins both anew.
	seeAll(r, reset(schemaStream, "HISTORY_TRIMMED"))
	r.broke(errBroken)
	if r.announce() == nil {
		t.Fatal("the caller is not told")
	}
	wantStart(t, r, snapshotRequest())
}

func TestOthersAreAskedBeforeGoingBack(t *testing.T) {
	future := failed(connect.CodeOutOfRange, "FUTURE_REVISION")
	r := newResumption(after(at(1, 5, 5), false), 2)
	wantStart(t, r, after(at(1, 5, 5), true))
	if _, again := r.broke(future); !again {
		t.Fatal("one member is behind; the other is not asked")
	}
	wantStart(t, r, after(at(1, 5, 5), true))
	if _, again := r.broke(future); !again {
		t.Fatal("all members are behind; no reset is asked for")
	}
	wantStart(t, r, after(at(1, 5, 5), false))
	seeAll(r, reset(0, "FUTURE_REVISION"), tablesAt(1), nodesAt(0), bookmark(at(1, 1, 0)))
	wantStart(t, r, after(at(1, 1, 0), true))

	r = newResumption(after(at(1, 5, 5), true), 2) // the caller wants an error instead
	r.broke(future)
	if _, again := r.broke(future); again {
		t.Fatal("the error is kept from a caller who asked for it")
	}
	for _, reason := range []string{"HISTORY_TRIMMED", "FOREIGN_POSITION"} {
		lost := failed(connect.CodeFailedPrecondition, reason)
		r = newResumption(after(at(1, 5, 5), false), 2)
		if _, again := r.broke(lost); !again {
			t.Fatalf("%s: no reset is asked for", reason)
		}
		wantStart(t, r, after(at(1, 5, 5), false))
		if _, again := newResumption(after(at(1, 5, 5), true), 2).broke(lost); again {
			t.Fatalf("%s: the error is kept from a caller who asked for it", reason)
		}
	}
	if _, again := r.broke(failed(connect.CodeInvalidArgument, "INVALID_FIELD")); again {
		t.Fatal("a bad request is repeated")
	}
}
