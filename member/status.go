package member

import (
	"cmp"
	"context"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

const (
	// statusTimeout is how long a member may take to describe itself.
	statusTimeout = time.Second
	// lagAlarm is how many entries a member may be behind before it is worth a
	// warning.
	lagAlarm = 10_000
	// clockAlarm is how far members' clocks may be apart before it is worth a warning. What they
	// say is up to statusTimeout old.
	clockAlarm = 10 * time.Second
)

// Status describes the cluster as this member sees it.
func (m *Member) Status(ctx context.Context) (*metadatav1.StatusResponse, error) {
	status := &metadatav1.StatusResponse{
		ClusterId: m.cluster.String(), ClusterName: m.identity.ClusterName,
		RecoveryEpoch: m.identity.RecoveryEpoch, MemberId: m.identity.Member, Position: m.Position(),
	}
	status.Members = m.memberStatuses(ctx)
	noteLag(status.Members)
	status.Alarms = m.alarms(status.Members)
	return status, nil
}

// memberStatuses asks all members at once.
func (m *Member) memberStatuses(ctx context.Context) []*metadatav1.MemberStatus {
	timeout := statusTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)/2) // who does not answer is a part of the answer
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	members := make([]*metadatav1.MemberStatus, len(m.config.Peers))
	var wg sync.WaitGroup
	for i, p := range sortedPeers(m.config.Peers) {
		if p.ID == m.identity.Member {
			members[i] = m.ownStatus(m.running.Load())
			continue
		}
		wg.Go(func() { members[i] = m.peerStatus(ctx, p) })
	}
	wg.Wait()
	return members
}

// peerStatus asks one other member.
func (m *Member) peerStatus(ctx context.Context, p raftlog.Peer) *metadatav1.MemberStatus {
	status := &metadatav1.MemberStatus{MemberId: p.ID, RaftAddress: p.Addr}
	if hello, _, _, ok := m.transport.Peer(p.ID); ok {
		status.ApiAddress, status.Version = hello.Advertise, hello.Build
	}
	answer, err := m.transport.Call(ctx, p.ID, methodStatus, nil)
	if err != nil {
		return status
	}
	var full metadatav1.MemberStatus
	if proto.Unmarshal(answer, &full) != nil {
		return status
	}
	full.Reachable = true
	return &full
}

// ownStatus describes this member.
func (m *Member) ownStatus(r *running) *metadatav1.MemberStatus {
	free, used, spaceErr := m.store.Space()
	status := &metadatav1.MemberStatus{
		MemberId: m.identity.Member, Reachable: true, ApiAddress: m.config.Advertise, Version: m.config.Version,
		Uptime: durationpb.New(time.Since(m.made)), StoreBytes: used, FreeBytes: free,
		SupportedFeatureLevel: events.FeatureLevel, MemoryBytes: memoryInUse(),
		Clock: timestamppb.New(m.config.Now()), SignsHeads: m.config.AuditKey != nil,
		HistoryLimits: m.config.historyLimits(),
	}
	if spaceErr != nil {
		status.SpaceProblem = spaceErr.Error()
	}
	if s, ok := m.store.(setsAside); ok {
		status.SetAsideBytes, _ = s.SetAside() // it is only a hint where room can be made
	}
	lease, _ := m.Leases()
	status.LeaseDuration = durationpb.New(lease)
	for _, p := range m.config.Peers {
		if p.ID == m.identity.Member {
			status.RaftAddress = p.Addr
		}
	}
	if quarantined := m.quarantine.Load(); quarantined != nil {
		status.Quarantine = &metadatav1.Quarantine{
			Reason: quarantined.why, SourceMemberId: quarantined.source, Percent: uint32(quarantined.percent), WaitingFor: quarantined.waiting, Stuck: quarantined.stuck,
		}
	}
	status.Divergences = m.hashes.Found()
	if r == nil {
		return status
	}
	status.Subscribers = uint32(r.feed.Subscriptions())
	for _, s := range r.all() {
		status.Streams = append(status.Streams, s.statusNow())
	}
	return status
}

// setsAside is a storage that knows what its last rebuild has set aside.
type setsAside interface {
	SetAside() (bytes uint64, err error)
}

// spaceAlarm says what is wrong with the disk of a member that answers; "" if nothing is.
func spaceAlarm(other *metadatav1.MemberStatus) (severity metadatav1.Severity, message, advice string) {
	id := other.GetMemberId()
	switch {
	case other.GetSpaceProblem() != "":
		return metadatav1.Severity_SEVERITY_WARNING,
			fmt.Sprintf("the room on the disk of member %d could not be measured: %s", id, other.GetSpaceProblem()),
			"see whether its data directory can be read; it does not notice in time when its disk gets full"
	case other.GetFreeBytes() > 0:
		return 0, "", ""
	}
	advice = "free some space on its disk, or restart all members with a smaller --history-max-bytes: it refuses writes until then"
	if aside := other.GetSetAsideBytes(); aside > 0 {
		advice += fmt.Sprintf("; the directory \"damaged\" in its data directory holds %d MiB that its last rebuild has set aside and that can be deleted", (aside+1<<20-1)>>20)
	}
	return metadatav1.Severity_SEVERITY_CRITICAL, fmt.Sprintf("the disk of member %d is full up to its reserve", id), advice
}

