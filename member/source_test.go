package member

import (
	"sync/atomic"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

// lateStore has the next change come while a read looks for gaps, and has it stored only later.
type lateStore struct {
	raftlog.Storage
	looked atomic.Pointer[func()]
	stored atomic.Uint64 // 0: all
}

func (s *lateStore) HistoryGap(g raftlog.GroupID, below uint64) (first, last uint64, err error) {
	if looked := s.looked.Swap(nil); looked != nil {
		(*looked)()
	}
	return s.Storage.HistoryGap(g, below)
}

func (s *lateStore) ReadHistory(g raftlog.GroupID, from uint64, maxBytes int) ([]raftlog.Past, error) {
	if stored := s.stored.Load(); stored != 0 && from > stored {
		return nil, nil
	}
	return s.Storage.ReadHistory(g, from, maxBytes)
}

// A read behind the newest revision gives nothing, also when the next one comes just then: the member
// does not lack what it is about to store.
func TestAReadBehindTheHead(t *testing.T) {
	var store *lateStore
	c := newCluster(t, 1, func(c *Config) {
		store = &lateStore{Storage: c.Store}
		c.Store = store
	})
	c.start(1)
	head := c.createTables(1, "t", 3)
	source := c.past(1)
	for i, read := range []func() (int, error){
		func() (int, error) {
			changes, err := source.Read(t.Context(), head+1, 1<<20)
			return len(changes), err
		},
		func() (int, error) {
			originals, err := source.Originals(t.Context(), head+1, 1<<20)
			return len(originals), err
		},
	} {
		store.stored.Store(head)
		store.looked.Store(new(func() { c.mustCreate(1, []string{"late", "later"}[i]) }))
		if n, err := read(); n != 0 || err != nil {
			t.Errorf("read %d has given %d changes (%v)", i, n, err)
		}
		store.stored.Store(0)
		head++
	}
}
