package client

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (s *shelf) takes(t interface{ Fatal(...any) }, f frames.Frame) {
	if err := s.take(follow.FrameOf(f)); err != nil {
		t.Fatal(err)
	}
}

// renamed is the change that gives a table another name.
func renamed(revision, id uint64, from, to string) frames.Frame {
	return frames.Schema(revision, revision, func(uint64) *metadatav1.Event {
		m := frames.Table(id)
		m.Name, m.Version = to, 2
		return &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{Table: m, PreviousName: from, PreviousNamespace: "public"}}}
	})
}

func dropped(revision, id uint64) frames.Frame {
	return frames.Schema(revision, revision, func(uint64) *metadatav1.Event {
		return &metadatav1.Event{Kind: &metadatav1.Event_TableDropped{TableDropped: &metadatav1.TableDropped{Table: frames.Table(id)}}}
	})
}

func TestAShelfFollowsItsTables(t *testing.T) {
	s := newShelf(10)
	load := func(id uint64, meanwhile ...frames.Frame) {
		l := s.begin()
		for _, f := range meanwhile {
			s.takes(t, f)
		}
		s.end(l, frames.Table(id))
	}
	has := func(id uint64) bool {
		byName, byID := s.find("", fmt.Sprint("t", id)), s.findID(id)
		if (byName == nil) != (byID == nil) || byName != nil && byName != byID {
			t.Fatalf("table %d is %v by name, %v by id", id, byName, byID)
		}
		return byName != nil
	}
	if load(1); has(1) {
		t.Fatal("a table is kept that nobody follows")
	}
	s.takes(t, frames.Bookmark(frames.At(1, 5, 0)))
	if load(1); !has(1) {
		t.Fatal("a table that was loaded is not kept")
	}
	if load(2, renamed(6, 2, "t2", "other")); has(2) {
		t.Fatal("a table is kept as it was when its load began")
	}
	if load(3, dropped(7, 4)); !has(3) || !has(1) {
		t.Fatal("a change of another table costs a load")
	}
	s.takes(t, renamed(8, 1, "t1", "t9"))
	if has(1) || s.find("", "t9") != nil {
		t.Fatal("a table that has changed stays")
	}
	s.takes(t, dropped(9, 3))
	if has(3) || s.at.GetSchemaRevision() != 9 {
		t.Fatalf("a table that was dropped stays, at %v", s.at)
	}
	load(5)
	s.mu.Lock()
	s.clear()
	s.mu.Unlock()
	if has(5) {
		t.Fatal("a shelf that was cleared has a table")
	}
}

// However loads and changes mix, a shelf has at most so many tables, each as it is.
func TestAShelfIsNeverBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const tables = 6
		most := rapid.IntRange(1, tables).Draw(t, "most")
		s := newShelf(most)
		s.takes(t, frames.Bookmark(frames.At(1, 1, 0)))
		revision, version := uint64(1), make(map[uint64]uint64)
		type load struct {
			l  *loading
			id uint64
			m  *metadatav1.TableSchema
		}
		var open []load
		now := func(id uint64) *metadatav1.TableSchema {
			m := frames.Table(id)
			m.Version = version[id]
			return m
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := rapid.Uint64Range(1, tables).Draw(t, "table")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				open = append(open, load{l: s.begin(), id: id})
			case 1: // the service answers, at some time between begin and end
				if len(open) > 0 {
					o := &open[rapid.IntRange(0, len(open)-1).Draw(t, "load")]
					o.m = now(o.id)
				}
			case 2:
				if len(open) > 0 {
					s.end(open[0].l, open[0].m)
					open = open[1:]
				}
			case 3:
				revision++
				version[id] = revision
				s.takes(t, frames.Schema(revision, revision, func(uint64) *metadatav1.Event {
					return &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{Table: now(id)}}}
				}))
			}
			kept := 0
			for id := uint64(1); id <= tables; id++ {
				if m := s.findID(id); m != nil {
					if kept++; !proto.Equal(m, now(id)) {
						t.Fatalf("the shelf has %v, it is %v", m, now(id))
					}
				}
			}
			if kept > most || len(s.ring) != kept || len(s.places) != kept {
				t.Fatalf("%d tables of at most %d, %d in the ring", kept, most, len(s.ring))
			}
		}
	})
}

func TestAShelfIsReadWithoutAllocating(t *testing.T) {
	s := newShelf(1000)
	s.takes(t, frames.Bookmark(frames.At(1, 1, 0)))
	for id := range uint64(1000) {
		l := s.begin()
		s.end(l, frames.Table(id+1))
	}
	if n := testing.AllocsPerRun(100, func() { s.find("public", "t77"); s.findID(900) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Readers, loads and changes at the same time, for the race detector.
func TestAShelfInUse(t *testing.T) {
	s := newShelf(8)
	s.takes(t, frames.Bookmark(frames.At(1, 1, 0)))
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for id := uint64(1); ctx.Err() == nil; id++ {
				if m := s.findID(id % 20); m != nil && m.GetTableId() != id%20 {
					t.Errorf("table %d is %v", id%20, m)
				}
			}
		})
		work.Go(func() {
			for id := uint64(0); ctx.Err() == nil; id++ {
				l := s.begin()
				s.end(l, frames.Table(1+id%19))
			}
		})
	}
	for revision := uint64(2); revision < 300; revision++ {
		s.takes(t, dropped(revision, 1+revision%19))
	}
	stop()
	work.Wait()
}
