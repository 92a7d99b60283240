package stored

import (
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

// hastyStore archives a checkpoint between two questions.
type hastyStore struct {
	raftlog.Storage
	asked int
}

func (s *hastyStore) is(before, after []uint64) (is []raftlog.Descriptor, err error) {
	s.asked++
	if s.asked > 1 {
		before = after
	}
	for _, seq := range before {
		is = append(is, raftlog.Descriptor{Seq: seq})
	}
	return is, nil
}

func (s *hastyStore) Checkpoints(raftlog.GroupID) ([]raftlog.Descriptor, error) {
	return s.is([]uint64{10, 20}, []uint64{20, 30})
}

func (s *hastyStore) Archived(raftlog.GroupID) ([]raftlog.Descriptor, error) {
	return s.is(nil, []uint64{10})
}

// A checkpoint that is archived just now is among those that there are.
func TestCheckpointsThatAreArchivedMeanwhile(t *testing.T) {
	all, err := Checkpoints(new(hastyStore), 1)
	if err != nil || len(all) == 0 || all[0].Seq != 10 {
		t.Errorf("%+v (%v), want the one at 10 too", all, err)
	}
}
