package member

import (
	"sync"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

// lateHistory keeps Writes with records of history back until its gate is open.
type lateHistory struct {
	raftlog.Storage
	gate chan struct{}
}

func (s *lateHistory) Write(ws []*raftlog.Write) error {
	for _, w := range ws {
		if len(w.History) > 0 {
			<-s.gate
		}
	}
	return s.Storage.Write(ws)
}

// A change that was just carried out is in the history with one of the next writes. Until then
// nothing is missing.
func TestHistoryThatIsAboutToBeStoredIsNotMissing(t *testing.T) {
	late := &lateHistory{gate: make(chan struct{})}
	c := newCluster(t, 1, func(c *Config) {
		late.Storage = c.Store
		c.Store = late
	})
	open := sync.OnceFunc(func() { close(late.gate) })
	t.Cleanup(open)
	c.start(1)
	c.mustCreate(1, "t")
	s := c.schema(1)
	if oldest := s.oldestKept(); oldest != 1 {
		t.Errorf("before its first change is stored the member begins at revision %d", oldest)
	}
	open()
	c.eventually("it is stored", func() bool { return s.feed.Durable() == 1 })
	if oldest := s.oldestKept(); oldest != 1 {
		t.Errorf("afterwards it begins at revision %d", oldest)
	}
}
