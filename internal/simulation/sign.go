package simulation

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// auditActor is the actor of signed heads in the history.
const auditActor = "heliosmeta/audit"

// auditKey is the key that all members have.
var auditKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// signer signs the heads of the streams that positions cover, as package member does: all
// members follow the schedule, the service stream's leader signs.
type signer struct {
	m         *member
	schedules map[metadatav1.Stream]*audit.Schedule
}

func newSigner(m *member) *signer {
	s := &signer{m: m, schedules: map[metadatav1.Stream]*audit.Schedule{}}
	for _, id := range positioned {
		s.schedules[id] = audit.NewSchedule(m.w.plan.signing)
	}
	return s
}

// tick signs what is due.
func (s *signer) tick() {
	r := s.m.run
	for _, id := range positioned {
		signed, head := uint64(0), r.of(id).head()
		if newest, ok := r.service.replica.View().Model.NewestSignedHead(id); ok {
			signed = newest.Revision()
		}
		due, _ := s.schedules[id].Due(signed, head.Revision, s.m.feedTime())
		if due && r.service.softState().Leader == s.m.id {
			s.sign(head)
		}
	}
}

// sign signs a head and has it kept.
func (s *signer) sign(head projections.Head) {
	made, err := audit.Sign(auditKey, head.Cluster, head.RecoveryEpoch, &metadatav1.SignedHead{
		Stream: head.Stream, Revision: head.Revision, Digest: head.Digest[:], Time: timestamppb.New(s.m.wall()),
	})
	if err != nil {
		s.m.w.violate("audit", "member %d cannot sign revision %d of the %s: %v", s.m.id, head.Revision, events.StreamName(head.Stream), err)
		return
	}
	s.m.run.service.submit(replica.Request{
		Command: &metadatav1.SignHead{Head: made},
		Env:     commands.Env{Now: s.m.wall(), Actor: auditActor, RequestID: s.m.w.newID()},
		Done:    func(replica.Answer) {},
	})
}

// signed checks each head that is kept, when the change is first applied: somebody with the
// key has signed it, and the stream had that digest there.
func (j *judge) signed(c *events.Change) {
	for _, e := range c.Events() {
		if e.Kind() != events.KindHeadSigned {
			continue
		}
		j.w.counts.add("heads signed", 1)
		head := e.Message().GetHeadSigned().GetHead()
		digests := j.chain(head.GetStream()).digests
		revision := head.GetRevision()
		switch {
		case revision == 0 || revision >= uint64(len(digests)):
			j.w.violate("audit", "revision %d of %s is signed, which nobody has applied", revision, head.GetStream())
		case !bytes.Equal(head.GetDigest(), digests[revision][:]):
			j.w.violate("audit", "revision %d of %s is signed with digest %x, the chain has %v", revision, head.GetStream(), head.GetDigest(), digests[revision])
		case !ed25519.Verify(audit.Public(auditKey), j.signedBytes(head), head.GetSignature()):
			j.w.violate("audit", "the signature of revision %d of %s is not genuine", revision, head.GetStream())
		}
	}
}

// signedBytes is what the contract says that a signature covers: written a second time, so
// that what is left out in package audit is noticed.
func (j *judge) signedBytes(head *metadatav1.SignedHead) []byte {
	b := append([]byte("heliosdb.metadata.v1.head"), j.w.cluster[:]...)
	b = binary.BigEndian.AppendUint64(b, recoveryEpoch)
	b = binary.BigEndian.AppendUint32(b, uint32(head.GetStream()))
	b = binary.BigEndian.AppendUint64(b, head.GetRevision())
	b = append(b, head.GetDigest()...)
	return binary.BigEndian.AppendUint64(b, uint64(head.GetTime().AsTime().UnixNano()))
}
