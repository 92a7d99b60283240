package member

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// maxForwardedBeats bounds the beats of one call to the leader, unless a single
// Heartbeat has more.
const maxForwardedBeats = 10_000

// beatForwarder gathers beats for the leader: those that arrive while one call
// is under way go together in the next.
type beatForwarder struct {
	m   *Member
	ctx context.Context // ends with the streams
	mu  sync.Mutex
	// waiting are beats that no call carries yet; calling says that one is under way.
	waiting map[uint64][]*waitingBeats
	calling map[uint64]bool
}

// waitingBeats are the beats of one call of Heartbeat.
type waitingBeats struct {
	beats  []*metadatav1.HeartbeatRequest
	answer chan []*metadatav1.StreamHeartbeatsResponse // nil: not answered
}

func newBeatForwarder(m *Member) *beatForwarder {
	return &beatForwarder{m: m, waiting: make(map[uint64][]*waitingBeats), calling: make(map[uint64]bool)}
}

// pass sends beats to the leader; false if it did not answer.
func (f *beatForwarder) pass(
	ctx context.Context, leader uint64, beats []*metadatav1.HeartbeatRequest,
) ([]*metadatav1.StreamHeartbeatsResponse, bool) {
	w := &waitingBeats{beats: beats, answer: make(chan []*metadatav1.StreamHeartbeatsResponse, 1)}
	f.mu.Lock()
	f.waiting[leader] = append(f.waiting[leader], w)
	start := !f.calling[leader]
	f.calling[leader] = true
	f.mu.Unlock()
	if start {
		f.m.background.Go(func() { f.run(leader) })
	}
	select {
	case answers := <-w.answer:
		return answers, answers != nil
	case <-ctx.Done():
		return nil, false
	}
}

// run makes calls to the leader as long as beats wait for it.
func (f *beatForwarder) run(leader uint64) {
	for {
		f.mu.Lock()
		group := f.take(leader)
		if len(group) == 0 {
			f.calling[leader] = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		f.call(leader, group)
	}
}

// take removes what one call may carry from the waiting beats.
func (f *beatForwarder) take(leader uint64) []*waitingBeats {
	all, n, beats := f.waiting[leader], 0, 0
	for n < len(all) && (n == 0 || beats+len(all[n].beats) <= maxForwardedBeats) {
		beats += len(all[n].beats)
		n++
	}
	f.waiting[leader] = all[n:]
	if n == len(all) {
		delete(f.waiting, leader)
	}
	return all[:n]
}

// call carries a group of beats to the leader and hands out the answers.
func (f *beatForwarder) call(leader uint64, group []*waitingBeats) {
	ctx, cancel := context.WithTimeout(f.ctx, submitPatience)
	defer cancel()
	var forwarded metadatav1.ForwardedBeats
	for _, w := range group {
		forwarded.Beats = append(forwarded.Beats, w.beats...)
	}
	var answers metadatav1.ForwardedBeatAnswers
	payload, err := proto.Marshal(&forwarded)
	if err == nil {
		payload, err = f.m.transport.Call(ctx, leader, methodBeats, payload)
	}
	if err == nil {
		err = proto.Unmarshal(payload, &answers)
	}
	all := answers.GetAnswers()
	if err != nil || len(all) != len(forwarded.GetBeats()) {
		f.m.log.Debug("beats not passed on", "leader", leader, "beats", len(forwarded.GetBeats()), "error", err)
		all = nil
	}
	for _, w := range group {
		if all == nil {
			w.answer <- nil
			continue
		}
		w.answer <- all[:len(w.beats)]
		all = all[len(w.beats):]
	}
}
