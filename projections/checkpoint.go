package projections

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// CheckpointFormat is the version of the record format that this build writes
// and reads.
const CheckpointFormat = 1

func damaged(format string, args ...any) error {
	return fmt.Errorf("a checkpoint is damaged: "+format, args...)
}

// Export yields the records of a checkpoint: an encoded CheckpointHead, then
// encoded CheckpointRecords. Equal states yield equal bytes. A record is valid
// until yield returns. It stops at the first error, which it returns. It may run
// beside anything, for as long as it takes.
func (s *State[D]) Export(yield func(record []byte) error) error {
	head := &metadatav1.CheckpointHead{
		Format:            CheckpointFormat,
		Stream:            s.Head.Stream,
		ClusterId:         s.Head.Cluster[:],
		RecoveryEpoch:     s.Head.RecoveryEpoch,
		Revision:          s.Head.Revision,
		Digest:            s.Head.Digest[:],
		FeatureLevel:      s.Head.FeatureLevel,
		ForgottenRevision: s.Requests.forgotten,
	}
	if !s.Head.Time.IsZero() {
		head.Time = timestamppb.New(s.Head.Time)
	}
	if err := yield(fold.Marshal(head)); err != nil {
		return err
	}
	if err := s.Model.Export(yield); err != nil {
		return err
	}
	return s.Requests.export(yield)
}

// Hash returns the model hash: SHA-256 over the export, each record after its
// length as uint64, big endian. Members at the same revision, level and
// CheckpointFormat have the same hash.
func (s *State[D]) Hash() [sha256.Size]byte {
	h := sha256.New()
	var length [8]byte
	_ = s.Export(func(record []byte) error { // cannot fail: this yield does not
		binary.BigEndian.PutUint64(length[:], uint64(len(record)))
		h.Write(length[:])
		h.Write(record)
		return nil
	})
	return [sha256.Size]byte(h.Sum(nil))
}

// Import returns the state that a checkpoint holds, given the records that
// Export yielded. The checkpoint has to be of the receiver's stream, cluster and
// recovery epoch; nothing else of the receiver counts. A record has to be valid
// until the next is asked for. A checkpoint of a newer format or feature level is
// an [*events.UnsupportedError]. Objects are not looked into, see [State.Verify].
func (s *State[D]) Import(records iter.Seq2[[]byte, error]) (*State[D], error) {
	next := &State[D]{Requests: newRequests()}
	restorer := s.Model.Restorer()
	first := true
	for record, err := range records {
		switch {
		case err != nil:
			return nil, err
		case first:
			err = next.importHead(record, s.Head)
			first = false
		case isRequest(record):
			err = next.Requests.restore(record, next.Head)
		default:
			err = restorer.Restore(record)
		}
		if err != nil {
			return nil, err
		}
	}
	if first {
		return nil, damaged("it is empty")
	}
	model, err := restorer.Done()
	if err != nil {
		return nil, err
	}
	next.Model = model
	next.Requests.freeze()
	return next, nil
}

// ReadHead reads the first record of a checkpoint.
func ReadHead(record []byte) (Head, error) {
	h, _, err := readHead(record)
	return h, err
}

func readHead(record []byte) (h Head, forgotten uint64, err error) {
	var m metadatav1.CheckpointHead
	if err := proto.Unmarshal(record, &m); err != nil {
		return h, 0, damaged("its head: %v", err)
	}
	switch {
	case m.Format > CheckpointFormat:
		return h, 0, &events.UnsupportedError{What: fmt.Sprintf("checkpoint format %d", m.Format)}
	case m.FeatureLevel > events.FeatureLevel:
		return h, 0, &events.UnsupportedError{What: fmt.Sprintf("feature level %d of a checkpoint", m.FeatureLevel)}
	case m.Format == 0 || len(m.ClusterId) != len(h.Cluster) || len(m.Digest) != len(h.Digest):
		return h, 0, damaged("its head has format %d, a cluster id of %d bytes, a digest of %d bytes",
			m.Format, len(m.ClusterId), len(m.Digest))
	}
	h = Head{
		Stream:        m.Stream,
		Cluster:       events.ClusterID(m.ClusterId),
		RecoveryEpoch: m.RecoveryEpoch,
		Revision:      m.Revision,
		Digest:        events.Digest(m.Digest),
		FeatureLevel:  m.FeatureLevel,
	}
	if m.Time != nil {
		h.Time = m.Time.AsTime()
	}
	return h, m.ForgottenRevision, nil
}

func (s *State[D]) importHead(record []byte, want Head) error {
	h, forgotten, err := readHead(record)
	if err != nil {
		return err
	}
	if h.Stream != want.Stream || h.Cluster != want.Cluster || h.RecoveryEpoch != want.RecoveryEpoch {
		return fmt.Errorf("the checkpoint is of %v, cluster %v, recovery epoch %d; want %v, cluster %v, recovery epoch %d",
			h.Stream, h.Cluster, h.RecoveryEpoch, want.Stream, want.Cluster, want.RecoveryEpoch)
	}
	s.Head = h
	s.Requests.forgotten = forgotten
	return nil
}

func isRequest(record []byte) bool {
	num, _, _, err := fold.SplitRecord(record)
	return err == nil && num == fold.RecordRequest
}

// restore remembers a change from a checkpoint with this head.
func (r *Requests) restore(record []byte, head Head) error {
	_, _, value, err := fold.SplitRecord(record)
	if err != nil {
		return err
	}
	c, err := events.DecodeChange(bytes.Clone(value))
	if err != nil {
		return err
	}
	if c.Stream() != head.Stream || c.Revision() <= r.newest() || c.Revision() > head.Revision || c.RequestID() == "" {
		return damaged("change %d of %v is remembered out of place", c.Revision(), c.Stream())
	}
	r.put(c)
	return nil
}
