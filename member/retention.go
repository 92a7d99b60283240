package member

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/retention"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

const (
	// retentionTicks is how often members look whether histories are too old or too large.
	retentionTicks = 300
	// retentionActor is the actor of trims in the history.
	retentionActor = "heliosmeta/retention"
	// maxNamedConsumers is how many consumers an alarm names.
	maxNamedConsumers = 5
)

// heldBack says, by stream, about where its history would begin if consumers did not hold
// trimming back; 0: they do not.
type heldBack [len(streamIDs)]atomic.Uint64

func (h *heldBack) of(id metadatav1.Stream) *atomic.Uint64 {
	for i, s := range streamIDs {
		if s == id {
			return &h[i]
		}
	}
	return new(atomic.Uint64)
}

// watchRetention looks at the histories now and then until the streams end. All members
// look, for their alarms; the leader of the service stream has them trimmed.
func (m *Member) watchRetention(r *running) {
	ticker := time.NewTicker(retentionTicks * m.config.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		m.lookAtHistories(r)
	}
}

// lookAtHistories decides where each stream's history should begin.
func (m *Member) lookAtHistories(r *running) {
	members := m.memberStatuses(r.ctx)
	now, agreed := agreedTime(members), m.agreesOnLimits(members)
	for _, id := range streamIDs {
		kept := retention.KeptOf(r.service.replica.View().Model, id)
		verdict, err := m.policyOf(id).Decide(m.store, id, now, kept)
		if err != nil {
			m.log.Warn("whether history is to be trimmed cannot be told", "stream", events.StreamName(id), "error", err)
			continue
		}
		r.held.of(id).Store(verdict.Held)
		if soft := r.service.soft.Load(); verdict.Floor != nil && soft.Role == raftlog.Leader && agreed {
			m.trim(r, soft.Term, verdict)
		}
	}
}

// agreedTime returns what time it is for a majority of the members, see retention.Agreed.
func agreedTime(members []*metadatav1.MemberStatus) time.Time {
	return retention.Agreed(clocksOf(members), len(members))
}

// clocksOf returns what the clocks of the members that answer say.
func clocksOf(members []*metadatav1.MemberStatus) (clocks []time.Time) {
	for _, other := range members {
		if other.GetReachable() && other.GetClock().IsValid() {
			clocks = append(clocks, other.GetClock().AsTime())
		}
	}
	return clocks
}

// historyLimits returns how much of the histories the member was told to keep.
func (c *Config) historyLimits() *metadatav1.HistoryLimits {
	return &metadatav1.HistoryLimits{
		MaxAge: durationpb.New(c.HistoryMaxAge), MaxBytes: c.HistoryMaxBytes, HardBytes: c.HistoryHardBytes, ServiceChanges: c.HistoryServiceChanges,
	}
}

// agreesOnLimits reports whether a majority of the members were told to keep as much as this one, and
// none that answers otherwise. What is trimmed never comes back: in the midst of a restart of all with
// other limits, or beside a member that was left out, whoever happens to lead must not decide for all.
func (m *Member) agreesOnLimits(members []*metadatav1.MemberStatus) bool {
	own, same := m.config.historyLimits(), 0
	for _, other := range members {
		said := other.GetHistoryLimits()
		switch {
		case said == nil: // it does not answer, or runs an older build
		case !proto.Equal(said, own):
			return false
		default:
			same++
		}
	}
	return same > len(members)/2
}

// differentLimits lists what each member that answers was told to keep; nothing if it is the same.
func differentLimits(members []*metadatav1.MemberStatus) string {
	var said []string
	var first *metadatav1.HistoryLimits
	differ := false
	for _, other := range members {
		l := other.GetHistoryLimits()
		if l == nil {
			continue
		}
		if first == nil {
			first = l
		}
		differ = differ || !proto.Equal(l, first)
		said = append(said, fmt.Sprintf("member %d: %v, %d bytes, at most %d bytes for consumers, %d changes of the service stream",
			other.GetMemberId(), l.GetMaxAge().AsDuration(), l.GetMaxBytes(), l.GetHardBytes(), l.GetServiceChanges()))
	}
	if !differ {
		return ""
	}
	return strings.Join(said, "; ") + " (0: no limit)"
}

