package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// archive serves the changes up to last, and ends each stream behind so many of them.
type archive struct {
	metadatav1connect.UnimplementedHistoryServiceHandler
	last  uint64
	ends  uint64       // 0: never
	with  error        // how
	late  atomic.Int64 // so many streams that begin behind the first revision are of the future
	first bool         // those that begin there too
	epoch uint64       // of recovery; 0: the first
	asked chan *metadatav1.StreamChangesRequest
}

func (a *archive) StreamChanges(
	_ context.Context, req *metadatav1.StreamChangesRequest, stream *connect.ServerStream[metadatav1.StreamChangesResponse],
) error {
	a.asked <- req
	if (a.first || req.GetSelection().GetFirstRevision() > 1) && a.late.Add(-1) >= 0 {
		return fakefeed.Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION, "not here yet")
	}
	first := true
	for at := max(req.GetSelection().GetFirstRevision(), 1); at <= a.last; at++ {
		if a.ends > 0 && at > a.ends {
			return a.with
		}
		m := &metadatav1.StreamChangesResponse{Originals: [][]byte{{byte(at)}}, LookedAtRevision: at, NewestRevision: a.last}
		if first {
			m.ClusterId, m.RecoveryEpoch, m.PreviousDigest = "c", max(a.epoch, 1), []byte{byte(at - 1)}
		}
		first = false
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) VerifyHistory(
	_ context.Context, _ *metadatav1.VerifyHistoryRequest, stream *connect.ServerStream[metadatav1.VerifyHistoryResponse],
) error {
	for at := range a.last + 1 {
		if err := stream.Send(&metadatav1.VerifyHistoryResponse{VerifiedRevision: at, LastRevision: a.last, Done: at == a.last}); err != nil {
			return err
		}
	}
	return nil
}

func startArchives(t *testing.T, all ...*archive) *Client {
	t.Helper()
	var addrs []string
	for _, a := range all {
		a.asked = make(chan *metadatav1.StreamChangesRequest, 100)
		mux := http.NewServeMux()
		mux.Handle(metadatav1connect.NewHistoryServiceHandler(a))
		s := httptest.NewUnstartedServer(mux)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	return newClient(t, addrs...)
}

func originals() *metadatav1.StreamChangesRequest {
	return &metadatav1.StreamChangesRequest{Selection: &metadatav1.ChangeSelection{Stream: schemaStream}, Originals: true}
}

var errGap = fakefeed.Refusal(connect.CodeUnavailable, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP, "ask another member")

func TestStreamChangesGoesOnAtAnotherMember(t *testing.T) {
	broken := &archive{last: 9, ends: 4, with: errGap}
	whole := &archive{last: 9}
	c := startArchives(t, broken, whole)
	req := originals()
	next := byte(1)
	for m, err := range c.StreamChanges(t.Context(), req) {
		if err != nil || m.GetOriginals()[0][0] != next {
			t.Fatalf("got %v, %v instead of change %d", m, err, next)
		}
		if (m.GetClusterId() != "") != (next == 1) || (m.GetPreviousDigest() != nil) != (next == 1) {
			t.Fatalf("the message of change %d is %v", next, m)
		}
		next++
	}
	if next != 10 {
		t.Fatalf("it ended before change %d", next)
	}
	if first := (<-whole.asked).GetSelection().GetFirstRevision(); first != 5 {
		t.Fatalf("it went on at %d", first)
	}
	if req.GetSelection().GetFirstRevision() != 0 {
		t.Fatal("the caller's request was changed")
	}
}

// What a cluster that was restored from a backup has at a revision is another change: a stream that began
// before ends there, and says why. One that begins afterwards is of the new life.
func TestAStreamEndsWhereTheClusterWasRestored(t *testing.T) {
	before, restored := &archive{last: 9, ends: 4, with: errGap}, &archive{last: 9, epoch: 2}
	c := startArchives(t, before, restored)
	next, end := byte(1), error(nil)
	for m, err := range c.StreamChanges(soon(t), originals()) {
		if end = err; err == nil && m.GetOriginals()[0][0] == next {
			next++
		}
	}
	if next != 5 || connect.CodeOf(end) != connect.CodeFailedPrecondition {
		t.Fatalf("before change %d: %v", next, end)
	}
	for _, part := range []string{"cluster c, recovery epoch 1", "has that of cluster c, recovery epoch 2", c.endpoints[1].address} {
		if !strings.Contains(end.Error(), part) {
			t.Errorf("%v does not say %s", end, part)
		}
	}
	c.preferred.Store(1)
	next = 1
	for m, err := range c.StreamChanges(soon(t), originals()) {
		if err != nil || next == 1 && m.GetRecoveryEpoch() != 2 {
			t.Fatalf("the message of change %d is %v: %v", next, m, err)
		}
		next++
	}
	if next != 10 {
		t.Fatalf("the stream of the new life ended before change %d", next)
	}
}

func TestStreamChangesEnds(t *testing.T) {
	trimmed := fakefeed.Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, "trimmed")
	for name, c := range map[string]struct {
		with error
		want metadatav1.ErrorReason
	}{
		"an answer that is final":        {trimmed, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED},
		"nobody has what is to follow":   {errGap, metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP},
		"the reader has seen enough":     {nil, 0},
		"the reader's context has ended": {errGap, 0},
	} {
		client := startArchives(t, &archive{last: 9, ends: 4, with: c.with})
		client.opts.Timeout = 50 * time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		var last error
		for m, err := range client.StreamChanges(ctx, originals()) {
			if last = err; m.GetLookedAtRevision() == 4 {
				if c.want == 0 {
					cancel()
				}
				if c.with == nil {
					break
				}
			}
		}
		if canceled := errors.Is(last, context.Canceled); Reason(last) != c.want || canceled != (c.want == 0 && c.with != nil) {
			t.Errorf("%s: %v", name, last)
		}
		cancel()
	}
}

