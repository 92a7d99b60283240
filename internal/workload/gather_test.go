package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func grantedTo(id string) *metadatav1.StreamHeartbeatsResponse {
	return &metadatav1.StreamHeartbeatsResponse{Answer: &metadatav1.StreamHeartbeatsResponse_Granted{
		Granted: &metadatav1.HeartbeatResponse{NodeId: id},
	}}
}

// Each beat gets its own answer, in messages that are not too large, and beats that are
// made while others are answered go together.
func TestGathererGivesEachItsOwnAnswer(t *testing.T) {
	const most = 4
	var (
		mu              sync.Mutex
		messages, beats int
		held            = make(chan struct{})
	)
	g := &gatherer{most: most, do: func(_ context.Context, m *metadatav1.StreamHeartbeatsRequest) (*metadatav1.StreamHeartbeatsResponse, error) {
		<-held
		mu.Lock()
		defer mu.Unlock()
		messages, beats = messages+1, beats+1+len(m.GetMore())
		if len(m.GetMore()) >= most {
			t.Errorf("%d beats in a message", 1+len(m.GetMore()))
		}
		answer := grantedTo(m.GetHeartbeat().GetNodeId())
		for _, b := range m.GetMore() {
			answer.More = append(answer.More, grantedTo(b.GetNodeId()))
		}
		return answer, nil
	}}
	first := &metadatav1.StreamHeartbeatsRequest{}
	all, place := g.join(first.GetHeartbeat())
	for i := 1; i < most; i++ {
		if joined, at := g.join(nil); joined != all || at != i {
			t.Fatalf("beat %d has place %d", i, at)
		}
	}
	if other, at := g.join(nil); place != 0 || other == all || at != 0 {
		t.Fatal("a group has more beats than a message may have")
	} else {
		g.part(other)
	}
	close(held)
	var callers sync.WaitGroup
	for caller := range 32 {
		callers.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("n%d-%d", caller, i)
				answer, err := g.beat(t.Context(), &metadatav1.HeartbeatRequest{NodeId: id})
				if err != nil || answer.GetGranted().GetNodeId() != id {
					t.Errorf("the answer to %s is %v, %v", id, answer, err)
					return
				}
			}
		})
	}
	callers.Wait()
	if beats != 3200 || messages > beats {
		t.Errorf("%d beats in %d messages", beats, messages)
	}
}

func TestGathererHandsOutFailures(t *testing.T) {
	broken := errors.New("broken")
	g := &gatherer{most: 2, do: func(context.Context, *metadatav1.StreamHeartbeatsRequest) (*metadatav1.StreamHeartbeatsResponse, error) {
		return nil, broken
	}}
	if _, err := g.beat(t.Context(), nil); !errors.Is(err, broken) {
		t.Errorf("a beat on a broken stream: %v", err)
	}
	g.do = func(context.Context, *metadatav1.StreamHeartbeatsRequest) (*metadatav1.StreamHeartbeatsResponse, error) {
		return &metadatav1.StreamHeartbeatsResponse{More: []*metadatav1.StreamHeartbeatsResponse{{}}}, nil
	}
	if _, err := g.beat(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "2 answers to 1 beats") {
		t.Errorf("an answer too many: %v", err)
	}
}
