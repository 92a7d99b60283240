package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// DescriptorFormat is the version of the stored form of a Descriptor and of the
// checkpoint file it describes.
const DescriptorFormat uint32 = 1

// Descriptor says which checkpoint this is. Its stored form is the data of Raft's
// snapshot: a few hundred bytes, whatever the size of the checkpoint.
type Descriptor struct {
	Format    uint32 // DescriptorFormat
	Group     GroupID
	Index     uint64 // of the last entry folded into it
	Term      uint64 // of that entry
	ConfState *pb.ConfState
	Seq       uint64 // the caller's sequence (revision) at Index
	Meta      []byte // the caller's: digest, levels; at most MaxMetaBytes
	Bytes     uint64 // of all chunks together
	Chunks    uint32
	Hash      [32]byte // SHA-256 over header and chunks of the file, see AppendFileHeader
}

// GenesisDescriptor is the checkpoint every log starts from: no bytes, no hash.
func GenesisDescriptor(g GroupID, voters []uint64) Descriptor {
	return Descriptor{
		Format: DescriptorFormat, Group: g, Index: GenesisIndex, Term: GenesisTerm,
		ConfState: &pb.ConfState{Voters: slices.Sorted(slices.Values(voters))},
	}
}

// Equal reports whether both describe the same bytes at the same place.
func (d Descriptor) Equal(o Descriptor) bool {
	a, errA := d.MarshalBinary()
	b, errB := o.MarshalBinary()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// Validate checks the limits. A newer format is a *FormatError.
func (d Descriptor) Validate() error {
	switch {
	case d.Format > DescriptorFormat:
		return &FormatError{What: "checkpoint", Have: d.Format, Know: DescriptorFormat}
	case d.Format == 0:
		return errors.New("raftlog: checkpoint descriptor without a format")
	case d.Group == 0:
		return errors.New("raftlog: checkpoint descriptor without a group")
	case d.Index == 0 || d.Term == 0:
		return fmt.Errorf("raftlog: checkpoint descriptor at index %d, term %d: both start at 1", d.Index, d.Term)
	case len(d.Meta) > MaxMetaBytes:
		return &TooLargeError{What: "checkpoint meta", Limit: "MaxMetaBytes", Max: MaxMetaBytes, Got: len(d.Meta)}
	case d.Chunks > MaxChunks:
		return &TooLargeError{What: "checkpoint", Limit: "MaxChunks", Max: MaxChunks, Got: int(d.Chunks)}
	case d.Bytes > uint64(d.Chunks)*MaxChunkBytes:
		return fmt.Errorf("raftlog: checkpoint descriptor claims %d bytes in %d chunks, more than MaxChunkBytes (%d) each", d.Bytes, d.Chunks, MaxChunkBytes)
	}
	return checkConfState(d.ConfState)
}

// descriptorMagic starts the stored form.
const descriptorMagic = "HMCD"

// MarshalBinary returns the stored form, all integers big endian:
//
//	magic "HMCD", format u32, group u8, index u64, term u64, seq u64,
//	four id lists (voters, learners, outgoing voters, next learners), each
//	count u8 and ids u64 ascending, auto leave u8,
//	meta length u32, meta, bytes u64, chunks u32, hash [32]
//
// Equal descriptors have equal bytes. Every later format begins with the same five fields,
// up to the term.
func (d Descriptor) MarshalBinary() ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	b := d.appendHead(nil)
	b = binary.BigEndian.AppendUint64(b, d.Bytes)
	b = binary.BigEndian.AppendUint32(b, d.Chunks)
	return append(b, d.Hash[:]...), nil
}

// appendHead appends what is known before the first chunk is written.
func (d Descriptor) appendHead(b []byte) []byte {
	b = append(b, descriptorMagic...)
	b = binary.BigEndian.AppendUint32(b, d.Format)
	b = append(b, byte(d.Group))
	b = binary.BigEndian.AppendUint64(b, d.Index)
	b = binary.BigEndian.AppendUint64(b, d.Term)
	b = binary.BigEndian.AppendUint64(b, d.Seq)
	b = appendConfState(b, d.ConfState)
	b = binary.BigEndian.AppendUint32(b, uint32(len(d.Meta)))
	return append(b, d.Meta...)
}

// newerDescriptor returns a *FormatError for the stored form of a newer build: what
// stands behind the format may be laid out otherwise there.
func newerDescriptor(b []byte) error {
	r := reader{b: b}
	r.magic(descriptorMagic)
	if f := r.u32(); r.bad == "" && f > DescriptorFormat {
		return &FormatError{What: "checkpoint", Have: f, Know: DescriptorFormat}
	}
	return nil
}

// newerHead returns what a build too old for a snapshot's descriptor can tell of it: group,
// index and term, which have to agree with the snapshot's own metadata.
func newerHead(s *pb.Snapshot) (d Descriptor, err error) {
	r := reader{b: s.GetData()}
	r.magic(descriptorMagic)
	d.Format, d.Group, d.Index, d.Term = r.u32(), GroupID(r.u8()), r.u64(), r.u64()
	m := s.GetMetadata()
	switch {
	case r.bad != "":
		return d, fmt.Errorf("raftlog: checkpoint descriptor of format %d cannot be read: %s", d.Format, r.bad)
	case d.Index == 0 || d.Term == 0 || d.Index != m.GetIndex() || d.Term != m.GetTerm():
		return d, fmt.Errorf("raftlog: snapshot at index %d, term %d carries the descriptor, of format %d, of index %d, term %d",
			m.GetIndex(), m.GetTerm(), d.Format, d.Index, d.Term)
	}
	return d, checkConfState(pb.EnsureConfState(m.GetConfState()))
}

