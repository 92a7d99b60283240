package commands

import (
	"crypto/ed25519"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// KeyIDBytes is how much of the hash of a public key names it.
const KeyIDBytes = 8

// signHead keeps a signed head. A member that signed an older revision meanwhile, or the
// same one, was too late.
func (d *serviceDraft) signHead(c *metadatav1.SignHead) error {
	in := c.GetHead()
	if err := checkSignedHead(in); err != nil {
		return within("head", err)
	}
	if newest, ok := d.NewestSignedHead(in.Stream); ok && in.Revision <= newest.Revision() {
		return nil
	}
	d.record(&metadatav1.Event{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{
		Head: &metadatav1.SignedHead{
			Stream:    in.Stream,
			Revision:  in.Revision,
			Digest:    in.Digest,
			Time:      copyTime(in.Time),
			KeyId:     in.KeyId,
			Signature: in.Signature,
		},
	}}})
	return nil
}

func checkSignedHead(h *metadatav1.SignedHead) error {
	if err := checkStream("stream", h.GetStream()); err != nil {
		return err
	}
	if h.Revision == 0 {
		return invalid("revision", "it is 0; a stream without changes has nothing to sign")
	}
	if err := checkBytes("digest", h.Digest, len(events.Digest{})); err != nil {
		return err
	}
	if err := checkTime("time", h.Time); err != nil {
		return err
	}
	// What is signed has the time in nanoseconds.
	if s := h.Time.Seconds; s < 0 || s >= math.MaxInt64/int64(time.Second) {
		return invalid("time", "%v lies outside of the years 1970 to 2261", h.Time.AsTime())
	}
	if err := checkBytes("key_id", h.KeyId, KeyIDBytes); err != nil {
		return err
	}
	return checkBytes("signature", h.Signature, ed25519.SignatureSize)
}

// trimHistory moves the beginning of a history forward. Unless it may, it passes no
// consumer but those that were passed before: the floor cannot be lowered to what the consumer needs, as its digest
// belongs to its revision, so nothing happens and the leader has to look again.
func (d *serviceDraft) trimHistory(c *metadatav1.TrimHistory) error {
	in := c.GetFloor()
	if err := checkFloor(in); err != nil {
		return within("floor", err)
	}
	if in.OldestRevision <= max(d.Floor(in.Stream).OldestRevision(), 1) {
		return nil
	}
	var passed []string
	for consumer := range d.Behind(in.Stream, in.OldestRevision) {
		if d.Passed(in.Stream, consumer) {
			continue
		}
		if !c.PassConsumers {
			return nil
		}
		passed = append(passed, consumer.Name())
	}
	d.record(&metadatav1.Event{Kind: &metadatav1.Event_HistoryTrimmed{HistoryTrimmed: &metadatav1.HistoryTrimmed{
		Floor: &metadatav1.HistoryFloor{
			Stream:         in.Stream,
			OldestRevision: in.OldestRevision,
			PreviousDigest: in.PreviousDigest,
			OldestTime:     copyTime(in.OldestTime),
		},
		PassedConsumers: passed,
	}}})
	return nil
}

func checkFloor(f *metadatav1.HistoryFloor) error {
	if err := checkStream("stream", f.GetStream()); err != nil {
		return err
	}
	if err := checkBytes("previous_digest", f.PreviousDigest, len(events.Digest{})); err != nil {
		return err
	}
	return checkTime("oldest_time", f.OldestTime)
}

func checkStream(path string, s metadatav1.Stream) error {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE:
		return nil
	}
	return invalid(path, "there is no stream %d", int32(s))
}

func checkBytes(path string, b []byte, want int) error {
	if len(b) != want {
		return invalid(path, "it has %d bytes, not %d", len(b), want)
	}
	return nil
}

func checkTime(path string, t *timestamppb.Timestamp) error {
	if !t.IsValid() {
		return invalid(path, "it is absent or lies outside of the years 1 to 9999")
	}
	return nil
}

// copyTime copies what the contract knows of a time.
func copyTime(t *timestamppb.Timestamp) *timestamppb.Timestamp {
	return &timestamppb.Timestamp{Seconds: t.Seconds, Nanos: t.Nanos}
}
