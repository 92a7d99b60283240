package export

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Versions of the file. What has no base is written in format 1, which older builds read too.
const (
	// Format is the newest version that this build writes and reads.
	Format = 2
	// formatWhole is the version without bases.
	formatWhole = 1
)

const (
	headerMagic      = "HELIOSHX"
	headerFrameBytes = len(headerMagic) + 4 + 4
	checksumBytes    = 4
	// maxRevision is beyond any revision, and leaves room to count on.
	maxRevision = 1 << 62
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says what a file holds and where it comes from.
type Header struct {
	Cluster       events.ClusterID // Write takes it from the sources
	RecoveryEpoch uint64           // so too
	ClusterName   string           // for people
	Time          time.Time        // of the export
	Build         string           // version of the build that wrote it
	Streams       []Stream         // Write takes them from the sources
}

// Stream says what a file holds of a stream.
type Stream struct {
	Stream metadatav1.Stream
	history.Bounds
}

// headerText is the header's JSON.
type headerText struct {
	ClusterID     string       `json:"clusterId"`
	RecoveryEpoch uint64       `json:"recoveryEpoch"`
	ClusterName   string       `json:"clusterName"`
	Time          time.Time    `json:"time"`
	Build         string       `json:"build"`
	Streams       []streamText `json:"streams"`
}

type streamText struct {
	Stream   string `json:"stream"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Previous string `json:"previous"`
}

// encode returns the header as it stands in a file of a format.
func (h Header) encode(format uint32) ([]byte, error) {
	text := headerText{h.Cluster.String(), h.RecoveryEpoch, h.ClusterName, h.Time.UTC(), h.Build, []streamText{}}
	for _, s := range h.Streams {
		text.Streams = append(text.Streams, streamText{events.StreamName(s.Stream), s.First, s.Last, s.Previous.String()})
	}
	encoded, err := json.Marshal(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("an export's header cannot be written: %w", err)
	case len(encoded) > MaxHeaderBytes:
		return nil, &TooLargeError{"a header of so many bytes", "MaxHeaderBytes", MaxHeaderBytes, len(encoded)}
	case len(h.Streams) > MaxStreams:
		return nil, &TooLargeError{"so many streams", "MaxStreams", MaxStreams, len(h.Streams)}
	}
	b := binary.BigEndian.AppendUint32([]byte(headerMagic), format)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(encoded))), encoded...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// readHeader reads the header and returns its size and the format. A newer format is an
// [*events.UnsupportedError].
func readHeader(r io.ReaderAt, size int64) (h Header, end int64, format uint32, err error) {
	frame := make([]byte, headerFrameBytes)
	if size < int64(len(frame)) {
		return Header{}, 0, 0, damaged(PartHeader, 0, "it is cut short: the file has %d bytes", size)
	}
	if err := readAt(r, frame, 0); err != nil {
		return Header{}, 0, 0, err
	}
	if string(frame[:len(headerMagic)]) != headerMagic {
		return Header{}, 0, 0, damaged(PartHeader, 0, "it does not begin with %q: the file is no export of a history", headerMagic)
	}
	format = binary.BigEndian.Uint32(frame[len(headerMagic):])
	length := binary.BigEndian.Uint32(frame[len(headerMagic)+4:])
	end = int64(headerFrameBytes) + int64(length) + checksumBytes
	if length > MaxHeaderBytes || end > size {
		return Header{}, 0, 0, damaged(PartHeader, 0, "its text of %d bytes is cut short or longer than MaxHeaderBytes, %d", length, MaxHeaderBytes)
	}
	all := make([]byte, end)
	if err := readAt(r, all, 0); err != nil {
		return Header{}, 0, 0, err
	}
	body, sum := all[:end-checksumBytes], binary.BigEndian.Uint32(all[end-checksumBytes:])
	if crc32.Checksum(body, castagnoli) != sum {
		return Header{}, 0, 0, damaged(PartHeader, 0, "it does not match its checksum")
	}
	if format < formatWhole || format > Format {
		return Header{}, 0, 0, &events.UnsupportedError{What: fmt.Sprintf("format %d of an export", format)}
	}
	var text headerText
	if err := decodeText(body[headerFrameBytes:], &text); err != nil {
		return Header{}, 0, 0, damaged(PartHeader, 0, "its text: %w", err)
	}
	if h, err = text.header(); err != nil {
		return Header{}, 0, 0, damaged(PartHeader, 0, "its text: %w", err)
	}
	return h, end, format, nil
}

// header checks what the text says.
func (t headerText) header() (h Header, err error) {
	h = Header{RecoveryEpoch: t.RecoveryEpoch, ClusterName: t.ClusterName, Time: t.Time, Build: t.Build}
	if h.Cluster, err = events.ParseClusterID(t.ClusterID); err != nil {
		return h, err
	}
	if len(t.Streams) == 0 || len(t.Streams) > MaxStreams {
		return h, fmt.Errorf("it has %d streams; 1 to MaxStreams, %d, are possible", len(t.Streams), MaxStreams)
	}
	seen := make(map[metadatav1.Stream]bool)
	for _, text := range t.Streams {
		s := Stream{Bounds: history.Bounds{First: text.First, Last: text.Last}}
		if s.Stream, err = parseStream(text.Stream); err != nil {
			return h, err
		}
		if s.Previous, err = parseDigest(text.Previous); err != nil {
			return h, err
		}
		switch {
		case seen[s.Stream]:
			return h, fmt.Errorf("the %s stream is there twice", text.Stream)
		case s.First == 0 || s.First > s.Last+1 || s.Last > maxRevision:
			return h, fmt.Errorf("the %s stream cannot have the revisions %d to %d", text.Stream, s.First, s.Last)
		}
		seen[s.Stream] = true
		h.Streams = append(h.Streams, s)
	}
	return h, nil
}

// decodeText reads JSON that has no fields but those of the value.
func decodeText(text []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows at byte %d", d.InputOffset())
	}
	return nil
}

func parseStream(name string) (metadatav1.Stream, error) {
	s := metadatav1.Stream(metadatav1.Stream_value["STREAM_"+strings.ToUpper(name)])
	if s == metadatav1.Stream_STREAM_UNSPECIFIED || events.StreamName(s) != name {
		return s, fmt.Errorf("%q is no stream that this build knows", name)
	}
	return s, nil
}

func parseDigest(digits string) (d events.Digest, err error) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("digest %q: want %d hexadecimal digits", digits, 2*len(d))
	}
	return events.Digest(b), nil
}
