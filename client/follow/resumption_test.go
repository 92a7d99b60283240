package follow

import (
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/internal/frames"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func failed(reason metadatav1.ErrorReason) error { return failure.New(reason, "failed") }

var errBroken = io.ErrUnexpectedEOF

func wantStart(t *testing.T, r *Resumption, want *metadatav1.SubscribeRequest) {
	t.Helper()
	if got := r.Next(); !proto.Equal(got, want) {
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
func seeAll(r *Resumption, frames ...frames.Frame) (out []frames.Frame) {
	for _, f := range frames {
		if f = r.See(f); f != nil {
			out = append(out, f)
		}
	}
	return out
}

func TestResumingGoesOnBehindWhatWasSeen(t *testing.T) {
	r := NewResumption(&metadatav1.SubscribeRequest{}, 3, JudgeFailure)
	wantStart(t, r, &metadatav1.SubscribeRequest{}) // "latest", until it is known where that is
	if out := seeAll(r, frames.Bookmark(frames.At(1, 5, 2)), frames.Created(6, 7)); len(out) != 2 {
		t.Fatalf("%d frames came out", len(out))
	}
	wantStart(t, r, after(frames.At(1, 7, 2), true))
	if _, again := r.Broke(errBroken); !again || r.Announce() != nil {
		t.Fatal("a broken connection is not resumed as it is")
	}
	// What comes twice is left out, a part of a frame too.
	out := seeAll(r, frames.Created(6, 7), frames.Registered(2), frames.Created(7, 9), frames.Registered(3))
	if len(out) != 2 || len(out[0].GetChanges().GetChanges()) != 2 || out[0].GetChanges().GetChanges()[0].GetRevision() != 8 {
		t.Fatalf("got %v", out)
	}
	// A bookmark does not lead back.
	if out := seeAll(r, frames.Bookmark(frames.At(1, 7, 2))); !proto.Equal(out[0].GetBookmark().GetPosition(), frames.At(1, 9, 3)) {
		t.Fatalf("the bookmark says %v", out)
	}
	wantStart(t, r, after(frames.At(1, 9, 3), true))
}

func TestInterruptedSnapshotsBeginAnew(t *testing.T) {
	r := NewResumption(snapshotRequest(), 3, JudgeFailure)
	wantStart(t, r, snapshotRequest())
	r.Broke(errBroken)
	if r.Announce() != nil {
		t.Fatal("nothing came, but the caller is to forget it")
	}
	seeAll(r, frames.Tables(3))
	r.Broke(errBroken)
	if f := r.Announce(); f.GetReset_().GetReason() != SnapshotInterrupted || f.GetReset_().GetStream() != 0 {
		t.Fatalf("the caller is told %v", f)
	}
	wantStart(t, r, snapshotRequest())
	r.Broke(errBroken)
	if r.Announce() != nil {
		t.Fatal("the caller is told twice")
	}
	// The next member is behind the first one: its frames count.
	if out := seeAll(r, frames.Tables(2), frames.Nodes(1), frames.Bookmark(frames.At(1, 2, 1)), frames.Created(3, 3)); len(out) != 4 {
		t.Fatalf("%d frames came out", len(out))
	}
	wantStart(t, r, after(frames.At(1, 3, 1), true))
	// A reset of one stream, broken off, begins both anew.
	seeAll(r, frames.Reset(schemaStream, "HISTORY_TRIMMED"))
	r.Broke(errBroken)
	if r.Announce() == nil {
		t.Fatal("the caller is not told")
	}
	wantStart(t, r, snapshotRequest())
}

func TestOthersAreAskedBeforeGoingBack(t *testing.T) {
	future := failed(metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION)
	r := NewResumption(after(frames.At(1, 5, 5), false), 2, JudgeFailure)
	wantStart(t, r, after(frames.At(1, 5, 5), true))
	if _, again := r.Broke(future); !again {
		t.Fatal("one member is behind; the other is not asked")
	}
	wantStart(t, r, after(frames.At(1, 5, 5), true))
	if _, again := r.Broke(future); !again {
		t.Fatal("all members are behind; no reset is asked for")
	}
	wantStart(t, r, after(frames.At(1, 5, 5), false))
	seeAll(r, frames.Reset(0, "FUTURE_REVISION"), frames.Tables(1), frames.Nodes(0), frames.Bookmark(frames.At(1, 1, 0)))
	wantStart(t, r, after(frames.At(1, 1, 0), true))

	r = NewResumption(after(frames.At(1, 5, 5), true), 2, JudgeFailure) // the caller wants an error instead
	r.Broke(future)
	if _, again := r.Broke(future); again {
		t.Fatal("the error is kept from a caller who asked for it")
	}
	for _, reason := range []metadatav1.ErrorReason{
		metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION,
	} {
		lost := failed(reason)
		r = NewResumption(after(frames.At(1, 5, 5), false), 2, JudgeFailure)
		if _, again := r.Broke(lost); !again {
			t.Fatalf("%s: no reset is asked for", reason)
		}
		wantStart(t, r, after(frames.At(1, 5, 5), false))
		if _, again := NewResumption(after(frames.At(1, 5, 5), true), 2, JudgeFailure).Broke(lost); again {
			t.Fatalf("%s: the error is kept from a caller who asked for it", reason)
		}
	}
	if _, again := r.Broke(failed(metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD)); again {
		t.Fatal("a bad request is repeated")
	}
}

func TestChangesOutOfOrderAreLeftOut(t *testing.T) {
	r := NewResumption(snapshotRequest(), 1, JudgeFailure)
	mixed := frames.Created(1, 5)
	changes := mixed.GetChanges().GetChanges()
	changes[1], changes[3] = changes[3], changes[1] // 1 4 3 2 5
	out := seeAll(r, mixed, frames.Created(4, 5))
	if len(out) != 1 || len(out[0].GetChanges().GetChanges()) != 3 || out[0].GetChanges().GetChanges()[1].GetRevision() != 4 {
		t.Fatalf("got %v", out)
	}
}

func TestWhoWantsTheStateDoesNotWaitForTheHistory(t *testing.T) {
	gap := failed(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP)
	r := NewResumption(after(frames.At(1, 5, 5), false), 2, JudgeFailure)
	for range 10 { // who wants the changes waits for a member that has them
		if _, again := r.Broke(gap); !again || r.Announce() != nil {
			t.Fatal("it does not wait")
		}
		wantStart(t, r, after(frames.At(1, 5, 5), true))
	}
	r = NewResumption(after(frames.At(1, 5, 5), false), 2, JudgeFailure)
	r.PreferSnapshots()
	r.Broke(gap)
	r.See(frames.Bookmark(frames.At(1, 6, 5))) // another member can
	r.Broke(gap)
	if r.Announce() != nil {
		t.Fatal("not all members were asked")
	}
	wantStart(t, r, after(frames.At(1, 6, 5), true))
	r.Broke(errBroken)
	if _, again := r.Broke(gap); !again {
		t.Fatal("it gives up")
	}
	if f := r.Announce(); f.GetReset_().GetReason() != historyGap {
		t.Fatalf("the caller is told %v", f)
	}
	wantStart(t, r, snapshotRequest())
	r.Broke(errBroken)
	if r.Announce() != nil {
		t.Fatal("the caller is told twice")
	}
	seeAll(r, frames.Tables(7))
	r.Broke(errBroken)
	if f := r.Announce(); f.GetReset_().GetReason() != SnapshotInterrupted {
		t.Fatalf("the caller is told %v", f)
	}
}

// Frames in their encoding are seen as others are: what was handed on is left out.
func TestResumptionSeesEncodedFrames(t *testing.T) {
	r := NewResumption(snapshotRequest(), 1, JudgeFailure)
	see := func(f frames.Frame) (Frame, bool) {
		raw, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseFrame(raw)
		if err != nil {
			t.Fatal(err)
		}
		return r.SeeFrame(parsed)
	}
	for _, f := range []frames.Frame{frames.Tables(3), frames.Nodes(1), frames.Bookmark(frames.At(1, 3, 1)), frames.Created(4, 5)} {
		if _, fresh := see(f); !fresh {
			t.Fatalf("%v is left out", f)
		}
	}
	if _, fresh := see(frames.Created(3, 5)); fresh {
		t.Error("changes that were handed on are handed on again")
	}
	f, fresh := see(frames.Created(4, 7))
	if _, changes := f.Changes(); !fresh || len(changes) != 2 || changes[0].Revision() != 6 || changes[1].Revision() != 7 {
		t.Errorf("of changes 4 to 7 these are new: %v", changes)
	}
	if after := r.Next().GetAfter(); after.GetSchemaRevision() != 7 || after.GetTopologyRevision() != 1 {
		t.Errorf("it resumes behind %v", after)
	}
}
