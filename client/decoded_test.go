package client

import (
	"testing"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/internal/frames"
)

func TestMessagesAreDecodedOnceAndForgotten(t *testing.T) {
	m := follow.NewMirror()
	for _, f := range []frames.Frame{frames.Tables(3), frames.Nodes(1), frames.Bookmark(frames.At(1, 3, 1))} {
		if _, err := m.Step(f); err != nil {
			t.Fatal(err)
		}
	}
	v := (*View)(nil).next(m)
	first, _ := v.Table("", "t2")
	if again, _ := v.TableByID(2); first == nil || again != first {
		t.Fatal("a table was decoded twice")
	}
	if allocs := testing.AllocsPerRun(100, func() { v.Table("", "t2") }); allocs > 0 {
		t.Fatalf("a repeated read allocates %v times", allocs)
	}
	if v.decoded.orNew(v.objects()) != v.decoded {
		t.Fatal("a small set is thrown away")
	}
	v.decoded.size.Store(int64(2*v.objects() + decodedSlack + 1))
	if v.decoded.orNew(v.objects()) == v.decoded {
		t.Fatal("the set grows without bounds")
	}
}
