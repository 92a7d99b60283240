package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// What the service promises about disks.
const (
	belowIt     = 64 << 20         // left free by a disk that is full: less than any reserve
	noticeWait  = 5 * time.Second  // for a full disk to be noticed, and one with room again
	handover    = 5 * time.Second  // for a leader whose disk stalls to be replaced
	stallLimit  = 12 * time.Second // for giving up on that
	syncWait    = 30 * time.Second // for a sync to fail
	exitSync    = 70               // the exit code after a failed sync
	askInterval = 50 * time.Millisecond
)

// fillDisk fills the leader's disk up to the reserve. It has to refuse writes, to go on
// reading, and to recover by itself once there is room.
func fillDisk(ctx context.Context, s *scene) (err error) {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	if err := m.disk.fill(belowIt); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.disk.empty()) }()
	began := time.Now()
	refused, moved := false, false
	for !refused && !moved {
		err := s.tryWrite(ctx, m)
		refused = client.Reason(err) == metadatav1.ErrorReason_ERROR_REASON_DISK_FULL
		if !refused && s.leaderNow(ctx, metadatav1.Stream_STREAM_SCHEMA) != m {
			moved = true
		}
		if time.Since(began) > noticeWait {
			return fmt.Errorf("member %d leads with %d MiB free and does not refuse writes within %v (last error: %s)",
				m.index+1, belowIt>>20, noticeWait, fmt.Sprint(err))
		}
		pause(ctx, askInterval)
	}
	if moved {
		s.note("leadership moved")
		return nil
	}
	s.note("refused after %v", time.Since(began).Round(time.Millisecond))
	for _, consistency := range []metadatav1.Consistency{metadatav1.Consistency_CONSISTENCY_LINEARIZABLE, metadatav1.Consistency_CONSISTENCY_LOCAL} {
		if err := s.tryRead(ctx, m, consistency); err != nil {
			return fmt.Errorf("member %d with a full disk does not read (%v): %w", m.index+1, consistency, err)
		}
	}
	s.hold(ctx, 500*time.Millisecond, 2*time.Second)
	if err := m.disk.empty(); err != nil {
		return err
	}
	began = time.Now()
	for {
		err := s.tryWrite(ctx, m)
		if err == nil {
			s.note("writes again after %v", time.Since(began).Round(time.Millisecond))
			return nil
		}
		if time.Since(began) > noticeWait {
			return fmt.Errorf("member %d has room again and does not take writes within %v: %w", m.index+1, noticeWait, err)
		}
		pause(ctx, askInterval)
	}
}

// overfillDisk leaves a member no room at all. It may end, but has to say why, and to start
// again once there is room.
func overfillDisk(ctx context.Context, s *scene) (err error) {
	m := s.members[s.random.IntN(members)]
	s.note("member %d", m.index+1)
	p, since := m.process(), m.logSize()
	m.doom(true)
	if err := m.disk.overfill(); err != nil {
		return err
	}
	s.hold(ctx, time.Second, 4*time.Second)
	if err := m.disk.empty(); err != nil {
		return err
	}
	if !p.ended() {
		s.note("it lives")
		m.doom(false)
		return nil
	}
	s.note("it ended")
	if said := m.said(since); !strings.Contains(said, "no space left") {
		return fmt.Errorf("member %d ended on a full disk and does not say why:\n%s", m.index+1, said)
	}
	return s.start(m)
}

// tryWrite asks one member for a write.
func (s *scene) tryWrite(ctx context.Context, m *member) error {
	w := s.run.worker(500)
	w.client, w.member = s.clients[m.index], uint64(m.index+1)
	s.run.tried++
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	request := &metadatav1.CreateNamespaceRequest{
		Namespace: &metadatav1.Namespace{Name: fmt.Sprintf("try_%d", s.run.tried)},
		Write:     &metadatav1.WriteOptions{RequestId: fmt.Sprintf("try-%d", s.run.tried)},
	}
	op := s.run.begin(w.number, w.member, request)
	response, err := w.client.CreateNamespace(ctx, request)
	s.run.end(op, response, err)
	return err
}

func (s *scene) tryRead(ctx context.Context, m *member, consistency metadatav1.Consistency) error {
	ctx, cancel := context.WithTimeout(ctx, noticeWait)
	defer cancel()
	_, err := s.clients[m.index].ListNamespaces(ctx, &metadatav1.ListNamespacesRequest{
		PageSize: 1, Read: &metadatav1.ReadOptions{Consistency: consistency},
	})
	return err
}

// stallDisk makes the leader's disk answer no more. Another member has to lead soon.
func stallDisk(ctx context.Context, s *scene) (err error) {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	if err := m.disk.freeze(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.disk.thaw()) }()
	began := time.Now()
	for {
		leader := s.leaderNow(ctx, metadatav1.Stream_STREAM_SCHEMA)
		if leader != nil && leader != m {
			break
		}
		if time.Since(began) > stallLimit {
			return fmt.Errorf("member %d still leads %v after its disk stalled; it has to hand over within %v", m.index+1, stallLimit, handover)
		}
		if !pause(ctx, lookPause) {
			return nil
		}
	}
	took := time.Since(began)
	s.note("another leads after %v", took.Round(time.Millisecond))
	s.hold(ctx, 500*time.Millisecond, 3*time.Second)
	if took > handover {
		return fmt.Errorf("member %d led for %v after its disk stalled; it has to hand over within %v", m.index+1, took, handover)
	}
	return nil
}

// failSync makes the leader's next syncs fail. The process has to end and to say why.
func failSync(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	p, since := m.process(), m.logSize()
	m.doom(true)
	if err := m.disk.breakWrites(); err != nil {
		return err
	}
	ended := p.wait(syncWait)
	said := m.said(since)
	if ended != nil {
		ended = fmt.Errorf("member %d lives with a disk whose syncs fail: %w", m.index+1, ended)
	} else if code := p.cmd.ProcessState.ExitCode(); code != exitSync || !strings.Contains(said, "sync") || !strings.Contains(said, "failed") {
		ended = fmt.Errorf("member %d ended with exit code %d after a failed sync, want %d, and said:\n%s", m.index+1, code, exitSync, said)
	}
	if err := errors.Join(ended, m.kill(), m.disk.repair()); err != nil {
		return err
	}
	s.hold(ctx, 0, time.Second)
	return s.start(m)
}

func losePower(ctx context.Context, s *scene) error {
	m := s.members[s.random.IntN(members)]
	s.note("member %d", m.index+1)
	if err := s.cutPower(m); err != nil {
		return err
	}
	s.hold(ctx, 0, time.Second)
	return s.start(m)
}

func losePowerEverywhere(ctx context.Context, s *scene) error {
	for _, m := range s.members {
		if err := s.cutPower(m); err != nil {
			return err
		}
	}
	s.hold(ctx, 0, time.Second)
	for _, m := range s.members {
		if err := s.start(m); err != nil {
			return err
		}
	}
	return nil
}

// cutPower ends a member and takes away everything that it did not sync.
func (s *scene) cutPower(m *member) error {
	return errors.Join(m.kill(), m.disk.dropUnsynced())
}
