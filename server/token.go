package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// listing is an rpc that answers in pages. The numbers are in tokens that
// clients hold: they never change.
type listing byte

const (
	listNamespaces listing = 1
	listTables     listing = 2
	listNodes      listing = 3
	listShards     listing = 4
	getTopology    listing = 5
	listTablesAsOf listing = 6
	topologyAsOf   listing = 7
	diffRevisions  listing = 8
	objectLog      listing = 9
	readChanges    listing = 10
)

const (
	tokenVersion = 1
	filterBytes  = 8
	sumBytes     = 8
	clusterBytes = len(events.ClusterID{})
	tokenFixed   = 2 + clusterBytes + filterBytes
)

// token says where a list goes on: behind cursor, at the revision of the first
// page, for the same filter. To clients it is opaque; its checksum is against
// accidents, not against forgery: it gives access to nothing.
type token struct {
	rpc      listing
	cluster  events.ClusterID
	epoch    uint64 // recovery epoch
	revision uint64
	filter   [filterBytes]byte
	cursor   []byte // key of the last object that was listed
}

// filterHash makes a list's filter part of its tokens.
func filterHash(filter ...[]byte) (h [filterBytes]byte) {
	var all []byte
	for _, part := range filter {
		all = binary.AppendUvarint(all, uint64(len(part)))
		all = append(all, part...)
	}
	sum := sha256.Sum256(all)
	copy(h[:], sum[:])
	return h
}

func (t *token) encode() string {
	raw := append([]byte{tokenVersion, byte(t.rpc)}, t.cluster[:]...)
	raw = append(raw, t.filter[:]...)
	raw = binary.AppendUvarint(raw, t.epoch)
	raw = binary.AppendUvarint(raw, t.revision)
	raw = append(raw, t.cursor...)
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(append(raw, sum[:sumBytes]...))
}

// parseToken reads a token of one rpc; the empty text is no token. It refuses
// damaged tokens and those of another rpc or filter.
func parseToken(text string, rpc listing, filter [filterBytes]byte) (*token, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < tokenFixed+sumBytes {
		return nil, badToken("is not one that this service gave; begin without a token")
	}
	raw, sum := raw[:len(raw)-sumBytes], raw[len(raw)-sumBytes:]
	if want := sha256.Sum256(raw); !bytes.Equal(sum, want[:sumBytes]) {
		return nil, badToken("is damaged; begin without a token")
	}
	if raw[0] != tokenVersion {
		return nil, badToken("is of another version of the service; begin without a token")
	}
	t := &token{rpc: listing(raw[1])}
	raw = raw[2:]
	raw = raw[copy(t.cluster[:], raw):]
	raw = raw[copy(t.filter[:], raw):]
	for _, number := range []*uint64{&t.epoch, &t.revision} {
		value, n := binary.Uvarint(raw)
		if n <= 0 {
			return nil, badToken("is damaged; begin without a token")
		}
		*number, raw = value, raw[n:]
	}
	t.cursor = raw
	if t.rpc != rpc || t.filter != filter {
		return nil, badToken("belongs to another list; repeat the request that it came from with nothing else changed")
	}
	return t, nil
}

func badToken(description string) *failure.Error {
	return failure.InvalidField("page_token", "%s", description)
}

// pageGone says that a list cannot go on at its revision.
func pageGone(stream metadatav1.Stream, revision uint64) *failure.Error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_PAGE_REVISION_GONE,
		"this member no longer has revision %d of the %s, at which the list began; list again",
		revision, events.StreamName(stream))
}
