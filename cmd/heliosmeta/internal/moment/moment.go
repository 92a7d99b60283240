// Package moment reads moments as people write them: revisions, times, and how long ago
// something was. It reads no clock: now is handed in. It is pure.
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Usage says what can be written.
const Usage = "a revision such as 12, a time such as 2026-03-04T12:00:00Z or 2026-03-04, or how long ago such as 3d, 2h30m or yesterday"

// TimeUsage says what can be written for a time.
const TimeUsage = "a time such as 2026-03-04T12:00:00Z or 2026-03-04 (UTC), or how long ago such as 3d, 2h30m or yesterday"

// MaxDuration bounds how long something may last or be ago, well within what a time.Duration
// holds.
const MaxDuration = 200 * 365 * day

const day = 24 * time.Hour

// Point reads a revision or a time.
func Point(text string, now time.Time) (*metadatav1.HistoryPoint, error) {
	if digits(text) {
		revision, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("revision %s is too large", text)
		}
		return &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Revision{Revision: revision}}, nil
	}
	t, err := Time(text, now)
	if err != nil {
		return nil, fmt.Errorf("%q; write %s", text, Usage)
	}
	return &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Time{Time: timestamppb.New(t)}}, nil
}

// Show writes a point as it can be read again; of nil, which is now, it says so.
func Show(p *metadatav1.HistoryPoint) string {
	switch at := p.GetPoint().(type) {
	case *metadatav1.HistoryPoint_Revision:
		return strconv.FormatUint(at.Revision, 10)
	case *metadatav1.HistoryPoint_Time:
		return at.Time.AsTime().Format(time.RFC3339Nano)
	}
	return "now"
}

// Time reads a time: as RFC 3339 has it, a day, which begins at midnight UTC, or how long
// before now it was.
func Time(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	switch text {
	case "now":
		return now.UTC(), nil
	case "yesterday":
		return now.UTC().Add(-day), nil
	}
	ago, ok := Duration(strings.TrimSuffix(text, " ago"))
	if !ok {
		return time.Time{}, fmt.Errorf("%q; write %s", text, TimeUsage)
	}
	return now.UTC().Add(-ago), nil
}

// units are those that durations of package time do not have.
var units = map[byte]time.Duration{'d': day, 'w': 7 * day}

// Duration reads a length of time that begins with weeks and days, if it has any, such as 3d or
// 1w2h; false if it is none, or longer than MaxDuration.
func Duration(text string) (sum time.Duration, ok bool) {
	for _, unit := range []byte{'w', 'd'} {
		number, rest, has := strings.Cut(text, string(unit))
		if !has {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || !digits(number) || n > int(MaxDuration/units[unit]) {
			return 0, false
		}
		sum, text = sum+time.Duration(n)*units[unit], rest
		ok = true
	}
	if ok && text == "" {
		return sum, sum <= MaxDuration
	}
	rest, err := time.ParseDuration(text)
	if err != nil || rest < 0 || strings.HasPrefix(text, "+") || rest > MaxDuration-min(sum, MaxDuration) {
		return 0, false
	}
	return sum + rest, true
}

// digits reports whether a text is a number without sign.
func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