// UnmarshalBinary reads the stored form and validates it. A newer format is a
// *FormatError.
func (d *Descriptor) UnmarshalBinary(b []byte) error {
	if err := newerDescriptor(b); err != nil {
		return err
	}
	r := reader{b: b}
	*d = r.descriptorHead()
	d.Bytes = r.u64()
	d.Chunks = r.u32()
	copy(d.Hash[:], r.take(len(d.Hash)))
	if err := r.end("checkpoint descriptor"); err != nil {
		return err
	}
	return d.Validate()
}

// Snapshot returns the Raft snapshot that carries the descriptor.
func (d Descriptor) Snapshot() (*pb.Snapshot, error) {
	data, err := d.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return &pb.Snapshot{Data: data, Metadata: &pb.SnapshotMetadata{
		ConfState: proto.Clone(d.ConfState).(*pb.ConfState), Index: new(d.Index), Term: new(d.Term),
	}}, nil
}

// DescriptorOf reads the descriptor a Raft snapshot carries and checks that it
// agrees with the snapshot's own metadata.
func DescriptorOf(s *pb.Snapshot) (Descriptor, error) {
	var d Descriptor
	if err := d.UnmarshalBinary(s.GetData()); err != nil {
		return d, err
	}
	m := s.GetMetadata()
	if d.Index != m.GetIndex() || d.Term != m.GetTerm() {
		return d, fmt.Errorf("raftlog: snapshot at index %d, term %d carries the descriptor of index %d, term %d",
			m.GetIndex(), m.GetTerm(), d.Index, d.Term)
	}
	if err := d.ConfState.Equivalent(pb.EnsureConfState(m.GetConfState())); err != nil {
		return d, fmt.Errorf("raftlog: snapshot and its descriptor differ in members: %w", err)
	}
	return d, nil
}

// confLists returns the four id lists in their stored order.
func confLists(cs *pb.ConfState) [4][]uint64 {
	return [4][]uint64{cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext()}
}

func appendConfState(b []byte, cs *pb.ConfState) []byte {
	for _, ids := range confLists(cs) {
		b = append(b, byte(len(ids)))
		for _, id := range slices.Sorted(slices.Values(ids)) {
			b = binary.BigEndian.AppendUint64(b, id)
		}
	}
	if cs.GetAutoLeave() {
		return append(b, 1)
	}
	return append(b, 0)
}

// reader takes fixed-size fields off a byte slice; the first failure sticks.
type reader struct {
	b   []byte
	bad string
}

func (r *reader) take(n int) []byte {
	if r.bad != "" {
		return make([]byte, min(n, 64))
	}
	if len(r.b) < n {
		r.bad = fmt.Sprintf("it ends %d bytes early", n-len(r.b))
		return make([]byte, min(n, 64))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// bytes takes n bytes, a copy, refusing more than limit.
func (r *reader) bytes(n, limit uint32) []byte {
	if n > limit && r.bad == "" {
		r.bad = fmt.Sprintf("a field of %d bytes is over its limit of %d", n, limit)
	}
	if r.bad != "" || n == 0 {
		return nil
	}
	return bytes.Clone(r.take(int(n)))
}

func (r *reader) magic(want string) {
	if got := string(r.take(len(want))); got != want && r.bad == "" {
		r.bad = fmt.Sprintf("it starts with %q, not %q", got, want)
	}
}

// end returns an error unless everything was read, no more and no less.
func (r *reader) end(what string) error {
	if r.bad == "" && len(r.b) > 0 {
		r.bad = fmt.Sprintf("%d bytes are left over", len(r.b))
	}
	if r.bad != "" {
		return fmt.Errorf("raftlog: %s cannot be read: %s", what, r.bad)
	}
	return nil
}

func (r *reader) descriptorHead() (d Descriptor) {
	r.magic(descriptorMagic)
	d.Format = r.u32()
	d.Group = GroupID(r.u8())
	d.Index = r.u64()
	d.Term = r.u64()
	d.Seq = r.u64()
	d.ConfState = r.confState()
	d.Meta = r.bytes(r.u32(), MaxMetaBytes)
	return d
}

func (r *reader) confState() *pb.ConfState {
	cs := &pb.ConfState{}
	for _, ids := range []*[]uint64{&cs.Voters, &cs.Learners, &cs.VotersOutgoing, &cs.LearnersNext} {
		for range r.u8() {
			*ids = append(*ids, r.u64())
		}
		if !slices.IsSorted(*ids) && r.bad == "" {
			r.bad = fmt.Sprintf("its member ids %d are not ascending", *ids)
		}
	}
	switch leave := r.u8(); {
	case leave == 1:
		cs.AutoLeave = new(true)
	case leave > 1 && r.bad == "":
		r.bad = fmt.Sprintf("its auto leave is %d, not 0 or 1", leave)
	}
	return cs
}
