package backfill

import (
	"errors"
	"fmt"
	"math"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// Serve reads what another member asks for: nothing if the storage lacks it.
func Serve(s raftlog.Storage, g raftlog.GroupID, below uint64, maxBytes int) ([]raftlog.Past, error) {
	past, err := s.ReadHistoryBefore(g, below, min(maxBytes, MaxPartBytes))
	if _, lacks := errors.AsType[*raftlog.GapError](err); lacks {
		return nil, nil
	}
	return past, err
}

// Encode returns a part as it crosses between members. It shares the bytes.
func Encode(past []raftlog.Past) *metadatav1.HistoryPart {
	part := &metadatav1.HistoryPart{Records: make([]*metadatav1.HistoryRecord, 0, len(past))}
	for _, p := range past {
		part.Records = append(part.Records, &metadatav1.HistoryRecord{
			FirstRevision: p.First, LastRevision: p.Last, Index: p.Entry, Term: p.Term, Content: p.Content, Data: p.Data,
		})
	}
	return part
}

// Decode reads what Encode returned. It shares the bytes, and checks nothing.
func Decode(part *metadatav1.HistoryPart) []raftlog.Past {
	past := make([]raftlog.Past, 0, len(part.GetRecords()))
	for _, r := range part.GetRecords() {
		past = append(past, raftlog.Past{
			Record: raftlog.Record{First: r.GetFirstRevision(), Last: r.GetLastRevision(), Entry: r.GetIndex(), Data: r.GetData()},
			Term:   r.GetTerm(), Content: r.GetContent(),
		})
	}
	return past
}

// check returns what of a part belongs into a gap, and what is missing when it is there:
// from the newest record to the oldest, each has to lead to what is known. What lies in
// front of the gap or below the floor is left out.
func check(o Options, gap Gap, floor uint64, past []raftlog.Past) (fits []raftlog.Past, left Gap, err error) {
	size := 0
	for i := range past {
		size += len(past[i].Content)
	}
	if len(past) > 1 && size > MaxPartBytes {
		return nil, gap, fmt.Errorf("backfill: a part of %d bytes in %d records; at most MaxPartBytes (%d) were asked for", size, len(past), MaxPartBytes)
	}
	left = gap
	entry := uint64(math.MaxUint64)
	from := len(past)
	for ; from > 0 && !left.none() && left.Last >= floor; from-- {
		r := &past[from-1]
		previous, err := checkRecord(o, left, r)
		if err == nil && r.Entry >= entry {
			err = fmt.Errorf("it is in entry %d, what follows in entry %d", r.Entry, entry)
		}
		if err != nil {
			return nil, gap, fmt.Errorf("backfill: %s stream, record of revisions %d to %d: %w", events.StreamName(o.Origin.Stream), r.First, r.Last, err)
		}
		entry, left.Last, left.Digest = r.Entry, r.First-1, previous
	}
	return past[from:], left, nil
}

// checkRecord returns the digest of the stream before a record that ends a gap.
func checkRecord(o Options, gap Gap, r *raftlog.Past) (previous events.Digest, err error) {
	if r.Last != gap.Last || r.First < gap.First {
		return previous, fmt.Errorf("what is missing is %d to %d", gap.First, gap.Last)
	}
	past, err := replica.DecodePast(r)
	if err != nil {
		return previous, err
	}
	if past.Stream != o.Origin.Stream || past.Cluster != o.Origin.Cluster || past.RecoveryEpoch > o.Origin.RecoveryEpoch {
		return previous, fmt.Errorf("it belongs to the %s stream of cluster %s, recovery epoch %d", events.StreamName(past.Stream), past.Cluster, past.RecoveryEpoch)
	}
	digest := past.Previous
	for _, c := range past.Changes {
		digest = digest.Next(c.Raw())
	}
	if digest != gap.Digest || past.Digest != gap.Digest {
		return previous, fmt.Errorf("its changes lead to digest %s and it says %s; revision %d has %s", digest, past.Digest, r.Last, gap.Digest)
	}
	return past.Previous, nil
}