// A member that is a little behind the one that broke off is no end: it is asked again, or
// another one.
func TestStreamChangesWaitsForAMemberThatIsBehind(t *testing.T) {
	for name, follow := range map[string]bool{"to its end": false, "following": true} {
		broken := &archive{last: 9, ends: 4, with: connect.NewError(connect.CodeUnavailable, errors.New("broken"))}
		late := &archive{last: 9}
		late.late.Store(3)
		broken.late.Store(2)
		c := startArchives(t, broken, late)
		req := originals()
		req.Follow = follow
		next := byte(1)
		for m, err := range c.StreamChanges(t.Context(), req) {
			if err != nil || m.GetOriginals()[0][0] != next {
				t.Fatalf("%s: got %v, %v instead of change %d", name, m, err, next)
			}
			if next++; next == 10 {
				break
			}
		}
		if next != 10 {
			t.Errorf("%s: it ended before change %d", name, next)
		}
	}
}

// But a member that says so all the time is believed in the end, and one that nobody has gone
// before, at once.
func TestStreamChangesOfTheFuture(t *testing.T) {
	broken := &archive{last: 9, ends: 4, with: connect.NewError(connect.CodeUnavailable, errors.New("broken"))}
	broken.late.Store(1000)
	c := startArchives(t, broken)
	c.opts.Timeout = 100 * time.Millisecond
	messages := 0
	var last error
	for m, err := range c.StreamChanges(t.Context(), originals()) {
		if last = err; m != nil {
			messages++
		}
	}
	if messages != 4 || Reason(last) != metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION {
		t.Errorf("%d messages, %v", messages, last)
	}
	req := originals()
	req.Selection.FirstRevision = 5
	future := &archive{last: 9, first: true}
	future.late.Store(1000)
	first := startArchives(t, future, &archive{last: 9})
	for m, err := range first.StreamChanges(t.Context(), req) {
		if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION {
			t.Errorf("the first answer is %v, %v", m, err)
		}
	}
}

// What breaks when all has come is nobody's business.
func TestStreamChangesThatHasAll(t *testing.T) {
	broken := &archive{last: 9, ends: 4, with: connect.NewError(connect.CodeUnavailable, errors.New("broken"))}
	other := &archive{last: 4}
	c := startArchives(t, broken, other)
	req := originals()
	req.Selection.LastRevision = 4
	messages := 0
	for m, err := range c.StreamChanges(t.Context(), req) {
		if messages++; err != nil || m.GetLookedAtRevision() != uint64(messages) {
			t.Fatalf("got %v, %v", m, err)
		}
	}
	if messages != 4 || len(other.asked) != 0 {
		t.Errorf("%d messages; another member was asked %d times", messages, len(other.asked))
	}
}

func TestStreamChangesFollows(t *testing.T) {
	a := &archive{last: 3}
	c := startArchives(t, a)
	req := originals()
	req.Follow = true
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	var last error
	messages := 0
	for m, err := range c.StreamChanges(ctx, req) {
		if last = err; m != nil {
			messages++
		}
	}
	if !errors.Is(last, context.Canceled) || messages != 3 {
		t.Fatalf("%d messages, %v", messages, last)
	}
	<-a.asked
	if first := (<-a.asked).GetSelection().GetFirstRevision(); first != 4 {
		t.Fatalf("the member ended it; it went on at %d", first)
	}
}

func TestVerifyHistoryIsOneMembersWord(t *testing.T) {
	c := startArchives(t, &archive{last: 3})
	answers, err := c.VerifyHistory(t.Context(), &metadatav1.VerifyHistoryRequest{Stream: schemaStream})
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	for at := range uint64(4) {
		m, err := answers.Receive()
		if err != nil || m.GetVerifiedRevision() != at || m.GetDone() != (at == 3) {
			t.Fatalf("got %v, %v", m, err)
		}
	}
	if m, err := answers.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, %v", m, err)
	}
}
