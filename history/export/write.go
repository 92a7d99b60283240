package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/klauspost/compress/zstd"
)

// Progress is told now and then up to which revision of a stream something is done, and
// which is the last. The calls come one after the other, on the caller's goroutine.
type Progress func(stream metadatav1.Stream, done, last uint64)

// of returns what is told of one stream.
func (p Progress) of(stream metadatav1.Stream) history.Progress {
	if p == nil {
		return nil
	}
	return func(done, last uint64) { p(stream, done, last) }
}

// Options configure an export.
type Options struct {
	// SignedHeads are listed in the trailer beside those that the service stream brings, if
	// it is exported.
	SignedHeads []*metadatav1.SignedHead
	// Progress is told of the changes written.
	Progress Progress
}

// Write writes everything that the sources hold when it is called. They have to be of one
// cluster and recovery epoch, each of another stream; cluster, epoch and streams of the
// header are what they say. The same header and the same changes give the same bytes.
//
// The base of a stream whose beginning is not there is written before its changes, if the source
// is a [history.BaseKeeper] and has one; [StreamEnd] says so.
//
// Histories are verified on the way: a [*history.DamagedError] says which change does not
// fit, and what was written so far is no file then. Other errors are those of the sources
// and of the writer. See [Create] for a file that is complete or not there.
func Write(ctx context.Context, to io.Writer, h Header, sources []history.Source, options Options) (Trailer, error) {
	if err := h.describe(ctx, sources); err != nil {
		return Trailer{}, err
	}
	w, err := newWriter(to)
	if err != nil {
		return Trailer{}, err
	}
	format := h.format(sources)
	head, err := h.encode(format)
	if err != nil {
		return Trailer{}, err
	}
	if err := w.write(head); err != nil {
		return Trailer{}, err
	}
	var trailer Trailer
	for i, s := range h.Streams {
		has := false
		if format > formatWhole && s.First > 1 {
			if has, err = w.base(ctx, sources[i], s); err != nil {
				return Trailer{}, err
			}
		}
		end, err := w.stream(ctx, sources[i], s, options.Progress.of(s.Stream))
		if err != nil {
			return Trailer{}, err
		}
		end.Base = has
		trailer.Streams = append(trailer.Streams, end)
	}
	trailer.SignedHeads = newestHeads(append(w.heads, options.SignedHeads...))
	return trailer, w.end(trailer)
}

// format returns the oldest format that has room for what the sources may have.
func (h *Header) format(sources []history.Source) uint32 {
	for i, source := range sources {
		if _, keeps := source.(history.BaseKeeper); keeps && h.Streams[i].First > 1 {
			return Format
		}
	}
	return formatWhole
}

// describe completes the header with what the sources say.
func (h *Header) describe(ctx context.Context, sources []history.Source) error {
	if len(sources) == 0 {
		return fmt.Errorf("there is nothing to export: no stream was given")
	}
	h.Streams = make([]Stream, len(sources))
	first := sources[0].Origin()
	h.Cluster, h.RecoveryEpoch = first.Cluster, first.RecoveryEpoch
	seen := make(map[metadatav1.Stream]bool)
	for i, source := range sources {
		o := source.Origin()
		switch {
		case o.Cluster != first.Cluster || o.RecoveryEpoch != first.RecoveryEpoch:
			return fmt.Errorf("one export cannot hold histories of cluster %v, recovery epoch %d, and of cluster %v, recovery epoch %d",
				first.Cluster, first.RecoveryEpoch, o.Cluster, o.RecoveryEpoch)
		case seen[o.Stream]:
			return fmt.Errorf("the %s stream was given twice", events.StreamName(o.Stream))
		}
		seen[o.Stream] = true
		h.Streams[i].Stream = o.Stream
	}
	return h.bound(ctx, sources)
}

// bound asks for the bounds of the histories. That of the service stream is asked first:
// what its signed heads are about is there then.
func (h *Header) bound(ctx context.Context, sources []history.Source) (err error) {
	for _, service := range []bool{true, false} {
		for i, source := range sources {
			s := &h.Streams[i]
			if service != (s.Stream == metadatav1.Stream_STREAM_SERVICE) {
				continue
			}
			if s.Bounds, err = source.Bounds(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// writer writes the parts of a file one after the other.
type writer struct {
	to     io.Writer
	sum    hash.Hash // of everything written
	packer *zstd.Encoder
	stored []byte // reused from block to block

	head  blockHead // of the block under way
	block []byte    // its changes
	heads []*metadatav1.SignedHead
}

func newWriter(to io.Writer) (*writer, error) {
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	return &writer{to: to, sum: sha256.New(), packer: packer}, nil
}

func (w *writer) write(b []byte) error {
	w.sum.Write(b)
	if _, err := w.to.Write(b); err != nil {
		return fmt.Errorf("cannot write the export: %w", err)
	}
	return nil
}

// stream writes the blocks of one stream.
func (w *writer) stream(ctx context.Context, source history.Source, s Stream, progress history.Progress) (StreamEnd, error) {
	end := StreamEnd{Stream: s.Stream, First: s.First}
	w.head = blockHead{stream: s.Stream, first: s.First}
	verified, err := history.Follow(ctx, source, s.Bounds, func(c *events.Change, digest events.Digest) error {
		if len(c.Raw()) > MaxBlockBytes-lengthBytes {
			return &TooLargeError{fmt.Sprintf("change %d of the %s stream", c.Revision(), events.StreamName(s.Stream)),
				"MaxBlockBytes", MaxBlockBytes - lengthBytes, len(c.Raw())}
		}
		if w.head.changes > 0 && len(w.block)+lengthBytes+len(c.Raw()) > BlockBytes {
			end.Blocks++
			if err := w.flush(); err != nil {
				return err
			}
		}
		w.add(c, digest)
		progress.At(c.Revision(), s.Last)
		return nil
	})
	if err != nil {
		return end, err
	}
	end.Changes, end.Bytes, end.Digest = verified.Changes(), verified.Bytes, verified.Digest
	if w.head.changes == 0 {
		return end, nil
	}
	end.Blocks++
	return end, w.flush()
}

// add puts a change into the block under way.
func (w *writer) add(c *events.Change, digest events.Digest) {
	w.block = binary.BigEndian.AppendUint32(w.block, uint32(len(c.Raw())))
	w.block = append(w.block, c.Raw()...)
	w.head.changes++
	w.head.digest = digest
	for _, e := range c.Events() {
		if e.Kind() == events.KindHeadSigned {
			w.heads = append(w.heads, e.Message().GetHeadSigned().GetHead())
		}
	}
	if len(w.heads) > 2*MaxStreams*MaxSignedHeads {
		w.heads = newestHeads(w.heads)
	}
}

// flush writes the block under way and begins the next one.
func (w *writer) flush() error {
	w.stored = w.packer.EncodeAll(w.block, w.stored[:0])
	w.head.size, w.head.stored = uint32(len(w.block)), uint32(len(w.stored))
	w.head.checksum = crc32.Checksum(w.stored, castagnoli)
	if err := w.write(w.head.encode()); err != nil {
		return err
	}
	w.head = blockHead{stream: w.head.stream, first: w.head.last() + 1}
	w.block = w.block[:0]
	return w.write(w.stored)
}

// end writes the trailer.
func (w *writer) end(t Trailer) error {
	b, err := t.encode()
	if err != nil {
		return err
	}
	if err := w.write(b); err != nil {
		return err
	}
	return w.write(w.sum.Sum(nil))
}
