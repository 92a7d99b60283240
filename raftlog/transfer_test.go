package raftlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/raftlog"
)

func transferDescriptor(chunks uint32, bytes uint64) raftlog.Descriptor {
	d := raftlog.GenesisDescriptor(1, []uint64{1, 2, 3})
	d.Index, d.Chunks, d.Bytes = 50, chunks, bytes
	return d
}

// TestReceiver loses, delays, repeats and reorders chunks: they come out in order.
func TestReceiver(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 5))
		want := ""
		for i := range 20 {
			want += fmt.Sprintf("<%d>", i)
		}
		chunk := func(i uint32) []byte { return fmt.Appendf(nil, "<%d>", i) }
		r := raftlog.NewReceiver(transferDescriptor(20, uint64(len(want))), 2, raftlog.ReceiverLimits{Window: 3, Ticks: 2, Tries: 100})
		var wire []uint32
		var got strings.Builder
		for steps := 0; !r.Done(); steps++ {
			if steps > 10000 {
				t.Fatalf("seed %d: not done", seed)
			}
			for _, req := range r.Requests() {
				if req.To != 2 || req.Index != 50 || req.Group != 1 {
					t.Fatalf("request %+v", req)
				}
				wire = append(wire, req.Chunk)
			}
			switch n := len(wire); {
			case n == 0 || rng.IntN(4) == 0:
				if err := r.Tick(); err != nil {
					t.Fatal(err)
				}
			default:
				i := rng.IntN(n)
				c := wire[i]
				if rng.IntN(5) > 0 {
					wire = slices.Delete(wire, i, i+1)
				}
				if rng.IntN(4) == 0 {
					r.Failed(c, errors.New("lost"))
					continue
				}
				ready, err := r.Chunk(c, chunk(c))
				if err != nil && !errors.Is(err, raftlog.ErrTransferDone) {
					t.Fatal(err)
				}
				for _, b := range ready {
					got.Write(b)
				}
			}
		}
		if got.String() != want {
			t.Fatalf("seed %d: got %s", seed, got.String())
		}
	}
}

func TestReceiverWindowAndTries(t *testing.T) {
	r := raftlog.NewReceiver(transferDescriptor(9, 9), 3, raftlog.ReceiverLimits{Window: 2, Ticks: 3, Tries: 2})
	requests := func(want ...uint32) {
		t.Helper()
		var got []uint32
		for _, req := range r.Requests() {
			got = append(got, req.Chunk)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("requests (-want +got):\n%s", diff)
		}
	}
	requests(0, 1)
	requests()
	if ready, err := r.Chunk(1, []byte("b")); len(ready) != 0 || err != nil {
		t.Fatalf("chunk 1 before chunk 0 gave %q, %v", ready, err)
	}
	requests() // the window is counted from the first missing chunk
	ready, err := r.Chunk(0, []byte("a"))
	if diff := cmp.Diff([][]byte{[]byte("a"), []byte("b")}, ready); diff != "" || err != nil {
		t.Fatalf("chunks (-want +got):\n%s%v", diff, err)
	}
	requests(2, 3)
	cause := errors.New("connection refused")
	r.Failed(2, cause)
	for range 3 {
		if err := r.Tick(); err != nil {
			t.Fatal(err)
		}
	}
	requests(2, 3)
	r.Failed(2, cause)
	var failed *raftlog.TransferError
	for range 3 {
		err = r.Tick()
	}
	if !errors.As(err, &failed) || failed.Chunk != 2 || failed.From != 3 || !errors.Is(err, cause) {
		t.Fatalf("after two tries: %v", err)
	}
	requests()
	if _, err := r.Chunk(2, []byte("c")); !errors.As(err, &failed) {
		t.Fatalf("a chunk after the end: %v", err)
	}
}

func TestReceiverWrongSizes(t *testing.T) {
	for name, chunks := range map[string][]string{"too few bytes": {"a", "b"}, "too many bytes": {"aaa", "bbb"}, "empty chunk": {""}} {
		r := raftlog.NewReceiver(transferDescriptor(2, 4), 3, raftlog.ReceiverLimits{})
		r.Requests()
		var err error
		for i, c := range chunks {
			if err == nil {
				_, err = r.Chunk(uint32(i), []byte(c))
			}
		}
		var failed *raftlog.TransferError
		if !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := raftlog.NewReceiver(raftlog.GenesisDescriptor(1, []uint64{1}), 2, raftlog.ReceiverLimits{}); !r.Done() || len(r.Requests()) != 0 {
		t.Error("a checkpoint without chunks is not done at once")
	}
}

func TestSender(t *testing.T) {
	s := raftlog.NewSender(3)
	s.Started(2, 50)
	s.Started(3, 40)
	s.Started(4, 50)
	if diff := cmp.Diff([]uint64{40, 50}, s.Pinned()); diff != "" {
		t.Fatalf("pinned (-want +got):\n%s", diff)
	}
	if s.Served(2, 40) || s.Served(9, 50) {
		t.Fatal("a chunk that belongs to nothing was counted")
	}
	for range 2 {
		if dead := s.Tick(); len(dead) != 0 {
			t.Fatalf("too early: %v", dead)
		}
	}
	if !s.Served(2, 50) {
		t.Fatal("a chunk of what is being sent was not counted")
	}
	if diff := cmp.Diff([]uint64{3, 4}, s.Tick()); diff != "" {
		t.Fatalf("idle (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{50}, s.Pinned()); diff != "" {
		t.Fatalf("pinned (-want +got):\n%s", diff)
	}
	if s.Acknowledged(2, 49) || s.Acknowledged(3, 50) {
		t.Fatal("acknowledged by an answer to something else")
	}
	if !s.Acknowledged(2, 50) || s.Acknowledged(2, 50) || len(s.Pinned()) != 0 {
		t.Fatal("acknowledged once, and only once")
	}
	s.Started(2, 60)
	if !s.Finished(2) || s.Finished(2) || len(s.Pinned()) != 0 {
		t.Fatal("finished once, and only once")
	}
}
