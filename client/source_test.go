package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// chronicler serves the originals of a history in memory.
type chronicler struct {
	metadatav1connect.UnimplementedHistoryServiceHandler
	memory  *historytest.Memory
	cluster string        // that it says
	last    uint64        // 0: all
	digest  []byte        // of the head; nil: the true one
	breaks  atomic.Uint64 // the stream breaks behind so many changes, once; 0: never
	damaged uint64        // this change cannot be read; 0: all can
	streams atomic.Int64  // that were opened
}

func (m *chronicler) end() uint64 {
	if m.last > 0 {
		return m.last
	}
	return m.memory.First + uint64(len(m.memory.Encoded)) - 1
}

func (m *chronicler) GetHead(context.Context, *metadatav1.GetHeadRequest) (*metadatav1.GetHeadResponse, error) {
	digest := m.memory.Digest(m.end())
	res := &metadatav1.GetHeadResponse{
		MemberId: 1, ClusterId: m.cluster, RecoveryEpoch: historytest.Epoch, Revision: m.end(), Digest: digest[:],
		Time: timestamppb.New(historytest.Start), Floor: &metadatav1.HistoryFloor{OldestRevision: m.memory.First, PreviousDigest: m.memory.Previous[:]},
	}
	if m.digest != nil {
		res.Digest = m.digest
	}
	return res, nil
}

func (m *chronicler) StreamChanges(
	_ context.Context, req *metadatav1.StreamChangesRequest, stream *connect.ServerStream[metadatav1.StreamChangesResponse],
) error {
	m.streams.Add(1)
	first, last := req.GetSelection().GetFirstRevision(), m.end()
	switch {
	case first < m.memory.First:
		return fakefeed.Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED, "trimmed")
	case first > last:
		return fakefeed.Refusal(connect.CodeOutOfRange, metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION, "future")
	}
	if wanted := req.GetSelection().GetLastRevision(); wanted > 0 {
		last = min(last, wanted)
	}
	breaks := m.breaks.Swap(0)
	for at := first; at <= last; at++ {
		if at == m.damaged {
			return fakefeed.Refusal(connect.CodeDataLoss, metadatav1.ErrorReason_ERROR_REASON_DAMAGED, "damaged")
		}
		if breaks > 0 && at == first+breaks {
			return connect.NewError(connect.CodeUnavailable, errors.New("broken"))
		}
		message := &metadatav1.StreamChangesResponse{
			Originals: [][]byte{m.memory.Encoded[at-m.memory.First]}, LookedAtRevision: at,
			ClusterId: m.cluster, RecoveryEpoch: historytest.Epoch,
		}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
}

func newChronicler(changes int) *chronicler {
	return &chronicler{memory: historytest.New(schemaStream, historytest.Tables(changes, 2)), cluster: historytest.Cluster.String()}
}

func startChroniclers[M metadatav1connect.HistoryServiceHandler](t *testing.T, all ...M) *Client {
	t.Helper()
	var addrs []string
	for _, m := range all {
		mux := http.NewServeMux()
		mux.Handle(metadatav1connect.NewHistoryServiceHandler(m))
		s := httptest.NewUnstartedServer(mux)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	return newClient(t, addrs...)
}

func openHistory(t *testing.T, c *Client) *History {
	t.Helper()
	h, err := c.History(t.Context(), schemaStream, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestHistoryIsVerifiedFromOneStream(t *testing.T) {
	m := newChronicler(3000)
	h := openHistory(t, startChroniclers(t, m))
	v, err := history.Verify(t.Context(), h, history.VerifyOptions{})
	if err != nil || v.First != 1 || v.Last != 3000 || v.Digest != m.memory.Digest(3000) {
		t.Fatalf("verified %+v, %v", v, err)
	}
	if n := m.streams.Load(); n != 1 {
		t.Errorf("%d streams were opened to read on", n)
	}
}

// Damage that members say is damage like that of a file, and located like it; that of one member
// is read elsewhere.
func TestDamageOfMembersIsLocated(t *testing.T) {
	bad := func() *chronicler {
		m := newChronicler(30)
		m.damaged = 12
		return m
	}
	_, err := history.Verify(t.Context(), openHistory(t, startChroniclers(t, bad(), bad())), history.VerifyOptions{})
	if found, ok := errors.AsType[*history.DamagedError](err); !ok || found.Revision != 12 {
		t.Fatalf("got %v", err)
	}
	v, err := history.Verify(t.Context(), openHistory(t, startChroniclers(t, bad(), newChronicler(30))), history.VerifyOptions{})
	if err != nil || v.Last != 30 {
		t.Fatalf("with a sound member beside it: %+v, %v", v, err)
	}
}

func TestHistoryOfATrimmedStream(t *testing.T) {
	m := newChronicler(20)
	m.memory = m.memory.Trim(8)
	h := openHistory(t, startChroniclers(t, m))
	v, err := history.Verify(t.Context(), h, history.VerifyOptions{})
	if err != nil || v.First != 8 || v.Digest != m.memory.Digest(20) {
		t.Fatalf("verified %+v, %v", v, err)
	}
	if _, err := h.Read(t.Context(), 7, 1); Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED {
		t.Errorf("before the first change: %v", err)
	}
}

func TestHistoryReadsAnywhere(t *testing.T) {
	h := openHistory(t, startChroniclers(t, newChronicler(50)))
	if _, err := h.Bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, from := range []uint64{10, 40, 1, 50} {
		changes, err := h.Read(t.Context(), from, 1<<20)
		if err != nil || len(changes) != int(51-from) || changes[0].Revision() != from {
			t.Fatalf("from %d: %d changes, %v", from, len(changes), err)
		}
		one, err := history.ReadOne(t.Context(), h, from)
		if err != nil || one.Revision() != from {
			t.Fatalf("the change %d: %v", from, err)
		}
	}
	if changes, err := h.Read(t.Context(), 51, 1<<20); err != nil || len(changes) > 0 {
		t.Errorf("behind the last change: %d changes, %v", len(changes), err)
	}
	at, err := history.AtTime(t.Context(), h, historytest.Start.Add(7*time.Second))
	if err != nil || at != 7 {
		t.Errorf("at its time is revision %d, %v", at, err)
	}
}

func TestHistoryIsReadBySeveral(t *testing.T) {
	h := openHistory(t, startChroniclers(t, newChronicler(200)))
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			for from := uint64(1 + i); from <= 200; from += 50 {
				changes, err := h.Read(t.Context(), from, 2000)
				if err != nil || changes[0].Revision() != from {
					t.Errorf("from %d: %v", from, err)
				}
			}
		})
	}
	readers.Wait()
}

