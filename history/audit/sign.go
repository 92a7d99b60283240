package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// signedDomain keeps the signatures apart from any other use of a key. It is part of the
// format.
const signedDomain = "heliosdb.metadata.v1.head"

// HeadError says what is wrong with a signed head.
type HeadError struct {
	Head   *metadatav1.SignedHead
	Reason string
}

// Error names the head and says what is wrong.
func (e *HeadError) Error() string {
	return fmt.Sprintf("the signed head of the %s stream at revision %d: %s",
		events.StreamName(e.Head.GetStream()), e.Head.GetRevision(), e.Reason)
}

func headError(head *metadatav1.SignedHead, format string, args ...any) error {
	return &HeadError{head, fmt.Sprintf(format, args...)}
}

// The times that nanoseconds since 1970 reach.
var (
	minTime = time.Unix(0, math.MinInt64)
	maxTime = time.Unix(0, math.MaxInt64)
)

// SignedBytes returns what the signature of a head covers. The error is a [*HeadError] if
// the head says too little to be signed.
func SignedBytes(cluster events.ClusterID, recoveryEpoch uint64, head *metadatav1.SignedHead) ([]byte, error) {
	if head.GetStream() == metadatav1.Stream_STREAM_UNSPECIFIED {
		return nil, headError(head, "it names no stream")
	}
	if head.GetRevision() == 0 {
		return nil, headError(head, "it has no revision: there is nothing to sign")
	}
	if n := len(head.GetDigest()); n != len(events.Digest{}) {
		return nil, headError(head, "its digest has %d bytes instead of %d", n, len(events.Digest{}))
	}
	if at := head.GetTime(); at.CheckValid() != nil || at.AsTime().Before(minTime) || at.AsTime().After(maxTime) {
		return nil, headError(head, "it has no time between %v and %v", minTime.UTC(), maxTime.UTC())
	}
	b := append([]byte(signedDomain), cluster[:]...)
	b = binary.BigEndian.AppendUint64(b, recoveryEpoch)
	b = binary.BigEndian.AppendUint32(b, uint32(head.Stream))
	b = binary.BigEndian.AppendUint64(b, head.Revision)
	b = append(b, head.Digest...)
	return binary.BigEndian.AppendUint64(b, uint64(head.Time.AsTime().UnixNano())), nil
}

// Sign returns a head with the id of the key and the signature. The head itself, of which
// both are ignored, is not changed. The error is a [*HeadError].
func Sign(private ed25519.PrivateKey, cluster events.ClusterID, recoveryEpoch uint64, head *metadatav1.SignedHead) (*metadatav1.SignedHead, error) {
	text, err := SignedBytes(cluster, recoveryEpoch, head)
	if err != nil {
		return nil, err
	}
	signed := proto.CloneOf(head)
	signed.KeyId, signed.Signature = KeyID(Public(private)), ed25519.Sign(private, text)
	return signed, nil
}

// Check reports whether a head was signed with the private key of a public one for this
// cluster and recovery epoch. The error is a [*HeadError].
func Check(public ed25519.PublicKey, cluster events.ClusterID, recoveryEpoch uint64, head *metadatav1.SignedHead) error {
	text, err := SignedBytes(cluster, recoveryEpoch, head)
	switch {
	case err != nil:
		return err
	case len(public) != ed25519.PublicKeySize:
		return headError(head, "the public key has %d bytes instead of %d", len(public), ed25519.PublicKeySize)
	case !bytes.Equal(head.KeyId, KeyID(public)):
		return headError(head, "it was signed with the key %x, not with %x", head.KeyId, KeyID(public))
	case !ed25519.Verify(public, text, head.Signature):
		return headError(head, "its signature is not that of the key %x for cluster %v, recovery epoch %d", head.KeyId, cluster, recoveryEpoch)
	}
	return nil
}
