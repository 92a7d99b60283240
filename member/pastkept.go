package member

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Who still has a stream's history from its beginning. A member that was rebuilt begins
// with a checkpoint; when all have been rebuilt one after the other, the changes before
// it are gone.

// oldestKept returns the first revision of a stream in this member's history; the next one
// to come when it has none, 0 when it cannot tell.
func (s *stream[D]) oldestKept() uint64 {
	stored := s.feed.Durable() // before: what is stored meanwhile makes no gap, nor does what is about to be
	first, _, err := s.member.store.HistoryBounds(s.group)
	switch {
	case err != nil:
		return 0
	case first == 0:
		return stored + 1
	}
	return first
}

// historyAlarms says for each stream that fewer than a majority of the members hold
// revision 1, if that is certain: members that say nothing may hold it.
func historyAlarms(members []*metadatav1.MemberStatus) []*metadatav1.Alarm {
	var alarms []*metadatav1.Alarm
	for _, id := range positioned {
		var holders []string
		lacking, least := 0, uint64(0)
		for _, m := range members {
			for _, s := range m.GetStreams() {
				switch oldest := s.GetOldestRevision(); {
				case s.GetStream() != id || oldest == 0:
				case oldest == 1:
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
			alarm.Message = fmt.Sprintf("of %d members only member %s still has the history of the %s stream from its beginning; %d were given a checkpoint since and begin at revision %d or later",
				len(members), strings.Join(holders, ", "), events.StreamName(id), lacking, least)
			alarm.Advice = "keep that member's directory: stop it and copy the directory before anything is done to it; audits and old revisions are nowhere else"
		} else {
			alarm.Message = fmt.Sprintf("no member that answers has the history of the %s stream from its beginning; the oldest revision is %d", events.StreamName(id), least)
			alarm.Advice = "start the members that do not answer; if there is none, audits of what came before are only in copies of directories"
		}
		alarms = append(alarms, alarm)
	}
	return alarms
}

// warnOfHistory writes the alarms of the history into the log, once the others can be
// asked; a member does so when it comes out of a quarantine.
func (m *Member) warnOfHistory(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(statusTimeout):
	}
	for _, a := range historyAlarms(m.memberStatuses(ctx)) {
		m.log.Warn(a.GetMessage(), "advice", a.GetAdvice())
	}
}