// memoryInUse returns the bytes that the Go runtime holds of the system's memory.
// It does not stop the world.
func memoryInUse() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// statusNow describes this member's part in the stream.
func (s *stream[D]) statusNow() *metadatav1.StreamStatus {
	st, soft, head := s.status.Load(), s.soft.Load(), s.replica.View().Head
	status := &metadatav1.StreamStatus{
		Stream: s.id, Role: roleOf(soft.Role), Term: soft.Term, Leader: soft.Leader,
		Revision: head.Revision, Digest: head.Digest.String(),
		FirstIndex: st.First, LastIndex: st.Last, CommittedIndex: st.Commit, AppliedIndex: st.Applied,
		FeatureLevel: head.FeatureLevel, CheckpointRevision: st.Newest.Seq, CheckpointBytes: st.Newest.Bytes,
		FencedEntries: st.Fenced, OldestRevision: s.oldestKept(),
	}
	if !head.Time.IsZero() {
		status.LastChangeTime = timestamppb.New(head.Time)
	}
	return status
}

// vitalsNow gives the numbers by which the stream is watched.
func (s *stream[D]) vitalsNow() vitals.Stream {
	st, soft, head := s.status.Load(), s.soft.Load(), s.replica.View().Head
	subscribers, lag := s.life.feed.Watching(s.id)
	return vitals.Stream{
		Stream: s.id, Role: roleOf(soft.Role), Term: soft.Term, Leader: soft.Leader, FeatureLevel: head.FeatureLevel,
		Revision: head.Revision, OldestRevision: s.oldestKept(),
		FirstIndex: st.First, LastIndex: st.Last, CommittedIndex: st.Commit, AppliedIndex: st.Applied,
		LogBytes: st.LogBytes, ProposedEntries: st.Entries, ProposedChanges: st.Changes,
		QueueDepth: st.Pending + st.Waiting, FencedEntries: st.Fenced, LeaderChanges: s.elections.Load(),
		Checkpoints: st.Checkpoints + st.Installs, CheckpointBytes: st.Newest.Bytes,
		CheckpointTime: time.Duration(s.checkpointTook.Load()), CheckpointRevision: st.Newest.Seq,
		Subscribers: subscribers, SubscriberLag: lag,
	}
}

func roleOf(r raftlog.Role) metadatav1.Role {
	switch r {
	case raftlog.Leader:
		return metadatav1.Role_ROLE_LEADER
	case raftlog.Candidate, raftlog.PreCandidate:
		return metadatav1.Role_ROLE_CANDIDATE
	case raftlog.Follower:
		return metadatav1.Role_ROLE_FOLLOWER
	}
	return metadatav1.Role_ROLE_UNSPECIFIED
}

// noteLag fills in how far each member is behind the leader of each stream.
func noteLag(members []*metadatav1.MemberStatus) {
	committed := make(map[metadatav1.Stream]uint64)
	for _, m := range members {
		for _, s := range m.GetStreams() {
			committed[s.GetStream()] = max(committed[s.GetStream()], s.GetCommittedIndex())
		}
	}
	for _, m := range members {
		for _, s := range m.GetStreams() {
			s.Lag = committed[s.GetStream()] - min(committed[s.GetStream()], s.GetAppliedIndex())
		}
	}
}

