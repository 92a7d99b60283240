package member

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

const (
	// keepHashes is how many own checkpoints of each stream are remembered.
	keepHashes = 16
	// maxPeerHashes bounds what another member's answer may hold.
	maxPeerHashes = 1024
	// compareTicks is how often members compare their checkpoints.
	compareTicks = 50
	// keepPast is for how long others hear of checkpoints from before a quarantine.
	keepPast = time.Minute
	// keepDivergence is for how long status speaks of a difference that is gone.
	keepDivergence = time.Hour
)

// hashBook has the hashes of the checkpoints that this member wrote in this life, and
// the differences that it has seen. Any goroutine may use it.
type hashBook struct {
	mu          sync.Mutex
	own         map[metadatav1.Stream][]*metadatav1.CheckpointHash
	past        []*metadatav1.CheckpointHash // of the life before the last quarantine
	pastUntil   time.Time
	divergences map[difference]*divergence
	seen        uint64
}

// difference is what makes two reports one.
type difference struct {
	stream           metadatav1.Stream
	revision, member uint64
}

func differenceOf(d *metadatav1.Divergence) difference {
	return difference{d.GetStream(), d.GetRevision(), d.GetMemberId()}
}

type divergence struct {
	*metadatav1.Divergence
	last time.Time // seen
}

// wrote notes an own checkpoint. Its bytes depend on the versions of the file and of
// the model, so only equal ones are compared.
func (b *hashBook) wrote(s metadatav1.Stream, d raftlog.Descriptor, level uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.own == nil {
		b.own = make(map[metadatav1.Stream][]*metadatav1.CheckpointHash)
	}
	b.own[s] = append(b.own[s], &metadatav1.CheckpointHash{
		Stream: s, Revision: d.Seq, Index: d.Index, Format: fmt.Sprintf("file %d, records %d, level %d", d.Format, projections.CheckpointFormat, level), Hash: d.Hash[:],
	})
	b.own[s] = b.own[s][max(0, len(b.own[s])-keepHashes):]
}

// forget begins a new life: what was written before a quarantine is not this model's.
// Others hear of it for a while, to see what happened.
func (b *hashBook) forget(now time.Time) {
	past := b.message().GetCheckpoints()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own, b.past, b.pastUntil = nil, past, now.Add(keepPast)
}

// message returns the hashes of this life.
func (b *hashBook) message() *metadatav1.CheckpointHashes {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &metadatav1.CheckpointHashes{}
	for _, s := range slices.Sorted(maps.Keys(b.own)) {
		m.Checkpoints = append(m.Checkpoints, b.own[s]...)
	}
	return m
}

// messageForOthers adds those of the life before.
func (b *hashBook) messageForOthers(now time.Time) *metadatav1.CheckpointHashes {
	m := b.message()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.pastUntil) {
		m.Checkpoints = append(m.Checkpoints, b.past...)
	}
	return m
}

// note keeps the differences of a comparison and returns those that are new.
func (b *hashBook) note(found []*metadatav1.Divergence, now time.Time) (fresh []*metadatav1.Divergence) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.divergences == nil {
		b.divergences = make(map[difference]*divergence)
	}
	for _, d := range found {
		key := differenceOf(d)
		if b.divergences[key] == nil {
			fresh = append(fresh, d)
			b.seen++
		}
		b.divergences[key] = &divergence{d, now}
	}
	maps.DeleteFunc(b.divergences, func(_ difference, d *divergence) bool { return now.Sub(d.last) > keepDivergence })
	return fresh
}

// found returns the differences of the last time, oldest revision first.
func (b *hashBook) found() []*metadatav1.Divergence {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []*metadatav1.Divergence
	for _, d := range b.divergences {
		all = append(all, d.Divergence)
	}
	sortDivergences(all)
	return all
}

func sortDivergences(all []*metadatav1.Divergence) {
	slices.SortFunc(all, func(a, b *metadatav1.Divergence) int {
		return cmp.Or(cmp.Compare(a.GetStream(), b.GetStream()), cmp.Compare(a.GetRevision(), b.GetRevision()), cmp.Compare(a.GetMemberId(), b.GetMemberId()))
	})
}

