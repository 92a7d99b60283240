package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Limits of an Identity.
const (
	// IdentityFormat is the version of the stored form and of the whole directory; other
	// ones are refused. Since 2 history names entries of the log, and there may be marks and
	// archived checkpoints.
	IdentityFormat uint32 = 2
	// MaxNameBytes limits the cluster's name and each peer's address.
	MaxNameBytes = 256
	// MaxPeers limits the initial members.
	MaxPeers = MaxConfMembers
)

const identityMagic = "HMID"

// Validate checks the limits and that the peers include the member once each.
func (id Identity) Validate() error {
	switch {
	case id.Format != IdentityFormat:
		return &FormatError{What: "directory", Have: id.Format, Know: IdentityFormat}
	case id.Member == 0:
		return errors.New("raftlog: member ids start at 1")
	case len(id.ClusterName) > MaxNameBytes:
		return &TooLargeError{What: "cluster name", Limit: "MaxNameBytes", Max: MaxNameBytes, Got: len(id.ClusterName)}
	case len(id.Peers) > MaxPeers:
		return &TooLargeError{What: "list of peers", Limit: "MaxPeers", Max: MaxPeers, Got: len(id.Peers)}
	}
	before := uint64(0)
	for _, p := range id.Peers {
		if p.ID <= before {
			return fmt.Errorf("raftlog: peer %d after peer %d: peers are sorted by id, each once", p.ID, before)
		}
		if len(p.Addr) > MaxNameBytes {
			return &TooLargeError{What: fmt.Sprintf("address of peer %d", p.ID), Limit: "MaxNameBytes", Max: MaxNameBytes, Got: len(p.Addr)}
		}
		before = p.ID
	}
	return nil
}

// MarshalBinary returns the stored form, all integers big endian:
//
//	magic "HMID", format u32, cluster id [16], recovery epoch u64, member u64,
//	name length u16, name, peers u16, each id u64, address length u16, address,
//	CRC-32C u32 of everything before
func (id Identity) MarshalBinary() ([]byte, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	b := binary.BigEndian.AppendUint32([]byte(identityMagic), id.Format)
	b = append(b, id.ClusterID[:]...)
	b = binary.BigEndian.AppendUint64(b, id.RecoveryEpoch)
	b = binary.BigEndian.AppendUint64(b, id.Member)
	b = text(b, id.ClusterName)
	b = binary.BigEndian.AppendUint16(b, uint16(len(id.Peers)))
	for _, p := range id.Peers {
		b = text(binary.BigEndian.AppendUint64(b, p.ID), p.Addr)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, Castagnoli)), nil
}

// UnmarshalBinary reads the stored form and validates it.
func (id *Identity) UnmarshalBinary(b []byte) error {
	if len(b) < 4 || crc32.Checksum(b[:len(b)-4], Castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return errors.New("raftlog: identity does not match its checksum")
	}
	r := reader{b: b[:len(b)-4]}
	text := func() string { return string(r.bytes(uint32(r.u16()), MaxNameBytes)) }
	*id = Identity{}
	r.magic(identityMagic)
	id.Format = r.u32()
	copy(id.ClusterID[:], r.take(len(id.ClusterID)))
	id.RecoveryEpoch = r.u64()
	id.Member = r.u64()
	id.ClusterName = text()
	for range r.u16() {
		id.Peers = append(id.Peers, Peer{ID: r.u64(), Addr: text()})
	}
	if err := r.end("identity"); err != nil {
		return err
	}
	return id.Validate()
}