// alarms says what is wrong, worst first.
func (m *Member) alarms(members []*metadatav1.MemberStatus) []*metadatav1.Alarm {
	var alarms []*metadatav1.Alarm
	add := func(severity metadatav1.Severity, member uint64, advice, format string, args ...any) {
		alarms = append(alarms, &metadatav1.Alarm{
			Severity: severity, MemberId: member, Message: fmt.Sprintf(format, args...), Advice: advice,
		})
	}
	const warning, critical = metadatav1.Severity_SEVERITY_WARNING, metadatav1.Severity_SEVERITY_CRITICAL
	if err := m.Ready(); err != nil && m.quarantine.Load() == nil {
		add(critical, 0, "start the members that are down; a majority has to run", "%v", err)
	}
	for _, other := range members {
		id := other.GetMemberId()
		if !other.GetReachable() {
			add(warning, id, fmt.Sprintf("start it, or check the network to %s", other.GetRaftAddress()), "member %d does not answer", id)
			continue
		}
		if q := other.GetQuarantine(); q != nil {
			message, advice := quarantineAlarm(id, q)
			add(critical, id, advice, "%s", message)
		}
		if severity, message, advice := spaceAlarm(other); message != "" {
			add(severity, id, advice, "%s", message)
		}
		for _, s := range other.GetStreams() {
			if s.GetLag() > lagAlarm {
				add(warning, id, "it catches up by itself; if the number grows, its machine is too slow", "member %d is %d entries behind in the %s stream", id, s.GetLag(), events.StreamName(s.GetStream()))
			}
			if s.GetFencedEntries() > 0 {
				add(warning, id, "please report it with the member's log", "member %d skipped %d entries of the %s stream at the fence", id, s.GetFencedEntries(), events.StreamName(s.GetStream()))
			}
		}
	}
	if said := differentLeases(members); said != "" {
		add(critical, 0, "give all members the same --lease-duration: stop them all, wait for the longest of these leases, start them",
			"the members grant different leases (%s): after a change of leader, a node may be taken offline while it still holds its lease", said)
	}
	if said := differentClocks(members); said != "" {
		add(warning, 0, "synchronize them: changes are stamped by the clock of who leads their stream; trimming by age goes by what a majority of the clocks has reached",
			"the clocks of the members differ by more than %v: %s", clockAlarm, said)
	}
	if said := differentLimits(members); said != "" {
		add(warning, 0, "give all members the same --history-max-age, --history-max-bytes, --history-hard-bytes and --history-service-changes; no history is trimmed until then",
			"the members were told to keep different histories: %s", said)
	}
	alarms = append(alarms, divergenceAlarms(members)...)
	alarms = append(alarms, historyAlarms(members, m.floor)...)
	alarms = append(alarms, m.damageAlarms()...)
	if r := m.running.Load(); r != nil {
		alarms = append(alarms, r.baseAlarms()...)
		alarms = append(alarms, r.consumerAlarms(m.config.HistoryHardBytes)...)
		alarms = append(alarms, r.signingAlarms(members)...)
	}
	slices.SortStableFunc(alarms, func(a, b *metadatav1.Alarm) int { return -cmp.Compare(a.GetSeverity(), b.GetSeverity()) })
	return alarms
}

// differentLeases lists the lease of each member that says one; nothing if they are the
// same. A leader lets leases go after its own duration, whoever granted them: a longer one
// of an earlier leader is broken.
func differentLeases(members []*metadatav1.MemberStatus) string {
	var said []string
	differ, first := false, time.Duration(0)
	for _, other := range members {
		lease := other.GetLeaseDuration().AsDuration()
		if lease == 0 {
			continue // it does not answer, or runs an older build
		}
		if first == 0 {
			first = lease
		}
		differ = differ || lease != first
		said = append(said, fmt.Sprintf("member %d: %v", other.GetMemberId(), lease))
	}
	if !differ {
		return ""
	}
	return strings.Join(said, ", ")
}

// differentClocks lists what the clocks of the members say; nothing if they are about the same.
func differentClocks(members []*metadatav1.MemberStatus) string {
	clocks := clocksOf(members)
	if len(clocks) == 0 || slices.MaxFunc(clocks, time.Time.Compare).Sub(slices.MinFunc(clocks, time.Time.Compare)) <= clockAlarm {
		return ""
	}
	var said []string
	for _, other := range members {
		if other.GetReachable() && other.GetClock().IsValid() {
			said = append(said, fmt.Sprintf("member %d: %s", other.GetMemberId(), other.GetClock().AsTime().Format(time.RFC3339)))
		}
	}
	return strings.Join(said, ", ")
}

// quarantineAlarm says which member is in quarantine, and what has to be done.
func quarantineAlarm(id uint64, q *metadatav1.Quarantine) (message, advice string) {
	quarantined := quarantine{why: q.GetReason(), source: q.GetSourceMemberId(), percent: int(q.GetPercent()), waiting: q.GetWaitingFor()}
	advice = "it comes back by itself while a majority of the other members is up; look for the cause in its log, its disk and its memory"
	if q.GetStuck() {
		advice = "bring back the data of enough members for a majority (their disks, or copies of their whole directories); without it the rest cannot go on"
	}
	return quarantined.describe(id), advice
}

// Ready reports why the member cannot serve right now; nil if a leader is known for
// each stream.
func (m *Member) Ready() error {
	r := m.running.Load()
	if r == nil || m.stopping.Load() {
		return m.notRunning()
	}
	for _, s := range r.all() {
		if s.leader() == 0 {
			return fmt.Errorf("no leader is known for the %s stream", events.StreamName(s.streamID()))
		}
	}
	return nil
}

// Leases returns how long a node's lease lasts and how often a node should beat.
func (m *Member) Leases() (lease, interval time.Duration) {
	o := m.config.Leases
	return cmp.Or(o.Lease, leases.DefaultLease), cmp.Or(o.Interval, leases.DefaultInterval)
}

// Stats returns the numbers by which the member is watched.
func (m *Member) Stats() vitals.Stats {
	free, used, _ := m.store.Space()
	stats := vitals.Stats{
		MemberID: m.identity.Member, StoreBytes: used, FreeBytes: free,
		Quarantined: m.quarantine.Load() != nil, Divergences: m.hashes.Total(),
	}
	r := m.running.Load()
	if r == nil {
		return stats
	}
	stats.Subscribers = r.feed.Subscriptions()
	for _, s := range r.all() {
		stats.Streams = append(stats.Streams, s.vitalsNow())
	}
	return stats
}