// policyOf returns how much of a stream's history is kept.
func (m *Member) policyOf(id metadatav1.Stream) retention.Policy {
	c := &m.config
	if id == metadatav1.Stream_STREAM_SERVICE {
		return retention.Policy{MaxChanges: c.HistoryServiceChanges}
	}
	return retention.Policy{MaxAge: c.HistoryMaxAge, MaxBytes: c.HistoryMaxBytes, HardBytes: c.HistoryHardBytes}
}

// trim has a history trimmed, as the leader of the service stream in a term.
func (m *Member) trim(r *running, term uint64, verdict retention.Verdict) {
	ctx, cancel := context.WithTimeout(r.ctx, submitPatience)
	defer cancel()
	reply, err := r.service.submit(ctx, replica.Request{
		Command: verdict.Command(), Term: term,
		Env: commands.Env{Now: m.config.Now(), Actor: retentionActor, RequestID: uuid.Must(uuid.NewV7()).String()},
	})
	log := m.log.With("stream", events.StreamName(verdict.Floor.GetStream()), "oldest", verdict.Floor.GetOldestRevision(), "passing_consumers", verdict.Pass)
	if err != nil {
		log.Info("history not trimmed; the next look does it", "error", err)
		return
	}
	if result, ok := reply.(*metadatav1.WriteResult); ok && !result.GetChanged() {
		log.Info("history not trimmed: a consumer needs it after all, or it begins there already; the next look decides anew")
		return
	}
	log.Info("history is trimmed")
}

// consumerAlarms names the consumers that lost changes to trimming, and those that hold it
// back. hard is the size over which they do not; 0: they always do.
func (r *running) consumerAlarms(hard uint64) []*metadatav1.Alarm {
	var alarms []*metadatav1.Alarm
	warn := func(advice, format string, args ...any) {
		alarms = append(alarms, &metadatav1.Alarm{
			Severity: metadatav1.Severity_SEVERITY_WARNING, Message: fmt.Sprintf(format, args...), Advice: advice,
		})
	}
	passed, holding := adviceOnConsumers(hard)
	for _, id := range positioned {
		oldest, held := r.floor(id).OldestRevision(), r.held.of(id).Load()
		if names := r.consumersBehind(id, oldest, true); names != "" {
			warn(passed,
				"changes of the %s stream that consumers had not acknowledged were trimmed; its history begins at revision %d: %s", events.StreamName(id), oldest, names)
		}
		if names := r.consumersBehind(id, held, false); held > oldest && names != "" {
			warn(holding,
				"consumers hold back the trimming of the %s stream, whose history would begin at about revision %d without them and begins at %d: %s",
				events.StreamName(id), held, max(oldest, 1), names)
		}
	}
	return alarms
}

// adviceOnConsumers says what to do about consumers that were passed, and about those that hold
// trimming back, where they do so up to a size; 0: whatever the size.
func adviceOnConsumers(hard uint64) (passed, holding string) {
	passed = "have what they feed made anew from a snapshot, then delete and create them"
	holding = "let them acknowledge what they have carried out, and delete those that nobody runs any more; "
	if hard == 0 {
		return passed, holding + "as --history-hard-bytes is not set, the history grows until they do"
	}
	return passed + "; a --history-hard-bytes of more than " + fmt.Sprint(hard) + " gives them more time",
		holding + fmt.Sprintf("over --history-hard-bytes, %d bytes, they lose changes", hard)
}

// consumersBehind names the consumers that have not acknowledged a stream before oldest: those
// that were passed, or those that still need it; "" if there are none.
func (r *running) consumersBehind(id metadatav1.Stream, oldest uint64, passed bool) string {
	var names []string
	more := 0
	model := r.service.replica.View().Model
	for c := range model.Behind(id, oldest) {
		if model.Passed(id, c) != passed {
			continue
		}
		if len(names) == maxNamedConsumers {
			more++
			continue
		}
		names = append(names, fmt.Sprintf("%s (at %d)", c.Name(), c.Revision(id)))
	}
	text := strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
