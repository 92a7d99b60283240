package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/session"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// at is a reading of a node's clock in milliseconds.
func at(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }

func options() session.Options {
	id := 0
	return session.Options{
		Node: &metadatav1.NodeInfo{
			NodeId: "n", Addr: "127.0.0.1:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, Incarnation: "i",
		},
		Judge: follow.JudgeFailure,
		NewID: func() string { id++; return fmt.Sprint("id", id) },
	}
}

// desk is a machine whose requests are answered by hand.
type desk struct {
	t       *testing.T
	machine *session.Machine
	out     []session.Request // sent and not taken yet
}

func newDesk(t *testing.T, o session.Options) *desk {
	t.Helper()
	m, err := session.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t: t, machine: m}
}

func (d *desk) tick(ms int) { d.out = append(d.out, d.machine.Tick(at(ms))...) }

func (d *desk) answer(ms int, seq uint64, m proto.Message, err error) {
	d.out = append(d.out, d.machine.Answered(at(ms), seq, m, err)...)
}

// take returns the only request that was sent.
func take[M proto.Message](d *desk) (seq uint64, message M) {
	d.t.Helper()
	if len(d.out) != 1 {
		d.t.Fatalf("%d requests were sent: %v", len(d.out), d.out)
	}
	message, ok := d.out[0].Message.(M)
	if !ok {
		d.t.Fatalf("%T was sent", d.out[0].Message)
	}
	seq, d.out = d.out[0].Seq, nil
	return seq, message
}

func (d *desk) quiet() {
	d.t.Helper()
	if len(d.out) != 0 {
		d.t.Fatalf("%v was sent", d.out)
	}
}

func (d *desk) want(ms int, phase session.Phase, epoch uint64) session.State {
	d.t.Helper()
	s := d.machine.State(at(ms))
	if s.Phase != phase || s.Epoch != epoch {
		d.t.Fatalf("at %v it is %v with epoch %d (%v), want %v with epoch %d", at(ms), s.Phase, s.Epoch, s.Err, phase, epoch)
	}
	return s
}

func registered(epoch uint64) proto.Message {
	return &metadatav1.RegisterNodeResponse{
		Node:          &metadatav1.NodeInfo{NodeId: "n", Epoch: epoch, Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE},
		LeaseDuration: durationpb.New(5 * time.Second), HeartbeatInterval: durationpb.New(time.Second),
	}
}

func granted(lease time.Duration) proto.Message {
	return &metadatav1.HeartbeatResponse{
		NodeId: "n", LeaseDuration: durationpb.New(lease), Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE,
	}
}

func refusal(name string) error { return failure.New(failure.ParseName(name), "%s", name) }

// joined returns a desk whose machine holds a lease from 1 s, sent at 1 s, to 5 s.
func joined(t *testing.T, o session.Options) *desk {
	t.Helper()
	d := newDesk(t, o)
	d.tick(900)
	seq, _ := take[*metadatav1.RegisterNodeRequest](d)
	d.answer(1000, seq, registered(7), nil)
	seq, _ = take[*metadatav1.HeartbeatRequest](d)
	d.answer(1300, seq, granted(5*time.Second), nil)
	if s := d.want(1300, session.Joined, 7); s.Until != at(5000) || s.Err != nil || !s.Holds(at(4999)) || s.Holds(at(5000)) {
		t.Fatalf("a lease of 5 s from 1 s on is held as %+v", s)
	}
	return d
}

func TestItJoinsByABeatAndNotByTheRegistration(t *testing.T) {
	d := newDesk(t, options())
	d.machine.Report(&metadatav1.NodeLoad{CpuMillis: 3}, &metadatav1.Position{SchemaRevision: 8})
	d.tick(100)
	seq, r := take[*metadatav1.RegisterNodeRequest](d)
	if r.GetNode().GetIncarnation() != "i" || r.GetWrite().GetRequestId() != "id1" {
		t.Fatalf("it registers by %v", r)
	}
	d.want(100, session.Joining, 0)
	d.answer(200, seq, registered(7), nil)
	if s := d.want(200, session.Joining, 7); s.Holds(at(200)) || s.Err == nil {
		t.Fatalf("registered, it says %+v", s)
	}
	beat, b := take[*metadatav1.HeartbeatRequest](d)
	if b.GetNodeId() != "n" || b.GetEpoch() != 7 || b.GetLoad().GetCpuMillis() != 3 || b.GetAcknowledged().GetSchemaRevision() != 8 {
		t.Fatalf("it beats by %v", b)
	}
	d.answer(250, beat, granted(5*time.Second), nil)
	if s := d.want(250, session.Joined, 7); s.Until != at(4200) || s.Status != metadatav1.NodeStatus_NODE_STATUS_ONLINE {
		t.Fatalf("joined, it says %+v", s)
	}
	d.tick(1199)
	d.quiet()
	if next, ok := d.machine.Next(); !ok || next != at(1200) {
		t.Fatalf("the next beat is due at %v", next)
	}
	d.tick(1200)
	take[*metadatav1.HeartbeatRequest](d)
}

