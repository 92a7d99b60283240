package events

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of Batch.
const (
	batchStream         protowire.Number = 1
	batchCluster        protowire.Number = 2
	batchRecoveryEpoch  protowire.Number = 3
	batchTerm           protowire.Number = 4
	batchPreviousDigest protowire.Number = 5
	batchFeatureLevel   protowire.Number = 6
	batchChanges        protowire.Number = 15
)

// Batch is the content of one log entry: the changes that a leader proposed
// together, and the fence that they were decided behind. It takes effect only
// if Term is the entry's own term and Previous the stream's digest.
type Batch struct {
	Stream        metadatav1.Stream
	Cluster       ClusterID
	RecoveryEpoch uint64
	Term          uint64
	Previous      Digest // digest of the stream before the first change
	FeatureLevel  uint32 // the highest that the changes need; 0 is encoded as the highest of Changes
	Changes       []*Change
}

// Encode returns the batch as it goes into the log.
func (b *Batch) Encode() []byte {
	size := 96
	level := b.FeatureLevel
	for _, c := range b.Changes {
		size += len(c.raw) + 8
		level = max(level, c.level)
	}
	raw := make([]byte, 0, size)
	raw = appendUint(raw, batchStream, uint64(b.Stream))
	raw = protowire.AppendTag(raw, batchCluster, protowire.BytesType)
	raw = protowire.AppendBytes(raw, b.Cluster[:])
	raw = appendUint(raw, batchRecoveryEpoch, b.RecoveryEpoch)
	raw = appendUint(raw, batchTerm, b.Term)
	raw = protowire.AppendTag(raw, batchPreviousDigest, protowire.BytesType)
	raw = protowire.AppendBytes(raw, b.Previous[:])
	raw = appendUint(raw, batchFeatureLevel, uint64(level))
	for _, c := range b.Changes {
		raw = protowire.AppendTag(raw, batchChanges, protowire.BytesType)
		raw = protowire.AppendBytes(raw, c.raw)
	}
	return raw
}

// appendUint appends a field unless it is 0, as proto3 has it.
func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// DecodeBatch reads what Encode wrote. It keeps references into raw. The changes
// of a batch follow each other without gaps and belong to its stream. The error
// is an [*UnsupportedError] or a [*CorruptError].
func DecodeBatch(raw []byte) (*Batch, error) {
	b := new(Batch)
	encoded := make([]Change, 0, countChanges(raw)) // all at once: they come and go together
	encoded, err := b.scan(raw, encoded)
	if err != nil {
		return nil, err
	}
	if b.FeatureLevel > FeatureLevel {
		return nil, &UnsupportedError{What: fmt.Sprintf("feature level %d of a batch", b.FeatureLevel)}
	}
	if len(encoded) == 0 {
		return nil, corrupt("batch", "it has no changes")
	}
	b.Changes = make([]*Change, len(encoded))
	for i := range encoded {
		c := &encoded[i]
		if err := c.decode(c.raw); err != nil {
			return nil, err
		}
		if c.Stream() != b.Stream || c.level > b.FeatureLevel {
			return nil, corrupt("batch", "change %d of %v at level %d in a batch of %v at level %d",
				c.Revision(), c.Stream(), c.level, b.Stream, b.FeatureLevel)
		}
		if i > 0 && c.Revision() != b.Changes[i-1].Revision()+1 {
			return nil, corrupt("batch", "change %d follows change %d", c.Revision(), b.Changes[i-1].Revision())
		}
		b.Changes[i] = c
	}
	return b, nil
}

// SplitBatch is [DecodeBatch] for those who pass changes on: it reads the fence and returns the
// bytes of the changes, references into raw, without looking into them. The batch has none of
// them.
func SplitBatch(raw []byte) (b *Batch, changes [][]byte, err error) {
	b = new(Batch)
	encoded, err := b.scan(raw, make([]Change, 0, countChanges(raw)))
	if err != nil {
		return nil, nil, err
	}
	changes = make([][]byte, len(encoded))
	for i := range encoded {
		changes[i] = encoded[i].raw
	}
	return b, changes, nil
}

// countChanges returns how many changes a batch has; it need not be exact for what
// is no batch.
func countChanges(raw []byte) int {
	count := 0
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		m := 0
		if n >= 0 {
			m = protowire.ConsumeFieldValue(num, typ, raw[n:])
		}
		if n < 0 || m < 0 {
			break
		}
		if num == batchChanges {
			count++
		}
		raw = raw[n+m:]
	}
	return count
}

// scan reads the fence and appends the changes, which have only their bytes yet.
func (b *Batch) scan(raw []byte, encoded []Change) ([]Change, error) {
	var seen uint64
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, corrupt("batch", "bad tag at byte %d", len(raw)-len(rest))
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return nil, corrupt("batch", "bad value of field %d", num)
		}
		var number uint64
		var bytes []byte
		switch typ {
		case protowire.VarintType:
			number, _ = protowire.ConsumeVarint(rest[n:])
		case protowire.BytesType:
			bytes, _ = protowire.ConsumeBytes(rest[n:])
		}
		if num == batchChanges && typ == protowire.BytesType {
			encoded = append(encoded, Change{raw: bytes})
		} else if err := b.set(num, typ, number, bytes); err != nil {
			return nil, err
		}
		seen |= 1 << min(num, 63)
		rest = rest[n+m:]
	}
	if seen&(1<<batchCluster) == 0 || seen&(1<<batchPreviousDigest) == 0 {
		return nil, corrupt("batch", "it names no cluster or no digest")
	}
	return encoded, nil
}

// set stores one field of the fence.
func (b *Batch) set(num protowire.Number, typ protowire.Type, number uint64, bytes []byte) error {
	want := protowire.VarintType
	switch num {
	case batchStream:
		b.Stream = metadatav1.Stream(number)
	case batchCluster:
		want = protowire.BytesType
		if copy(b.Cluster[:], bytes) != len(bytes) || len(bytes) != len(b.Cluster) {
			return corrupt("batch", "a cluster id of %d bytes", len(bytes))
		}
	case batchRecoveryEpoch:
		b.RecoveryEpoch = number
	case batchTerm:
		b.Term = number
	case batchPreviousDigest:
		want = protowire.BytesType
		if copy(b.Previous[:], bytes) != len(bytes) || len(bytes) != len(b.Previous) {
			return corrupt("batch", "a digest of %d bytes", len(bytes))
		}
	case batchFeatureLevel:
		b.FeatureLevel = uint32(min(number, 1<<32-1))
	case batchChanges:
		want = protowire.BytesType
	default:
		return &UnsupportedError{What: fmt.Sprintf("field %d of a batch", num)}
	}
	if typ != want {
		return corrupt("batch", "field %d has wire type %d", num, typ)
	}
	return nil
}
