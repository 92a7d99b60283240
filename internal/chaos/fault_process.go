package chaos

import (
	"context"
	"errors"
	"time"
)

func killLeader(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	return s.killFor(ctx, m)
}

func killFollower(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	m = s.other(m)
	s.note("killed %d", m.index+1)
	return s.killFor(ctx, m)
}

func (s *scene) killFor(ctx context.Context, m *member) error {
	if err := m.kill(); err != nil {
		return err
	}
	s.hold(ctx, 200*time.Millisecond, 2*time.Second)
	return s.start(m)
}

func killAll(ctx context.Context, s *scene) error {
	var errs []error
	for _, m := range s.members {
		errs = append(errs, m.kill())
	}
	s.hold(ctx, 0, time.Second)
	for _, i := range s.random.Perm(members) {
		errs = append(errs, s.start(s.members[i]))
	}
	return errors.Join(errs...)
}

// restartLeader is what an upgrade does.
func restartLeader(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	if err := s.stop(m); err != nil {
		return err
	}
	s.hold(ctx, 0, time.Second)
	return s.start(m)
}

func pauseLeader(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	if err := m.pause(true); err != nil {
		return err
	}
	s.hold(ctx, 500*time.Millisecond, 5*time.Second)
	return m.pause(false)
}

// wipeMember takes all its data away from a member, which has to come back by itself.
func wipeMember(ctx context.Context, s *scene) error {
	m := s.members[s.random.IntN(members)]
	s.note("member %d", m.index+1)
	if err := errors.Join(m.kill(), m.disk.wipe()); err != nil {
		return err
	}
	s.hold(ctx, 0, time.Second)
	return s.start(m)
}
