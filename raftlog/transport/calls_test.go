package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// callPair starts two members; member 2 serves calls with serve.
func callPair(t testing.TB, serve func(ctx context.Context, from uint64, method uint8, payload []byte) ([]byte, error)) (caller, server *node) {
	t.Helper()
	nodes := startCluster(t, 2, func(c *Config) {
		r := newRecorder()
		if c.Member == 2 {
			r.call = serve
		}
		c.Handler = r
	})
	awaitUp(t, nodes)
	return nodes[1], nodes[2]
}

func TestCallsRunConcurrently(t *testing.T) {
	caller, server := callPair(t, func(ctx context.Context, from uint64, method uint8, payload []byte) ([]byte, error) {
		if len(payload)%3 == 0 {
			time.Sleep(time.Millisecond)
		}
		return fmt.Appendf(nil, "%d/%d/%s", from, method, payload), nil
	})
	const count = 1000
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			payload := strings.Repeat("x", i)
			got, err := caller.Call(t.Context(), 2, uint8(i), []byte(payload))
			if want := fmt.Sprintf("1/%d/%s", uint8(i), payload); err != nil || string(got) != want {
				t.Errorf("call %d: got %.40q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if sent, served := caller.Stats().CallsSent, server.Stats().CallsServed; sent != count || served != count {
		t.Errorf("counted %d sent and %d served, want %d", sent, served, count)
	}
}

func TestSlowCallDelaysNoOther(t *testing.T) {
	release := make(chan struct{})
	caller, _ := callPair(t, func(_ context.Context, _ uint64, method uint8, _ []byte) ([]byte, error) {
		if method == 1 {
			<-release
		}
		return []byte{method}, nil
	})
	slow := make(chan error, 1)
	go func() {
		_, err := caller.Call(t.Context(), 2, 1, nil)
		slow <- err
	}()
	if _, err := caller.Call(t.Context(), 2, 2, nil); err != nil {
		t.Error(err)
	}
	select {
	case err := <-slow:
		t.Errorf("the slow call ended early: %v", err)
	default:
	}
	close(release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

func TestBigPayloads(t *testing.T) {
	caller, _ := callPair(t, func(_ context.Context, _ uint64, method uint8, payload []byte) ([]byte, error) {
		if method == 1 {
			return append(payload, 1), nil
		}
		return payload, nil
	})
	big := bytes.Repeat([]byte("0123456789abcdef"), MaxCallPayload/16)
	for range 2 {
		got, err := caller.Call(t.Context(), 2, 0, big)
		if err != nil || !bytes.Equal(got, big) {
			t.Fatalf("%d bytes came back, %v", len(got), err)
		}
	}
	var tooLarge *TooLargeError
	if _, err := caller.Call(t.Context(), 2, 0, append(big, make([]byte, 16)...)); !errors.As(err, &tooLarge) || tooLarge.Name != "MaxCallPayload" {
		t.Errorf("a request over the limit: %v", err)
	}
	var remote *RemoteError
	if _, err := caller.Call(t.Context(), 2, 1, big); !errors.As(err, &remote) || remote.Code != CodeTooLarge {
		t.Errorf("an answer over the limit: %v", err)
	}
	if _, err := caller.Call(t.Context(), 2, 0, []byte("still there")); err != nil {
		t.Errorf("after the limits: %v", err)
	}
}

func TestRemoteErrors(t *testing.T) {
	caller, _ := callPair(t, func(_ context.Context, _ uint64, method uint8, _ []byte) ([]byte, error) {
		switch method {
		case 1:
			return nil, fmt.Errorf("wrapped: %w", &RemoteError{Code: FirstHandlerCode + 1, Reason: "no such thing", Payload: []byte("detail")})
		case 2:
			return nil, errors.New("plain")
		case 3:
			return nil, context.DeadlineExceeded
		case 4:
			return nil, context.Canceled
		}
		return nil, &RemoteError{Code: FirstHandlerCode, Reason: strings.Repeat("r", 2*MaxReasonBytes)}
	})
	for _, want := range []struct {
		method uint8
		RemoteError
	}{
		{1, RemoteError{Code: FirstHandlerCode + 1, Reason: "no such thing", Payload: []byte("detail")}},
		{2, RemoteError{Code: CodeInternal, Reason: "plain"}},
		{3, RemoteError{Code: CodeDeadline, Reason: "context deadline exceeded"}},
		{4, RemoteError{Code: CodeCancelled, Reason: "context canceled"}},
		{5, RemoteError{Code: FirstHandlerCode, Reason: strings.Repeat("r", MaxReasonBytes)}},
	} {
		_, err := caller.Call(t.Context(), 2, want.method, nil)
		var got *RemoteError
		if !errors.As(err, &got) {
			t.Errorf("method %d: %v is not a RemoteError", want.method, err)
			continue
		}
		if got.Code != want.Code || got.Reason != want.Reason || !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("method %d: got %+v, want %+v", want.method, got, want.RemoteError)
		}
	}
}

func TestDeadlineTravels(t *testing.T) {
	left := make(chan time.Duration, 1)
	caller, _ := callPair(t, func(ctx context.Context, _ uint64, _ uint8, _ []byte) ([]byte, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			left <- 0
			return nil, nil
		}
		left <- time.Until(deadline)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := caller.Call(context.Background(), 2, 0, nil); err != nil || <-left != 0 {
		t.Errorf("a call without deadline got one, or %v", err)
	}
	const limit = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := caller.Call(ctx, 2, 0, nil)
	var lost *LostError
	var remote *RemoteError
	switch { // both sides' clocks run out at about the same time
	case errors.As(err, &lost) && errors.Is(err, context.DeadlineExceeded):
	case errors.As(err, &remote) && remote.Code == CodeDeadline:
	default:
		t.Errorf("got %v", err)
	}
	if got := <-left; got <= 0 || got > limit {
		t.Errorf("the handler had %v left of %v", got, limit)
	}
	<-ctx.Done()
	if _, err := caller.Call(ctx, 2, 0, nil); !errors.As(err, new(*UnavailableError)) {
		t.Errorf("a call after its deadline: %v", err)
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	caller, _ := callPair(t, func(ctx context.Context, _ uint64, _ uint8, _ []byte) ([]byte, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	_, err := caller.Call(ctx, 2, 3, nil)
	var lost *LostError
	if !errors.As(err, &lost) || lost.Method != 3 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context: %v", err)
		}
	case <-time.After(waitLimit):
		t.Error("the handler was not told")
	}
	if n := caller.Stats().CallsFailed; n != 1 {
		t.Errorf("%d failed calls counted, want 1", n)
	}
}

func TestCallsInFlightAreBounded(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	caller, server := callPair(t, func(context.Context, uint64, uint8, []byte) ([]byte, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		return nil, nil
	})
	var wg sync.WaitGroup
	for range MaxCalls + 100 {
		wg.Go(func() {
			if _, err := caller.Call(t.Context(), 2, 0, nil); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all slots in use", func() bool { return running.Load() == MaxCalls })
	ctx, cancel := context.WithTimeout(t.Context(), quietTime)
	defer cancel()
	if _, err := caller.Call(ctx, 2, 0, nil); !errors.As(err, new(*UnavailableError)) {
		t.Errorf("a call that got no slot: %v", err)
	}
	close(release)
	wg.Wait()
	if most.Load() != MaxCalls || server.Stats().CallsRefusedAsBusy != 0 {
		t.Errorf("%d calls ran at once, %d were refused", most.Load(), server.Stats().CallsRefusedAsBusy)
	}
}

func TestLostCalls(t *testing.T) {
	began := make(chan struct{})
	caller, server := callPair(t, func(ctx context.Context, _ uint64, _ uint8, _ []byte) ([]byte, error) {
		close(began)
		<-ctx.Done() // ends although the call has no deadline, because the connection does
		return nil, ctx.Err()
	})
	go func() {
		<-began
		server.accepted(1, forCalls).close()
	}()
	_, err := caller.Call(context.Background(), 2, 9, nil)
	var lost *LostError
	if !errors.As(err, &lost) || lost.Peer != 2 || lost.Method != 9 {
		t.Errorf("a call whose connection broke: %v", err)
	}
}

// accepted returns the accepted connection of a peer.
func (n *node) accepted(member uint64, use purpose) *conn {
	n.Transport.mu.Lock()
	defer n.Transport.mu.Unlock()
	return n.Transport.inbound[inboundKey{member, use}].conn
}

// hears reports whether there is an accepted connection of a peer.
func (n *node) hears(member uint64) bool {
	n.Transport.mu.Lock()
	defer n.Transport.mu.Unlock()
	return n.Transport.inbound[inboundKey{member, forMessages}] != nil || n.Transport.inbound[inboundKey{member, forCalls}] != nil
}

func TestCallsThatCannotBeSent(t *testing.T) {
	caller, server := callPair(t, nil)
	var unknown *UnknownPeerError
	if _, err := caller.Call(t.Context(), 7, 0, nil); !errors.As(err, &unknown) || unknown.Peer != 7 {
		t.Errorf("unknown peer: %v", err)
	}
	server.Close()
	caller.awaitChange(t, 2, false)
	eventually(t, "the calls' link to notice", func() bool {
		_, err := caller.Call(t.Context(), 2, 0, nil)
		var unavailable *UnavailableError
		return errors.As(err, &unavailable) && unavailable.Peer == 2
	})
	caller.Close()
	if _, err := caller.Call(t.Context(), 2, 0, nil); !errors.Is(err, ErrClosed) || !errors.As(err, new(*UnavailableError)) {
		t.Errorf("a call on a closed transport: %v", err)
	}
}
