package member

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/service"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// storedOf returns what the member holds of a stream's past while the streams run.
func (m *Member) storedOf(r *running, id metadatav1.Stream) *stored.History {
	return stored.NewHistory(m.store, id, func() uint64 { return r.floor(id).OldestRevision() })
}

// reader is a member in one life of its streams, for those who read the past: a stored.Member.
type reader struct {
	member *Member
	life   *running
}

// Floor implements stored.Member.
func (r reader) Floor(id metadatav1.Stream) service.Floor { return r.life.floor(id) }

// Done implements stored.Member.
func (r reader) Done() <-chan struct{} { return r.life.ctx.Done() }

// Ended implements stored.Member.
func (r reader) Ended() error { return r.member.notRunning() }

// NameHolder implements stored.Member.
func (r reader) NameHolder(ctx context.Context, gap *failure.Error) error {
	return r.member.nameHolder(ctx, gap)
}

// NameBaseHolder implements stored.Member.
func (r reader) NameBaseHolder(ctx context.Context, gap *failure.Error, stream metadatav1.Stream, revision uint64) error {
	return r.member.nameWho(ctx, gap, methodBase, &metadatav1.HistoryBaseRequest{Stream: stream, Revision: revision})
}

// holdsHistory answers a HistoryProbe: nil if this member has the revision.
func (m *Member) holdsHistory(r *running, payload []byte) error {
	var probe metadatav1.HistoryProbe
	if err := proto.Unmarshal(payload, &probe); err != nil {
		return err
	}
	if !known(probe.GetStream()) {
		return fmt.Errorf("stream %s is not known; the asking member may run a newer version", probe.GetStream())
	}
	changes, err := m.storedOf(r, probe.GetStream()).Read(probe.GetRevision(), 1)
	if err == nil && len(changes) == 0 {
		err = fmt.Errorf("revision %d of the %s stream is not in the history yet", probe.GetRevision(), events.StreamName(probe.GetStream()))
	}
	return err
}

// nameHolder adds to a HISTORY_GAP failure which member has what is missing.
func (m *Member) nameHolder(ctx context.Context, f *failure.Error) error {
	stream := metadatav1.Stream(metadatav1.Stream_value[f.Metadata["stream"]])
	revision, err := strconv.ParseUint(f.Metadata["revision"], 10, 64)
	if err != nil {
		return f
	}
	return m.nameWho(ctx, f, methodHistory, &metadatav1.HistoryProbe{Stream: stream, Revision: revision})
}

// nameWho adds to a HISTORY_GAP failure which member answers a question without an error.
func (m *Member) nameWho(ctx context.Context, f *failure.Error, method uint8, question proto.Message) error {
	probe, err := proto.Marshal(question)
	if err != nil {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	holders := make([]bool, len(m.config.Peers))
	var wg sync.WaitGroup
	for i, p := range m.config.Peers {
		if p.ID != m.identity.Member {
			wg.Go(func() {
				_, err := m.transport.Call(ctx, p.ID, method, probe)
				holders[i] = err == nil
			})
		}
	}
	wg.Wait()
	for i, p := range m.config.Peers {
		if hello, _, _, ok := m.transport.Peer(p.ID); holders[i] && ok {
			named := f.With("member", strconv.FormatUint(p.ID, 10)).With("api_address", hello.Advertise)
			named.Message += fmt.Sprintf(": member %d at %s has it", p.ID, hello.Advertise)
			return named
		}
	}
	return f
}
