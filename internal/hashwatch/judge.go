package hashwatch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// difference is what makes two sightings one.
type difference struct {
	stream           metadatav1.Stream
	revision, member uint64
}

func differenceOf(d *metadatav1.Divergence) difference {
	return difference{d.GetStream(), d.GetRevision(), d.GetMemberId()}
}

type divergence struct {
	*metadatav1.Divergence
	last uint64 // round in which it was seen
}

// ballot is one member's vote at a place.
type ballot struct {
	member uint64
	vote
}

// needed is how many members have to agree to be right against another one: a
// majority of all, and never a single one.
func (w *Watch) needed() int { return max(2, len(w.o.Members)/2+1) }

// judge compares own checkpoints with what the others have reported.
func (w *Watch) judge() (out Output) {
	for _, c := range w.current() {
		at := placeOf(c)
		ballots := w.ballots(at, c)
		differing := w.differing(ballots)
		if differing == nil {
			continue
		}
		description := describe(ballots)
		for _, id := range differing {
			d := &metadatav1.Divergence{Stream: at.stream, Revision: at.revision, MemberId: id, Description: description}
			if w.note(d) {
				out.Alarms = append(out.Alarms, d)
			}
		}
		if out.Condemned == "" && slices.Contains(differing, w.o.Member) {
			out.Condemned = fmt.Sprintf("its checkpoint of the %s at revision %d differs from a majority's (%s): corrupt memory, or a bug",
				streamName(at.stream), at.revision, description)
		}
	}
	return out
}

func streamName(s metadatav1.Stream) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STREAM_")) + " stream"
}

// ballots returns what is said of a place, by member.
func (w *Watch) ballots(at place, own *metadatav1.CheckpointHash) []ballot {
	all := []ballot{{w.o.Member, vote{hash: string(own.GetHash()), build: own.GetBuild()}}}
	for _, id := range slices.Sorted(maps.Keys(w.peers)) {
		if v, ok := w.peers[id].votes[at]; ok && !v.torn {
			all = append(all, ballot{id, v})
		}
	}
	slices.SortFunc(all, func(a, b ballot) int { return cmp.Compare(a.member, b.member) })
	return all
}

// differing returns the members that differ from enough others of their own build; 0
// stands for a difference of which nobody can say who is wrong. Nil: all agree.
func (w *Watch) differing(ballots []ballot) (members []uint64) {
	right, build, ok := w.right(ballots)
	nobody := false
	for _, b := range ballots {
		switch {
		case ok && b.hash == right:
		case !ok && b.hash == ballots[0].hash:
		case ok && b.build == build:
			members = append(members, b.member)
		default:
			nobody = true
		}
	}
	if nobody && len(members) == 0 {
		return []uint64{0}
	}
	return members
}

// right returns the hash that enough members of one known build agree on.
func (w *Watch) right(ballots []ballot) (hash, build string, ok bool) {
	for _, b := range ballots {
		n := 0
		for _, other := range ballots {
			if !other.past && other.hash == b.hash && other.build == b.build {
				n++
			}
		}
		if b.build != "" && n >= w.needed() {
			return b.hash, b.build, true
		}
	}
	return "", "", false
}

// describe says who has which hash, and of which build if they differ.
func describe(ballots []ballot) string {
	type side struct{ hash, build string }
	sides := make(map[side][]uint64)
	builds := make(map[string]bool)
	for _, b := range ballots {
		s := side{b.hash, b.build}
		sides[s] = append(sides[s], b.member)
		builds[b.build] = true
	}
	keys := slices.SortedFunc(maps.Keys(sides), func(a, b side) int {
		return cmp.Or(-cmp.Compare(len(sides[a]), len(sides[b])), cmp.Compare(a.hash, b.hash), cmp.Compare(a.build, b.build))
	})
	var parts []string
	for _, s := range keys {
		part := fmt.Sprintf("members %s have %.8x", strings.Trim(fmt.Sprint(sides[s]), "[]"), s.hash)
		if len(builds) > 1 {
			part += fmt.Sprintf(" by build %q", s.build)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// note remembers a difference; true if it is new. One of which it was known who differs
// stays known when a witness is gone.
func (w *Watch) note(d *metadatav1.Divergence) bool {
	key := differenceOf(d)
	if key.member != 0 {
		delete(w.found, difference{key.stream, key.revision, 0})
	} else if w.named(key) {
		return false
	}
	fresh := w.found[key] == nil
	w.found[key] = &divergence{d, w.round}
	if fresh {
		w.total++
		w.forgetOldest(key.member)
	}
	return fresh
}

// named reports whether it is known who differs.
func (w *Watch) named(key difference) bool {
	for _, id := range w.o.Members {
		if w.found[difference{key.stream, key.revision, id}] != nil {
			return true
		}
	}
	return false
}

// forgetOldest keeps what is remembered of a member within its limit.
func (w *Watch) forgetOldest(member uint64) {
	var of []*divergence
	for _, d := range w.found {
		if d.GetMemberId() == member {
			of = append(of, d)
		}
	}
	if len(of) <= MaxDivergences {
		return
	}
	oldest := slices.MinFunc(of, func(a, b *divergence) int {
		return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.GetRevision(), b.GetRevision()), cmp.Compare(a.GetStream(), b.GetStream()))
	})
	delete(w.found, differenceOf(oldest.Divergence))
}

// expire forgets differences that have been gone for long.
func (w *Watch) expire() {
	maps.DeleteFunc(w.found, func(_ difference, d *divergence) bool { return w.round-d.last > keepDivergence })
}

// Found returns the differences of the last time, oldest revision first.
func (w *Watch) Found() []*metadatav1.Divergence {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*metadatav1.Divergence
	for _, d := range w.found {
		all = append(all, d.Divergence)
	}
	slices.SortFunc(all, func(a, b *metadatav1.Divergence) int {
		return cmp.Or(cmp.Compare(a.GetStream(), b.GetStream()), cmp.Compare(a.GetRevision(), b.GetRevision()), cmp.Compare(a.GetMemberId(), b.GetMemberId()))
	})
	return all
}

// Total returns how many differences were seen since the start.
func (w *Watch) Total() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
