package chaos

import (
	"context"
	"time"
)

// Lengths of faults of the network: around the time after which a leader counts as gone.
const (
	leastCut = 500 * time.Millisecond
	mostCut  = 5 * time.Second
)

// cut holds the lines of the leader that pick chooses: for each other member, what the
// leader sends to it and what it sends to the leader.
func cut(ctx context.Context, s *scene, send, receive bool) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	for _, i := range s.others(m) {
		if send {
			s.network.Hold(m.index, i)
		}
		if receive {
			s.network.Hold(i, m.index)
		}
	}
	s.hold(ctx, leastCut, mostCut)
	s.mendLinks()
	return nil
}

func isolateLeader(ctx context.Context, s *scene) error { return cut(ctx, s, true, true) }
func muteLeader(ctx context.Context, s *scene) error    { return cut(ctx, s, true, false) }
func deafenLeader(ctx context.Context, s *scene) error  { return cut(ctx, s, false, true) }

// cutLink separates the leader from one follower; the other one hears both.
func cutLink(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	i := s.other(m).index
	s.network.Hold(m.index, i)
	s.network.Hold(i, m.index)
	s.hold(ctx, leastCut, mostCut)
	s.mendLinks()
	return nil
}

// cutLinkOneWay holds one direction between any two members.
func cutLinkOneWay(ctx context.Context, s *scene) error {
	from := s.members[s.random.IntN(members)]
	to := s.other(from)
	s.note("%d to %d", from.index+1, to.index+1)
	s.network.Hold(from.index, to.index)
	s.hold(ctx, leastCut, mostCut)
	s.mendLinks()
	return nil
}

// cutRing holds one direction between each two members, so that each hears one of the
// others and is heard by the other one.
func cutRing(ctx context.Context, s *scene) error {
	step := 1 + s.random.IntN(members-1)
	for i := range members {
		s.network.Hold(i, (i+step)%members)
	}
	s.hold(ctx, leastCut, mostCut)
	s.mendLinks()
	return nil
}

// flap breaks connections again and again.
func flap(ctx context.Context, s *scene) error {
	times := 5 + s.random.IntN(20)
	s.note("%d times", times)
	for range times {
		from := s.random.IntN(members)
		s.network.Reset(from, (from+1)%members)
		if !pause(ctx, s.last(5*time.Millisecond, 150*time.Millisecond)) {
			break
		}
	}
	return nil
}

// refuseLeader makes the leader's port refuse, as if its process were gone, while it lives.
func refuseLeader(ctx context.Context, s *scene) error {
	m, err := s.schemaLeader(ctx)
	if err != nil {
		return err
	}
	s.network.Shut(m.index)
	s.hold(ctx, leastCut, mostCut)
	s.network.Open(m.index)
	return nil
}

// slowLinks makes everything late, each direction by itself.
func slowLinks(ctx context.Context, s *scene) error {
	for from := range members {
		for to := range members {
			least := s.last(0, 40*time.Millisecond)
			s.network.Delay(from, to, least, least+s.last(0, 80*time.Millisecond))
		}
	}
	s.hold(ctx, leastCut, mostCut)
	s.network.Heal()
	return nil
}