func TestALostRegistrationIsSentAgainUnderItsRequestID(t *testing.T) {
	d := newDesk(t, options())
	d.tick(0)
	first, _ := take[*metadatav1.RegisterNodeRequest](d)
	d.tick(4999)
	d.quiet()
	d.tick(5000)
	second, r := take[*metadatav1.RegisterNodeRequest](d)
	if first == second || r.GetWrite().GetRequestId() != "id1" {
		t.Fatalf("sent again as request %d with %v", second, r.GetWrite())
	}
	d.answer(5100, second, nil, refusal("NO_LEADER"))
	d.tick(6100)
	third, r := take[*metadatav1.RegisterNodeRequest](d)
	if r.GetWrite().GetRequestId() != "id1" {
		t.Fatalf("sent again with %v", r.GetWrite())
	}
	d.answer(6200, first, registered(7), nil) // late, but it is the same registration
	d.want(6200, session.Joining, 7)
	take[*metadatav1.HeartbeatRequest](d)
	d.answer(6300, third, nil, refusal("INVALID_FIELD"))
	d.want(6300, session.Joining, 7)
}

func TestItFencesItselfInTime(t *testing.T) {
	d := joined(t, options())
	for ms := 2000; ms <= 4000; ms += 1000 {
		d.tick(ms)
		take[*metadatav1.HeartbeatRequest](d)
	}
	d.want(4999, session.Joined, 7)
	if s := d.want(5000, session.Fenced, 7); !errors.Is(s.Err, session.ErrLapsed) {
		t.Fatalf("it is fenced by %v", s.Err)
	}
	d.tick(5000)
	seq, b := take[*metadatav1.HeartbeatRequest](d)
	if b.GetEpoch() != 7 {
		t.Fatalf("fenced, it beats by %v", b)
	}
	d.want(1, session.Fenced, 7) // the clock does not run backwards
	// A grant that came too late to count for anything.
	d.answer(10_000, seq, granted(5*time.Second), nil)
	d.want(10_000, session.Fenced, 7)
	seq, _ = take[*metadatav1.HeartbeatRequest](d)
	d.answer(10_100, seq, granted(5*time.Second), nil)
	if s := d.want(10_100, session.Joined, 7); s.Until != at(14_000) {
		t.Fatalf("it is back: %+v", s)
	}
}

func TestGrantsCountOnceAndInAnyOrder(t *testing.T) {
	d := joined(t, options())
	d.tick(2000)
	second, _ := take[*metadatav1.HeartbeatRequest](d)
	d.tick(3000)
	third, _ := take[*metadatav1.HeartbeatRequest](d)
	d.answer(3100, third, granted(5*time.Second), nil)
	d.answer(3200, second, granted(5*time.Second), nil)
	d.answer(3300, third, granted(time.Hour), nil) // a second answer
	d.answer(3400, 99, granted(time.Hour), nil)    // nobody asked
	if s := d.want(3400, session.Joined, 7); s.Until != at(7000) {
		t.Fatalf("the lease is held until %v", s.Until)
	}
	// An answer for somebody else, or of no length, is none.
	d.tick(4000)
	seq, _ := take[*metadatav1.HeartbeatRequest](d)
	d.answer(4010, seq, &metadatav1.HeartbeatResponse{NodeId: "m", LeaseDuration: durationpb.New(time.Hour)}, nil)
	d.tick(4260)
	seq, _ = take[*metadatav1.HeartbeatRequest](d)
	d.answer(4270, seq, granted(-time.Hour), nil)
	if s := d.want(4270, session.Joined, 7); s.Until != at(7000) || s.Err == nil {
		t.Fatalf("the lease is held as %+v", s)
	}
	d.tick(4600)
	seq, _ = take[*metadatav1.HeartbeatRequest](d)
	d.answer(4610, seq, granted(1000*time.Hour), nil)
	if s := d.want(4610, session.Joined, 7); s.Until != at(4600)+session.MaxLease*4/5 {
		t.Fatalf("a lease of 1000 hours is held until %v", s.Until)
	}
}

