package workload

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxGathered is how many beats one message may have.
const maxGathered = 256

// gatherer beats over one stream, as a process does that beats for many nodes: beats that
// are made at the same moment go in one message. It is safe for concurrent use.
type gatherer struct {
	most int // beats of a message
	do   func(context.Context, *metadatav1.StreamHeartbeatsRequest) (*metadatav1.StreamHeartbeatsResponse, error)

	mu        sync.Mutex
	gathering *group // that further beats may join; nil: none
}

// group is the beats of one message.
type group struct {
	message  *metadatav1.StreamHeartbeatsRequest
	answered chan struct{}                        // closed when there are answers
	answer   *metadatav1.StreamHeartbeatsResponse // or
	err      error
}

// beat makes one beat and returns its answer.
func (g *gatherer) beat(ctx context.Context, beat *metadatav1.HeartbeatRequest) (*metadatav1.StreamHeartbeatsResponse, error) {
	all, place := g.join(beat)
	if place == 0 {
		runtime.Gosched() // whoever else was just answered beats now: at the same moment
		g.part(all)
		all.answer, all.err = g.do(ctx, all.message)
		if beats, answers := len(all.message.GetMore()), len(all.answer.GetMore()); all.err == nil && beats != answers {
			all.err = fmt.Errorf("%d answers to %d beats", answers+1, beats+1)
		}
		close(all.answered)
	}
	select {
	case <-all.answered:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if all.err != nil || place == 0 {
		return all.answer, all.err
	}
	return all.answer.GetMore()[place-1], nil
}

// join adds a beat to a group. Who has the first place sends it.
func (g *gatherer) join(beat *metadatav1.HeartbeatRequest) (all *group, place int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all = g.gathering
	if all == nil {
		all = &group{message: &metadatav1.StreamHeartbeatsRequest{Heartbeat: beat}, answered: make(chan struct{})}
		if g.most > 1 {
			g.gathering = all
		}
		return all, 0
	}
	all.message.More = append(all.message.More, beat)
	if place = len(all.message.More); place+1 == g.most {
		g.gathering = nil
	}
	return all, place
}

// part ends the joining of a group.
func (g *gatherer) part(all *group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gathering == all {
		g.gathering = nil
	}
}