func TestHistoryGoesOnWhenAStreamBreaks(t *testing.T) {
	m := newChronicler(2000)
	m.breaks.Store(700)
	h := openHistory(t, startChroniclers(t, m))
	v, err := history.Verify(t.Context(), h, history.VerifyOptions{})
	if err != nil || v.Last != 2000 || m.streams.Load() != 2 {
		t.Fatalf("verified %+v in %d streams, %v", v, m.streams.Load(), err)
	}
}

func TestHistoryDoesNotBelieve(t *testing.T) {
	t.Run("a change that was replaced", func(t *testing.T) {
		m := newChronicler(20)
		m.digest = make([]byte, len(events.Digest{}))
		h := openHistory(t, startChroniclers(t, m))
		_, err := history.Verify(t.Context(), h, history.VerifyOptions{})
		if damage, ok := errors.AsType[*history.DamagedError](err); !ok || !strings.Contains(damage.Reason, "digest") {
			t.Errorf("verified with %v", err)
		}
	})
	t.Run("bytes that are no change", func(t *testing.T) {
		m := newChronicler(20)
		m.memory.Encoded[12] = []byte{0xff}
		digest := m.memory.Digest(20)
		m.digest = digest[:]
		h := openHistory(t, startChroniclers(t, m))
		_, err := history.Verify(t.Context(), h, history.VerifyOptions{})
		if damage, ok := errors.AsType[*history.DamagedError](err); !ok || damage.Revision != 13 {
			t.Errorf("verified with %v", err)
		}
	})
	t.Run("a member of another cluster", func(t *testing.T) {
		m := newChronicler(20)
		h := openHistory(t, startChroniclers(t, m))
		m.cluster = strings.Repeat("ab", 16)
		if _, err := h.Bounds(t.Context()); err == nil || !strings.Contains(err.Error(), "name endpoints of one cluster") {
			t.Errorf("its bounds: %v", err)
		}
		if _, err := h.Read(t.Context(), 1, 1); err == nil || !strings.Contains(err.Error(), "name endpoints of one cluster") {
			t.Errorf("its changes: %v", err)
		}
	})
	t.Run("a cluster id that is none", func(t *testing.T) {
		m := newChronicler(1)
		m.cluster = "c"
		if _, err := startChroniclers(t, m).History(t.Context(), schemaStream, nil); err == nil {
			t.Error("it is taken")
		}
	})
}

// A member that lags behind the one that named the end is not damage.
func TestHistoryOfAMemberThatLags(t *testing.T) {
	m := newChronicler(20)
	h := openHistory(t, startChroniclers(t, m))
	if _, err := h.Bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.last = 15
	changes, err := h.Read(t.Context(), 1, 1<<20)
	if err != nil || len(changes) != 15 {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	_, err = h.Read(t.Context(), 16, 1<<20)
	if _, damage := errors.AsType[*history.DamagedError](err); err == nil || damage || !strings.Contains(err.Error(), "does not have revision 16") {
		t.Errorf("the rest: %v", err)
	}
}

func TestHistoryEndsWithItsContext(t *testing.T) {
	m := newChronicler(20)
	h := openHistory(t, startChroniclers(t, m))
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := h.Read(ctx, 1, 100); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := h.Read(ctx, 2, 1<<20); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("behind its context's end: %v", err)
	}
	if changes, err := h.Read(t.Context(), 3, 1<<20); err != nil || len(changes) != 18 {
		t.Errorf("with another context: %d changes, %v", len(changes), err)
	}
}

// What another cluster has does not follow what came before: the stream goes on where it began.
func TestAStreamKeepsToItsCluster(t *testing.T) {
	own, other := newChronicler(10), newChronicler(10)
	own.breaks.Store(4)
	other.cluster = strings.Repeat("0f", 16)
	c := startChroniclers(t, own, other)
	next := uint64(1)
	for message, err := range c.StreamChanges(soon(t), &metadatav1.StreamChangesRequest{
		Selection: &metadatav1.ChangeSelection{Stream: schemaStream, FirstRevision: 1}, Originals: true,
	}) {
		if err != nil || message.GetLookedAtRevision() != next {
			t.Fatalf("revision %d where %d follows: %v", message.GetLookedAtRevision(), next, err)
		}
		next++
	}
	if next != 11 || other.streams.Load() == 0 || c.endpoints[1].foreign.Load() == nil {
		t.Fatalf("up to %d; the other cluster was asked %d times", next-1, other.streams.Load())
	}
}