func TestAnotherRegistrationFencesAtOnce(t *testing.T) {
	for _, reason := range []string{"STALE_EPOCH", "NOT_FOUND"} {
		d := joined(t, options())
		d.tick(2000)
		old, _ := take[*metadatav1.HeartbeatRequest](d)
		d.tick(3000)
		refused, _ := take[*metadatav1.HeartbeatRequest](d)
		d.answer(3100, refused, nil, refusal(reason))
		if s := d.want(3100, session.Fenced, 0); failure.As(s.Err) == nil {
			t.Fatalf("%s: it is fenced by %v", reason, s.Err)
		}
		seq, r := take[*metadatav1.RegisterNodeRequest](d)
		if r.GetWrite().GetRequestId() == "id1" {
			t.Fatalf("%s: it registers by the old request id", reason)
		}
		d.answer(3200, seq, registered(9), nil)
		beat, b := take[*metadatav1.HeartbeatRequest](d)
		if b.GetEpoch() != 9 {
			t.Fatalf("%s: it beats by %v", reason, b)
		}
		// What belongs to the old epoch says nothing of the new one.
		d.answer(3300, old, granted(5*time.Second), nil)
		d.want(3300, session.Fenced, 9)
		d.answer(3400, beat, granted(5*time.Second), nil)
		d.want(3400, session.Joined, 9)
	}
	d := joined(t, options())
	d.tick(2000)
	first, _ := take[*metadatav1.HeartbeatRequest](d)
	d.tick(3000)
	second, _ := take[*metadatav1.HeartbeatRequest](d)
	d.answer(3100, first, nil, refusal("STALE_EPOCH"))
	seq, _ := take[*metadatav1.RegisterNodeRequest](d)
	d.answer(3200, seq, registered(9), nil)
	take[*metadatav1.HeartbeatRequest](d)
	d.answer(3300, second, nil, refusal("STALE_EPOCH"))
	d.want(3300, session.Fenced, 9)
	d.quiet()
}

func TestALeaseThatTheServiceEndsIsGone(t *testing.T) {
	d := joined(t, options())
	d.tick(2000)
	second, _ := take[*metadatav1.HeartbeatRequest](d)
	d.tick(3000)
	third, _ := take[*metadatav1.HeartbeatRequest](d)
	d.answer(3100, third, nil, refusal("LEASE_CHANGING"))
	d.want(3100, session.Fenced, 7)
	d.answer(3150, second, granted(5*time.Second), nil) // sent before
	d.want(3150, session.Fenced, 7)
	d.tick(3349)
	d.quiet()
	d.tick(3350) // sooner than after an interval
	seq, _ := take[*metadatav1.HeartbeatRequest](d)
	d.answer(3400, seq, granted(5*time.Second), nil)
	d.want(3400, session.Joined, 7)

	// A refusal that a later grant has overtaken says nothing.
	d.tick(4400)
	early, _ := take[*metadatav1.HeartbeatRequest](d)
	d.tick(5400)
	late, _ := take[*metadatav1.HeartbeatRequest](d)
	d.answer(5500, late, granted(5*time.Second), nil)
	d.answer(5600, early, nil, refusal("LEASE_CHANGING"))
	d.want(5600, session.Joined, 7)
}

func TestItWaitsForAnotherIncarnation(t *testing.T) {
	d := newDesk(t, options())
	now := 0
	for range 20 {
		d.tick(now)
		seq, r := take[*metadatav1.RegisterNodeRequest](d)
		if r.GetWrite().GetRequestId() != "id1" {
			t.Fatalf("at %d it registers by %v", now, r.GetWrite())
		}
		d.answer(now+10, seq, nil, refusal("NODE_ALIVE"))
		if s := d.want(now+10, session.Joining, 0); !failure.Is(errors.Unwrap(s.Err), metadatav1.ErrorReason_ERROR_REASON_NODE_ALIVE) {
			t.Fatalf("it says %v", s.Err)
		}
		d.tick(now + 1009)
		d.quiet()
		now += 1010
	}
	d.tick(now)
	seq, _ := take[*metadatav1.RegisterNodeRequest](d)
	d.answer(now+10, seq, registered(3), nil)
	take[*metadatav1.HeartbeatRequest](d)
}

