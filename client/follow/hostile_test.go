package follow

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/heliosdb/metadata/client/internal/frames"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// drawn fills messages at random, from so few values that they often fit together.
type drawn struct{ *rand.Rand }

func (d drawn) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	oneofs := m.Descriptor().Oneofs()
	chosen := map[protoreflect.FieldNumber]bool{}
	for i := range oneofs.Len() {
		among := oneofs.Get(i).Fields()
		chosen[among.Get(d.IntN(among.Len())).Number()] = true
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && !chosen[f.Number()] || f.ContainingOneof() == nil && d.IntN(4) == 0 {
			continue
		}
		if depth == 0 && f.Message() != nil {
			continue
		}
		switch {
		case f.IsMap():
		case f.IsList():
			list := m.Mutable(f).List()
			for range d.IntN(4) {
				if f.Message() != nil {
					d.fill(list.AppendMutable().Message(), depth-1)
				} else {
					list.Append(d.scalar(f))
				}
			}
		case f.Message() != nil:
			d.fill(m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, d.scalar(f))
		}
	}
}

func (d drawn) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	n := []uint64{0, 1, 1, 2, 3, 4, 1<<64 - 1}[d.IntN(7)]
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(d.IntN(6)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "public", "t1", "t2", "n1", "n2", "\xff"}[d.IntN(7)])
	default:
		return protoreflect.ValueOfBytes([]byte([]string{"", "a", "k", "m", "\xff"}[d.IntN(5)]))
	}
}

// frame is one that may be what comes next: a change mostly, sound as far as its
// header goes.
func (d drawn) frame(at *metadatav1.Position) frames.Frame {
	f := &metadatav1.SubscribeResponse{}
	if d.IntN(5) == 0 {
		d.fill(f.ProtoReflect(), 5)
		return f
	}
	e := &metadatav1.Event{}
	d.fill(e.ProtoReflect(), 4)
	f = frames.Schema(1, 1, func(uint64) *metadatav1.Event { return e })
	if c, err := events.FromMessage(f.GetChanges().GetChanges()[0]); err == nil {
		f.GetChanges().Stream = c.Stream()
	}
	f.GetChanges().GetChanges()[0].Revision = RevisionOf(at, f.GetChanges().GetStream()) + 1
	return proto.CloneOf(f) // without what was decoded
}

// Whatever a service puts into the fields of its frames, what folds them does not
// panic; and enough of it is folded to say so.
func TestFramesOfAnyContent(t *testing.T) {
	d := drawn{rand.New(rand.NewPCG(3, 4))}
	folded, refused := map[string]int{}, 0
	for range 3000 {
		a := newAudience(t)
		for _, f := range []frames.Frame{frames.Tables(3), frames.Nodes(2), frames.Bookmark(frames.At(1, 3, 2))} {
			a.see(f)
		}
		for range 3 {
			f := d.frame(a.shown)
			if raw, err := proto.Marshal(f); err != nil || proto.Unmarshal(raw, f) != nil {
				continue // what cannot be sent does not come
			}
			a.see(f)
			if a.broken {
				refused++
				break
			}
			for _, c := range f.GetChanges().GetChanges() {
				for _, e := range c.GetEvents() {
					folded[fmt.Sprintf("%T", e.GetKind())]++
				}
			}
		}
	}
	t.Logf("folded: %v; refused: %d", folded, refused)
	if kinds := new(metadatav1.Event).ProtoReflect().Descriptor().Oneofs().Get(0).Fields().Len(); len(folded) < kinds*2/3 || refused < 500 {
		t.Fatalf("of %d kinds only these were folded: %v; %d frames were refused", kinds, folded, refused)
	}
}
