package member

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Who still has a stream's whole history. A member that was rebuilt begins with a checkpoint
// and fills in the rest; when all are rebuilt one after the other, faster than that, the
// changes before it are gone.

// oldestKept returns the revision from which on this member has the history of a stream, and can
// read it as far as it knows; the next one to come when it has none, 0 when it cannot tell.
func (s *stream[D]) oldestKept() uint64 {
	stored := s.feed.Durable() // before: what is stored meanwhile makes no gap, nor does what is about to be
	_, lacks, err := s.member.store.HistoryGap(s.group, stored+1)
	if err != nil {
		return 0
	}
	damaged, err := s.member.store.HistoryDamage(s.group)
	if err != nil {
		return 0
	}
	if n := len(damaged); n > 0 {
		lacks = max(lacks, damaged[n-1].Last)
	}
	return max(lacks+1, s.life.floor(s.id).OldestRevision())
}

// historyAlarms says for each stream that fewer than a majority of the members hold
// all of the history from its beginning or floor on, if that is certain: members that say
// nothing may hold it.
func historyAlarms(members []*metadatav1.MemberStatus, floor func(metadatav1.Stream) uint64) []*metadatav1.Alarm {
	var alarms []*metadatav1.Alarm
	for _, id := range positioned {
		var holders []string
		begins := max(floor(id), 1)
		lacking, least := 0, uint64(0)
		for _, m := range members {
			for _, s := range m.GetStreams() {
				switch oldest := s.GetOldestRevision(); {
				case s.GetStream() != id || oldest == 0:
				case oldest <= begins:
					holders = append(holders, fmt.Sprint(m.GetMemberId()))
				default:
					lacking++
					if least == 0 || oldest < least {
						least = oldest
					}
				}
			}
		}
		if len(members)-lacking > len(members)/2 {
			continue
		}
		alarm := &metadatav1.Alarm{Severity: metadatav1.Severity_SEVERITY_WARNING}
		if len(holders) > 0 {
			alarm.Message = fmt.Sprintf("of %d members only member %s has the history of the %s stream from revision %d on; %d were given a checkpoint, are filling it in and have it from revision %d on",
				len(members), strings.Join(holders, ", "), events.StreamName(id), begins, lacking, least)
			alarm.Advice = "leave that member running, and keep its directory, until the others have filled in what they lack: old revisions are nowhere else"
		} else {
			alarm.Message = fmt.Sprintf("no member that answers has the history of the %s stream from revision %d on; the oldest revision is %d", events.StreamName(id), begins, least)
			alarm.Advice = "start the members that do not answer, and the rest is filled in from them; if there is none, what came before is only in copies of directories and exports"
		}
		alarms = append(alarms, alarm)
	}
	return alarms
}

// maxNamedRuns is how many damaged runs of revisions an alarm names.
const maxNamedRuns = 5

// damageAlarms says what reads have found damaged of this member's histories, and nothing has
// replaced yet.
func (m *Member) damageAlarms() []*metadatav1.Alarm {
	advice := "they are replaced by what the other members have, as soon as one answers; see to the disk and the memory of this machine"
	if len(m.others()) == 0 {
		advice = "no other member has them: an export or a copy of the directory may; see to the disk and the memory of this machine"
	}
	var alarms []*metadatav1.Alarm
	for _, g := range groups() {
		damaged, err := m.store.HistoryDamage(g)
		if err != nil || len(damaged) == 0 {
			continue
		}
		var runs []string
		for _, d := range damaged[:min(len(damaged), maxNamedRuns)] {
			run := fmt.Sprint(d.First)
			if d.Last > d.First {
				run += fmt.Sprintf(" to %d", d.Last)
			}
			runs = append(runs, run)
		}
		if len(damaged) > maxNamedRuns {
			runs = append(runs, fmt.Sprintf("and %d more runs", len(damaged)-maxNamedRuns))
		}
		alarms = append(alarms, &metadatav1.Alarm{
			Severity: metadatav1.Severity_SEVERITY_WARNING, MemberId: m.identity.Member, Advice: advice,
			Message: fmt.Sprintf("the history of the %s stream on member %d is damaged at revisions %s",
				events.StreamName(metadatav1.Stream(g)), m.identity.Member, strings.Join(runs, ", ")),
		})
	}
	return alarms
}

// baseAlarms says of which streams this member lacks the model right before the floor.
func (r *running) baseAlarms() (alarms []*metadatav1.Alarm) {
	for _, id := range streamIDs {
		if alarm := r.pastOf(id).baseAlarm(); alarm != nil {
			alarms = append(alarms, alarm)
		}
	}
	return alarms
}

// floor returns the oldest revision of a stream that is kept, as far as this member knows;
// 0: nothing was trimmed.
func (m *Member) floor(id metadatav1.Stream) uint64 {
	if r := m.running.Load(); r != nil {
		return r.floor(id).OldestRevision()
	}
	return 0
}

// warnOfHistory writes the alarms of the history into the log, once the others can be
// asked; a member does so when it comes out of a quarantine.
func (m *Member) warnOfHistory(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(statusTimeout):
	}
	for _, a := range historyAlarms(m.memberStatuses(ctx), m.floor) {
		m.log.Warn(a.GetMessage(), "advice", a.GetAdvice())
	}
}