func TestRefusedRegistrations(t *testing.T) {
	slow := failure.New(metadatav1.ErrorReason_ERROR_REASON_DISK_FULL, "full")
	slow.RetryAfter = time.Hour
	for name, c := range map[string]struct {
		err   error
		ended bool
		at    time.Duration // of the next attempt
		id    string
	}{
		"a bad address":        {err: refusal("INVALID_FIELD"), ended: true},
		"no rights":            {err: refusal("PROTECTED"), ended: true},
		"too many nodes":       {err: refusal("LIMIT_REACHED"), at: at(1100), id: "id2"},
		"a forgotten id":       {err: refusal("OUTCOME_UNKNOWABLE"), at: at(1100), id: "id2"},
		"no leader":            {err: refusal("NO_LEADER"), at: at(1100), id: "id1"},
		"a broken connection":  {err: errors.New("broken"), at: at(1100), id: "id1"},
		"a full disk":          {err: slow, at: at(100) + session.MaxPause, id: "id1"},
		"an answer of nothing": {at: at(1100), id: "id1"},
	} {
		d := newDesk(t, options())
		d.tick(0)
		seq, _ := take[*metadatav1.RegisterNodeRequest](d)
		d.answer(100, seq, nil, c.err)
		s := d.machine.State(at(100))
		next, more := d.machine.Next()
		if (s.Phase == session.Ended) != c.ended || more == c.ended || next != c.at || s.Err == nil {
			t.Errorf("%s: it is %+v, next at %v", name, s, next)
			continue
		}
		if c.ended {
			d.tick(100_000)
			d.quiet()
			continue
		}
		d.out = append(d.out, d.machine.Tick(c.at)...)
		if _, r := take[*metadatav1.RegisterNodeRequest](d); r.GetWrite().GetRequestId() != c.id {
			t.Errorf("%s: it registers by %v", name, r.GetWrite())
		}
	}
}

// A node that has served does not give up: it tries again, ever more rarely, and says why it
// does not get on. An answer of the service uses up the request id; a proxy's does not.
func TestANodeThatHasServedIsRefused(t *testing.T) {
	for says, c := range map[string]struct {
		err   error
		again bool // under the same request id
	}{
		"INVALID_FIELD": {err: refusal("INVALID_FIELD")},
		"no back end":   {err: errors.New("no back end"), again: true},
	} {
		o := options()
		o.Judge = func(err error) follow.Judgement { // as of what comes over the wire
			judged := follow.JudgeFailure(err)
			judged.Retry = judged.Retry && judged.Reason != metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED
			return judged
		}
		d := joined(t, o)
		d.tick(2000)
		beat, _ := take[*metadatav1.HeartbeatRequest](d)
		d.answer(2100, beat, nil, refusal("STALE_EPOCH"))
		ms, wait, id := 2100, 1000, ""
		for range 8 {
			seq, r := take[*metadatav1.RegisterNodeRequest](d)
			if was := id; was != "" && (was == r.GetWrite().GetRequestId()) != c.again {
				t.Fatalf("%s: request id %s, then %s", says, was, r.GetWrite().GetRequestId())
			}
			id = r.GetWrite().GetRequestId()
			d.answer(ms, seq, nil, c.err)
			d.quiet()
			if s := d.want(ms, session.Fenced, 0); s.Err == nil || !strings.Contains(s.Err.Error(), says) {
				t.Fatalf("%s: it says %v", says, s.Err)
			}
			if next, ok := d.machine.Next(); !ok || next != at(ms+wait) {
				t.Fatalf("%s: the next attempt is at %v, want %v", says, next, at(ms+wait))
			}
			ms += wait
			wait = min(2*wait, int(session.MaxPause.Milliseconds()))
			d.tick(ms)
		}
		seq, _ := take[*metadatav1.RegisterNodeRequest](d)
		d.answer(ms, seq, registered(9), nil)
		beat, _ = take[*metadatav1.HeartbeatRequest](d)
		d.answer(ms, beat, granted(5*time.Second), nil)
		d.want(ms, session.Joined, 9)
	}
}

func TestBeatsKeepAPace(t *testing.T) {
	d := joined(t, options())
	d.tick(2000)
	for ms := 2000; ms < 4000; ms += 250 { // a failing service is asked four times as often, not more
		seq, _ := take[*metadatav1.HeartbeatRequest](d)
		d.answer(ms, seq, nil, refusal("NO_LEADER"))
		d.tick(ms + 249)
		d.quiet()
		d.tick(ms + 250)
	}
	// A short lease asks for faster beats, whatever the options say.
	o := options()
	o.Interval = 10 * time.Second
	d = joined(t, o)
	if next, _ := d.machine.Next(); next != at(2250) {
		t.Fatalf("a lease of 5 s is renewed at %v", next)
	}
	// Nobody answers: what is awaited stays bounded, the newest counts.
	d = joined(t, options())
	var seqs []uint64
	for ms := 2000; ms < 100_000; ms += 1000 {
		d.tick(ms)
		seq, _ := take[*metadatav1.HeartbeatRequest](d)
		seqs = append(seqs, seq)
	}
	d.answer(99_000, seqs[0], nil, refusal("STALE_EPOCH")) // forgotten
	d.want(99_000, session.Fenced, 7)
	d.answer(99_100, seqs[len(seqs)-1], granted(5*time.Second), nil)
	d.want(99_100, session.Joined, 7)
}

