package member

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/heliosdb/metadata/internal/hashwatch"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// measured is a storage of which only the disk matters.
type measured struct {
	raftlog.Storage
	free, aside uint64
	err         error
}

func (s measured) Space() (free, used uint64, err error) { return s.free, 1, s.err }
func (s measured) SetAside() (uint64, error)             { return s.aside, nil }

func (s measured) HistoryDamage(raftlog.GroupID) ([]raftlog.Span, error) { return nil, nil }

// A disk that is full has an alarm that says where room can be made; one that cannot be
// measured is not called full.
func TestAlarmsAboutADisk(t *testing.T) {
	for _, test := range []struct {
		store    measured
		severity metadatav1.Severity
		message  string
		advice   string
	}{
		{measured{free: 1, aside: 5 << 20}, 0, "", ""},
		{measured{}, metadatav1.Severity_SEVERITY_CRITICAL, "the disk of member 7 is full up to its reserve", "with a smaller --history-max-bytes: it refuses writes until then"},
		{measured{aside: 5<<20 - 1}, metadatav1.Severity_SEVERITY_CRITICAL, "is full up to its reserve", "\"damaged\" in its data directory holds 5 MiB"},
		{measured{err: errors.New("statfs: broken")}, metadatav1.Severity_SEVERITY_WARNING, "could not be measured: statfs: broken", "whether its data directory can be read"},
	} {
		m := &Member{store: test.store, config: Config{Now: time.Now}, identity: raftlog.Identity{Member: 7}, ctx: t.Context(), hashes: hashwatch.New(hashwatch.Options{Member: 7, Members: []uint64{7}})}
		m.waitReason.Store(new("it is a test"))
		var about []*metadatav1.Alarm
		for _, a := range m.alarms([]*metadatav1.MemberStatus{m.ownStatus(nil)}) {
			if a.GetMemberId() == 7 {
				about = append(about, a)
			}
		}
		if test.message == "" {
			if len(about) != 0 {
				t.Errorf("%+v: %v", test.store, about)
			}
			continue
		}
		if len(about) != 1 || about[0].GetSeverity() != test.severity || !strings.Contains(about[0].GetMessage(), test.message) ||
			!strings.Contains(about[0].GetAdvice(), test.advice) {
			t.Errorf("%+v: %v", test.store, about)
		}
	}
}
