package member

import (
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A beat's answer is not older than what its ReadIndex round saw: the lease table hears
// of a change before the node does, however late the stream's goroutine gets to telling
// it. Here the leader's disk stalls, so that others know of the node's registration
// before the leader has applied it; the beat waits for that, too.
func TestABeatIsJudgedByWhatItsRoundSaw(t *testing.T) {
	stores, change := withFaults(func(c *Config) { c.Tick = 200 * time.Millisecond })
	c := newCluster(t, 3, change)
	c.start(1, 2, 3)
	leader := c.leader(topologyStream)
	c.register(leader, "n0", "a")
	follower := c.up[leader%3+1]
	r := c.up[leader].running.Load()
	slow := make(chan struct{})
	r.topology.inputs.push(func() {
		fold := r.topology.onApplied
		r.topology.onApplied = func(changes []*events.Change) {
			time.Sleep(50 * time.Millisecond)
			fold(changes)
		}
		close(slow)
	})
	<-slow
	stores[leader].mu.Lock()
	registered := make(chan uint64, 1)
	go func() { registered <- c.register(leader, "n1", "a") }()
	var epoch uint64
	c.eventually("a follower to know the node", func() bool {
		n, ok := follower.running.Load().topology.replica.View().Model.Node("n1")
		if ok {
			epoch = n.Epoch()
		}
		return ok
	})
	answer := make(chan *metadatav1.StreamHeartbeatsResponse, 1)
	go func() { answer <- c.beat(t.Context(), leader, "n1", epoch) }()
	time.Sleep(200 * time.Millisecond) // the beat arrives and its round ends; it waits for the disk
	stores[leader].mu.Unlock()
	if a := <-answer; a.GetGranted() == nil {
		t.Errorf("the node is registered with epoch %d, but its beat is answered %v", epoch, a)
	}
	<-registered
}