func TestLeaving(t *testing.T) {
	d := joined(t, options())
	d.out = d.machine.Close(at(2500))
	d.want(2500, session.Leaving, 7)
	seq, u := take[*metadatav1.UnregisterNodeRequest](d)
	if u.GetNodeId() != "n" || u.GetExpectedEpoch() != 7 || u.GetWrite().GetRequestId() != "id2" {
		t.Fatalf("it leaves by %v", u)
	}
	d.answer(2600, seq, nil, refusal("OUTCOME_UNKNOWN"))
	d.tick(2850)
	seq, u = take[*metadatav1.UnregisterNodeRequest](d)
	if u.GetWrite().GetRequestId() != "id2" {
		t.Fatalf("it leaves again by %v", u)
	}
	d.answer(2900, seq, nil, refusal("NODE_IN_USE")) // it has shards
	seq, drain := take[*metadatav1.DrainNodeRequest](d)
	if drain.GetNodeId() != "n" || drain.GetExpectedEpoch() != 7 || drain.GetCancel() || drain.GetWrite().GetRequestId() != "id3" {
		t.Fatalf("it drains by %v", drain)
	}
	d.answer(3000, seq, &metadatav1.DrainNodeResponse{}, nil)
	if s := d.want(3000, session.Ended, 7); s.Err != nil {
		t.Fatalf("it has left with %v", s.Err)
	}
	if _, more := d.machine.Next(); more {
		t.Fatal("it has more to do")
	}

	for name, c := range map[string]struct {
		err  error
		want string // "": it has left
	}{
		"gone":     {refusal("NOT_FOUND"), ""},
		"replaced": {refusal("STALE_EPOCH"), ""},
		"refused":  {refusal("PROTECTED"), "did not leave: PROTECTED"},
	} {
		d := joined(t, options())
		d.out = d.machine.Close(at(2500))
		seq, _ := take[*metadatav1.UnregisterNodeRequest](d)
		d.answer(2600, seq, nil, c.err)
		s := d.want(2600, session.Ended, 7)
		if (s.Err == nil) != (c.want == "") || s.Err != nil && !strings.Contains(s.Err.Error(), c.want) {
			t.Errorf("%s: it has left with %v", name, s.Err)
		}
	}
}

func TestLeavingOtherwise(t *testing.T) {
	o := options()
	o.Departure = session.Drain
	d := joined(t, o)
	d.out = d.machine.Close(at(2500))
	take[*metadatav1.DrainNodeRequest](d)
	d.tick(7499)
	take[*metadatav1.DrainNodeRequest](d)
	if s := d.want(7500, session.Ended, 7); s.Err == nil || !strings.Contains(s.Err.Error(), "within 5s") {
		t.Fatalf("nobody answers: %v", s.Err)
	}

	o.Departure = session.Stay
	d = joined(t, o)
	d.out = d.machine.Close(at(2500))
	d.quiet()
	d.want(2500, session.Ended, 7)

	d = newDesk(t, options())
	d.tick(0)
	seq, _ := take[*metadatav1.RegisterNodeRequest](d)
	d.out = d.machine.Close(at(10))
	d.answer(20, seq, registered(7), nil)
	d.quiet()
	d.want(20, session.Ended, 0)
	d.out = d.machine.Close(at(30))
	d.quiet()
}

func TestOptionsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*session.Options){
		"no id":                    func(o *session.Options) { o.Node.NodeId = "" },
		`"n" has no incarnation`:   func(o *session.Options) { o.Node.Incarnation = "" },
		"no Judge":                 func(o *session.Options) { o.Judge = nil },
		"a beat every 1ms":         func(o *session.Options) { o.Interval = time.Millisecond },
		"neither may be negative":  func(o *session.Options) { o.LeaveTimeout = -1 },
		"there is no departure 77": func(o *session.Options) { o.Departure = 77 },
	} {
		o := options()
		change(&o)
		if _, err := session.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	o := options()
	o.NewID = nil
	d := newDesk(t, o)
	o.Node.NodeId = "changed"
	d.tick(0)
	if _, r := take[*metadatav1.RegisterNodeRequest](d); r.GetWrite() != nil || r.GetNode().GetNodeId() != "n" {
		t.Fatalf("it registers by %v", r)
	}
}
