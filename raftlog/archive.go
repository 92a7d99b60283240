package raftlog

import (
	"cmp"
	"fmt"
	"slices"
)

// WithCurrent adds a checkpoint to the current ones, which are in the order of their index. Older ones
// are replaced by it, but for the newest KeepCheckpoints-1. Those that are not older go: the member has passed
// them over, as they are damaged, or it would not have come to make this one. It does not change what it
// is given.
func WithCurrent(current []Descriptor, d Descriptor) (kept, replaced, passedOver []Descriptor) {
	at, _ := slices.BinarySearchFunc(current, d, byIndex)
	kept = append(slices.Clone(current[:at]), d)
	older := max(0, len(kept)-KeepCheckpoints)
	return kept[older:], kept[:older:older], current[at:]
}

// Archive adds a replaced checkpoint to the archived ones, which are in the order of their
// index. While there are more than KeepArchived it drops the one whose neighbours are closest
// to each other in the sequence, the older one of two; the first, the last and the new one stay. So
// they are spread over the sequence, and no revision is far from one; and one that was made because
// history is to be trimmed behind it is there when it is. It does not change what it is given.
func Archive(archived []Descriptor, d Descriptor) (kept, dropped []Descriptor) {
	if d.Index == GenesisIndex { // it has no bytes, and needs no file
		return archived, nil
	}
	at, there := slices.BinarySearchFunc(archived, d, byIndex)
	kept = slices.Clone(archived)
	if there {
		kept[at] = d
	} else {
		kept = slices.Insert(kept, at, d)
	}
	for len(kept) > KeepArchived {
		closest := 0
		for i := 1; i < len(kept)-1; i++ {
			if kept[i].Index == d.Index {
				continue
			}
			if closest == 0 || kept[i+1].Seq-kept[i-1].Seq < kept[closest+1].Seq-kept[closest-1].Seq {
				closest = i
			}
		}
		dropped = append(dropped, kept[closest])
		kept = slices.Delete(kept, closest, closest+1)
	}
	return kept, dropped
}

// ThinArchive drops one archived checkpoint because its room is needed: the one whose neighbours
// are closest to each other in the sequence, or else the last. The first one stays: what is left of a
// trimmed history may be read from there. So does the one at index base (0: there is none): what lies
// before it is about to be trimmed, which makes more room.
func ThinArchive(archived []Descriptor, base uint64) (kept, dropped []Descriptor) {
	closest, last := 0, len(archived)-1
	for i := 1; i < last; i++ {
		if archived[i].Index == base {
			continue
		}
		if closest == 0 || archived[i+1].Seq-archived[i-1].Seq < archived[closest+1].Seq-archived[closest-1].Seq {
			closest = i
		}
	}
	if closest == 0 && last > 0 && archived[last].Index != base {
		closest = last
	}
	if closest == 0 {
		return archived, nil
	}
	return slices.Delete(slices.Clone(archived), closest, closest+1), []Descriptor{archived[closest]}
}

func byIndex(a, b Descriptor) int { return cmp.Compare(a.Index, b.Index) }

// TrimArchive parts archived checkpoints from those that no sequence from below on can be
// read with: a model behind sequence below-1 or later is kept.
func TrimArchive(archived []Descriptor, below uint64) (kept, dropped []Descriptor) {
	for _, d := range archived {
		if d.Seq < below-min(below, 1) {
			dropped = append(dropped, d)
		} else {
			kept = append(kept, d)
		}
	}
	return kept, dropped
}

// FitArchived checks the descriptor of a checkpoint that was made while the past was read:
// it lies before the newest current one, in index and sequence in order with all others.
func FitArchived(d Descriptor, current, archived []Descriptor) error {
	newest := current[len(current)-1]
	if d.Index <= GenesisIndex || d.Index >= newest.Index {
		return fmt.Errorf("raftlog: group %d: a checkpoint at index %d is not one of the past: the newest is at %d", d.Group, d.Index, newest.Index)
	}
	for _, o := range slices.Concat(archived, current) {
		switch {
		case d.Index == o.Index:
			return fmt.Errorf("raftlog: group %d, index %d: %w", d.Group, d.Index, ErrArchived)
		case d.Index < o.Index && d.Seq > o.Seq, d.Index > o.Index && d.Seq < o.Seq:
			return fmt.Errorf("raftlog: group %d: a checkpoint of sequence %d at index %d does not fit one of %d at %d", d.Group, d.Seq, d.Index, o.Seq, o.Index)
		}
	}
	return nil
}