// total returns how many differences were seen since the start.
func (b *hashBook) total() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// compareHashes finds checkpoints of the same stream, revision, index and format whose
// hashes differ, among n members. A member that differs from a majority of all is
// named; without a majority nobody is.
func compareHashes(of map[uint64]*metadatav1.CheckpointHashes, n int) []*metadatav1.Divergence {
	type place struct {
		stream          metadatav1.Stream
		revision, index uint64
		format          string
	}
	groups := make(map[place]map[string][]uint64) // who has which hash there
	for _, id := range slices.Sorted(maps.Keys(of)) {
		for _, c := range of[id].GetCheckpoints() {
			p := place{c.GetStream(), c.GetRevision(), c.GetIndex(), c.GetFormat()}
			if groups[p] == nil {
				groups[p] = make(map[string][]uint64)
			}
			if h := string(c.GetHash()); !slices.Contains(groups[p][h], id) {
				groups[p][h] = append(groups[p][h], id)
			}
		}
	}
	var found []*metadatav1.Divergence
	for p, hashes := range groups {
		if len(hashes) < 2 {
			continue
		}
		majority := ""
		for h, members := range hashes {
			if len(members) > n/2 {
				majority = h
			}
		}
		for _, h := range slices.Sorted(maps.Keys(hashes)) {
			if h == majority {
				continue
			}
			members := hashes[h]
			if majority == "" {
				members = []uint64{0}
			}
			for _, id := range members {
				found = append(found, &metadatav1.Divergence{Stream: p.stream, Revision: p.revision, MemberId: id, Description: describeHashes(hashes)})
			}
			if majority == "" {
				break // one is enough: nobody is named
			}
		}
	}
	sortDivergences(found)
	return found
}

// describeHashes says who has which hash, the most common first.
func describeHashes(hashes map[string][]uint64) string {
	keys := slices.SortedFunc(maps.Keys(hashes), func(a, b string) int {
		return cmp.Or(-cmp.Compare(len(hashes[a]), len(hashes[b])), bytes.Compare([]byte(a), []byte(b)))
	})
	var parts []string
	for _, h := range keys {
		parts = append(parts, fmt.Sprintf("members %s have %.8x", strings.Trim(fmt.Sprint(hashes[h]), "[]"), h))
	}
	return strings.Join(parts, ", ")
}

// watchConsistency compares checkpoints with the other members' until the streams end.
// Equal logs give equal checkpoints: a difference is corrupt memory, or a bug.
func (m *Member) watchConsistency(r *running) {
	ticker := time.NewTicker(compareTicks * m.config.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		all := m.collectHashes(r.ctx)
		if len(all) < 2 {
			continue
		}
		found := compareHashes(all, len(m.identity.Peers))
		for _, d := range m.hashes.note(found, time.Now()) {
			m.log.Error("checkpoints of members differ", "stream", events.StreamName(d.GetStream()), "revision", d.GetRevision(),
				"differing", d.GetMemberId(), "hashes", d.GetDescription())
		}
		for _, d := range found {
			if d.GetMemberId() == m.identity.Member {
				m.condemn(r, fmt.Sprintf("its checkpoint of the %s stream at revision %d differs from a majority's (%s): corrupt memory, or a bug",
					events.StreamName(d.GetStream()), d.GetRevision(), d.GetDescription()))
				return
			}
		}
	}
}

// collectHashes asks all members that can be reached.
func (m *Member) collectHashes(ctx context.Context) map[uint64]*metadatav1.CheckpointHashes {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	all := map[uint64]*metadatav1.CheckpointHashes{m.identity.Member: m.hashes.message()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, id := range m.initial() {
		if id == m.identity.Member {
			continue
		}
		wg.Go(func() {
			payload, err := m.transport.Call(ctx, id, methodHashes, nil)
			var hashes metadatav1.CheckpointHashes
			if err != nil || proto.Unmarshal(payload, &hashes) != nil || len(hashes.GetCheckpoints()) > maxPeerHashes {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[id] = &hashes
		})
	}
	wg.Wait()
	return all
}

// divergenceAlarms says each difference once, whoever saw it.
func divergenceAlarms(members []*metadatav1.MemberStatus) []*metadatav1.Alarm {
	var alarms []*metadatav1.Alarm
	told := make(map[difference]bool)
	for _, m := range members {
		for _, d := range m.GetDivergences() {
			if told[differenceOf(d)] {
				continue
			}
			told[differenceOf(d)] = true
			a := &metadatav1.Alarm{Severity: metadatav1.Severity_SEVERITY_CRITICAL, MemberId: d.GetMemberId()}
			where := fmt.Sprintf("checkpoints of the %s stream at revision %d", events.StreamName(d.GetStream()), d.GetRevision())
			if d.GetMemberId() == 0 {
				a.Message = fmt.Sprintf("the members' %s differ, and none has a majority: %s", where, d.GetDescription())
				a.Advice = "nobody was stopped; compare the members with `heliosmeta check` and test their memory, then give the wrong one an empty directory"
			} else {
				a.Message = fmt.Sprintf("the %s differ, member %d from a majority: %s", where, d.GetMemberId(), d.GetDescription())
				a.Advice = fmt.Sprintf("member %d is rebuilt from the others; test the memory of its machine, and report this with its log if that is sound", d.GetMemberId())
			}
			alarms = append(alarms, a)
		}
	}
	return alarms
}
