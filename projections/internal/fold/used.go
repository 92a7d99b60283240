package fold

import (
	"fmt"

	"github.com/heliosdb/metadata/internal/idset"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// rangesPerRecord bounds the size of a record of used ids.
const rangesPerRecord = 4096

// ExportUsed yields the records of a set of used ids.
func ExportUsed(kind metadatav1.IdKind, ids idset.Set, yield func(record []byte) error) error {
	used := &metadatav1.UsedIds{Kind: kind}
	flush := func() error {
		record := Marshal(&metadatav1.CheckpointRecord{
			Record: &metadatav1.CheckpointRecord_UsedIds{UsedIds: used},
		})
		used.Ranges = used.Ranges[:0]
		return yield(record)
	}
	for r := range ids.Ranges() {
		used.Ranges = append(used.Ranges, &metadatav1.IdRange{First: r.First, Last: r.Last})
		if len(used.Ranges) == rangesPerRecord {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(used.Ranges) == 0 {
		return nil
	}
	return flush()
}

// ImportUsed adds a record's ranges to a set.
func ImportUsed(to *idset.Set, from *metadatav1.UsedIds) error {
	for _, r := range from.GetRanges() {
		if r.GetFirst() > r.GetLast() {
			return fmt.Errorf("used ids %d to %d run backwards", r.GetFirst(), r.GetLast())
		}
		to.AddRange(idset.Range{First: r.GetFirst(), Last: r.GetLast()})
	}
	return nil
}
