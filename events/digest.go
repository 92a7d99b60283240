package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ClusterID names a cluster: the hash of how it was founded.
type ClusterID [16]byte

// String returns the id as 32 hexadecimal digits.
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

// ParseClusterID reads what String wrote.
func ParseClusterID(s string) (ClusterID, error) {
	var c ClusterID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(c) {
		return c, fmt.Errorf("cluster id %q: want %d hexadecimal digits", s, 2*len(c))
	}
	copy(c[:], b)
	return c, nil
}

// Digest is the running SHA-256 of a stream. The digest after a change covers
// all changes up to it, their order and the stream's identity.
type Digest [sha256.Size]byte

// digestDomain keeps the chain's hashes apart from any other use of SHA-256. It
// is part of the format.
const digestDomain = "heliosdb.metadata.v1.digest"

// FirstDigest returns the digest of a stream without changes:
// H(domain, cluster id, stream as uint32, big endian).
func FirstDigest(c ClusterID, s metadatav1.Stream) Digest {
	var buf [len(digestDomain) + len(c) + 4]byte
	n := copy(buf[:], digestDomain)
	n += copy(buf[n:], c[:])
	binary.BigEndian.PutUint32(buf[n:], uint32(s))
	return sha256.Sum256(buf[:])
}

// Next returns the digest after one more change, given as logged:
// H(digest before, length as uint64, big endian, bytes).
func (d Digest) Next(change []byte) Digest {
	var head [len(d) + 8]byte
	copy(head[:], d[:])
	binary.BigEndian.PutUint64(head[len(d):], uint64(len(change)))
	h := sha256.New()
	h.Write(head[:])
	h.Write(change)
	var next Digest
	h.Sum(next[:0])
	return next
}

// String returns the digest as hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }
