package past

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/projections/schema"
	"github.com/heliosdb/metadata/projections/service"
)

type (
	schemaModel   = *schema.Model
	topologyModel = *projections.TopologyModel
	serviceModel  = *service.Model
)

// State is a stream at one revision, whichever stream it is. It is immutable.
type State interface {
	// Head says where in its log the state stands.
	Head() projections.Head
	// Hash returns the model hash.
	Hash() [32]byte
	// Chunks yields the checkpoint of the state.
	Chunks(size int) iter.Seq[[]byte]
	// Replay folds the changes behind the state, up to a revision.
	Replay(ctx context.Context, source history.Source, until uint64, progress history.Progress) (State, error)
	// Compare says in what the state is not what was said of it.
	Compare(said Said) *Difference
	// Objects yields all objects, by kind; those of a kind in their usual order.
	Objects() iter.Seq[proto.Message]
}

// Difference is in what a replayed state is not what was said.
type Difference struct {
	What     string `json:"what"` // such as "digest"
	Replayed string `json:"replayed"`
	Said     string `json:"said"`
}

// String shows both values.
func (d *Difference) String() string {
	return fmt.Sprintf("%s is %s here, but said is %s", d.What, d.Replayed, d.Said)
}

// state is a State of one kind of model.
type state[D projections.Domain[D]] struct{ of *projections.State[D] }

// genesis returns the state before a stream's first change.
func genesis(o history.Origin) (State, error) {
	switch o.Stream {
	case schemaStream:
		return state[schemaModel]{projections.NewSchema(o.Cluster, o.RecoveryEpoch)}, nil
	case topologyStream:
		return state[topologyModel]{projections.NewTopology(o.Cluster, o.RecoveryEpoch)}, nil
	case serviceStream:
		return state[serviceModel]{projections.NewService(o.Cluster, o.RecoveryEpoch)}, nil
	}
	return nil, &events.UnsupportedError{What: fmt.Sprintf("stream %d", o.Stream)}
}

func (s state[D]) Head() projections.Head { return s.of.Head }
func (s state[D]) Hash() [32]byte         { return s.of.Hash() }

func (s state[D]) Chunks(size int) iter.Seq[[]byte] { return s.of.Chunks(size) }

func (s state[D]) Replay(ctx context.Context, source history.Source, until uint64, progress history.Progress) (State, error) {
	next, err := history.Replay(ctx, source, s.of, until, progress)
	if err != nil {
		return nil, err
	}
	return state[D]{next}, nil
}

func (s state[D]) Compare(said Said) *Difference {
	if said.OnlyDigest {
		if digest := s.of.Head.Digest; !bytes.Equal(digest[:], said.Head.GetDigest()) {
			return &Difference{"digest", digest.String(), fmt.Sprintf("%x", said.Head.GetDigest())}
		}
		return nil
	}
	if d, ok := errors.AsType[*history.DifferenceError](history.Compare(s.of, said.Head)); ok {
		return &Difference{d.What, d.Replayed, d.Said}
	}
	return nil
}

func (s state[D]) Objects() iter.Seq[proto.Message] {
	return func(yield func(proto.Message) bool) {
		switch m := any(s.of.Model).(type) {
		case schemaModel:
			_ = each(m.Namespaces(""), yield) && each(m.TablesByName("", ""), yield)
		case topologyModel:
			_ = each(m.Nodes(""), yield) && each(m.Shards(nil), yield)
		case serviceModel:
			_ = each(m.Consumers(""), yield) && serviceObjects(m, yield)
		}
	}
}

// serviceObjects yields what a service model has beside consumers.
func serviceObjects(m serviceModel, yield func(proto.Message) bool) bool {
	for _, s := range Streams {
		if !each(m.SignedHeads(s), yield) {
			return false
		}
		if floor := m.Floor(s); floor.OldestRevision() > 0 && !yield(floor.Message()) {
			return false
		}
	}
	return true
}

// each yields the messages of records; false if it was told to stop.
func each[R interface{ Message() M }, M proto.Message](records iter.Seq[R], yield func(proto.Message) bool) bool {
	for r := range records {
		if !yield(r.Message()) {
			return false
		}
	}
	return true
}
