package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/heliosdb/metadata/raftlog"
)

// Format is the version of the wire format: of frames, hellos and calls. Peers
// with another format refuse each other. Fields appended to a hello keep the
// format, because a reader ignores what follows the fields it knows.
const Format uint16 = 1

const helloMagic = "HMRT"

// Hello is what a member says of itself at the start of each connection, in
// both directions.
type Hello struct {
	ClusterID     [16]byte
	RecoveryEpoch uint64
	Member        uint64
	// Instance tells two processes with the same member id apart. The
	// transport draws it in New.
	Instance uint64
	// Claim is what the member says of its own past, for the genesis decision.
	Claim raftlog.State
	// FeatureLevel is the highest level the member's build can fold.
	FeatureLevel uint32
	// Advertise is the member's API address.
	Advertise string
	// Build is the member's build version.
	Build string
	// Configured is the cluster's name and initial members as this member was told,
	// for people who look for the difference.
	Configured string
}

func (h Hello) validate() error {
	for _, s := range []struct{ what, value string }{{"Hello.Advertise", h.Advertise}, {"Hello.Build", h.Build}, {"Hello.Configured", h.Configured}} {
		if len(s.value) > MaxStringBytes {
			return &TooLargeError{What: s.what, Size: len(s.value), Limit: MaxStringBytes, Name: "MaxStringBytes"}
		}
	}
	if !validClaim(h.Claim) {
		return fmt.Errorf("transport: Hello.Claim is %d: use a State of raftlog", h.Claim)
	}
	return nil
}

func validClaim(s raftlog.State) bool {
	return s >= raftlog.StateBlank && s <= raftlog.StateQuarantined
}

// purpose says what a connection is for.
type purpose uint8

const (
	forMessages purpose = 1
	forCalls    purpose = 2
	forProbe    purpose = 3 // hellos are exchanged, then the connection ends
)

// greeting is a hello as it travels.
type greeting struct {
	Format    uint16
	Purpose   purpose
	Recipient uint64 // 0: whoever answers
	Hello     Hello
}

func (g greeting) append(b []byte) []byte {
	b = append(b, helloMagic...)
	b = binary.BigEndian.AppendUint16(b, g.Format)
	b = append(b, byte(g.Purpose), byte(g.Hello.Claim))
	b = append(b, g.Hello.ClusterID[:]...)
	b = binary.BigEndian.AppendUint64(b, g.Hello.RecoveryEpoch)
	b = binary.BigEndian.AppendUint64(b, g.Hello.Member)
	b = binary.BigEndian.AppendUint64(b, g.Recipient)
	b = binary.BigEndian.AppendUint64(b, g.Hello.Instance)
	b = binary.BigEndian.AppendUint32(b, g.Hello.FeatureLevel)
	b = appendString(b, g.Hello.Advertise)
	b = appendString(b, g.Hello.Build)
	return appendString(b, g.Hello.Configured)
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), MaxStringBytes)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// helloFixed is the size of a hello's fields before its strings.
const helloFixed = 4 + 2 + 1 + 1 + 16 + 4*8 + 4

// parseGreeting decodes a hello. Of another format only Format is filled in.
func parseGreeting(b []byte) (greeting, error) {
	if len(b) < 6 || string(b[:4]) != helloMagic {
		return greeting{}, &FrameError{Reason: "not a hello"}
	}
	g := greeting{Format: binary.BigEndian.Uint16(b[4:])}
	if g.Format != Format {
		return g, nil
	}
	if len(b) < helloFixed {
		return greeting{}, &FrameError{Reason: fmt.Sprintf("a hello of %d bytes is cut short", len(b))}
	}
	g.Purpose = purpose(b[6])
	if g.Purpose < forMessages || g.Purpose > forProbe {
		return greeting{}, &FrameError{Reason: fmt.Sprintf("unknown purpose %d in a hello", g.Purpose)}
	}
	g.Hello.Claim = raftlog.State(b[7])
	if !validClaim(g.Hello.Claim) {
		return greeting{}, &FrameError{Reason: fmt.Sprintf("unknown claim %d in a hello", b[7])}
	}
	copy(g.Hello.ClusterID[:], b[8:24])
	g.Hello.RecoveryEpoch = binary.BigEndian.Uint64(b[24:])
	g.Hello.Member = binary.BigEndian.Uint64(b[32:])
	g.Recipient = binary.BigEndian.Uint64(b[40:])
	g.Hello.Instance = binary.BigEndian.Uint64(b[48:])
	g.Hello.FeatureLevel = binary.BigEndian.Uint32(b[56:])
	var err error
	rest := b[helloFixed:]
	if g.Hello.Advertise, rest, err = parseString(rest); err != nil {
		return greeting{}, err
	}
	if g.Hello.Build, rest, err = parseString(rest); err != nil {
		return greeting{}, err
	}
	if g.Hello.Configured, _, err = parseString(rest); err != nil {
		return greeting{}, err
	}
	return g, nil
}

func parseString(b []byte) (string, []byte, error) {
	if len(b) < 2 {
		return "", nil, &FrameError{Reason: "a string in a hello is cut short"}
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > MaxStringBytes || n > len(b)-2 {
		return "", nil, &FrameError{Reason: fmt.Sprintf("a string of %d bytes in a hello is over its limit or cut short", n)}
	}
	return string(b[2 : 2+n]), b[2+n:], nil
}

// appendRefusal encodes a refusal. Its layout is frozen for all formats.
func appendRefusal(b []byte, r *RefusedError) []byte {
	b = append(b, helloMagic...)
	b = binary.BigEndian.AppendUint16(b, Format)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Code))
	return append(b, r.Reason[:min(len(r.Reason), MaxReasonBytes)]...)
}

func parseRefusal(b []byte) (*RefusedError, error) {
	if len(b) < 8 || string(b[:4]) != helloMagic {
		return nil, &FrameError{Reason: "not a refusal"}
	}
	reason := b[8:min(len(b), 8+MaxReasonBytes)]
	return &RefusedError{
		Code:   RefusalCode(binary.BigEndian.Uint16(b[6:])),
		Reason: fmt.Sprintf("%q", reason),
		Remote: true,
	}, nil
}

// check says why a connection between self and the member behind g is refused,
// or nil. Both sides call it with the other's greeting.
func (g greeting) check(self Hello, peers map[uint64]string) *RefusedError {
	refuse := func(code RefusalCode, format string, args ...any) *RefusedError {
		return &RefusedError{Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	if g.Format != Format {
		return refuse(RefusedFormat, "wire format %d, member %d speaks %d: run builds that speak the same format", g.Format, self.Member, Format)
	}
	if g.Recipient != 0 && g.Recipient != self.Member {
		return refuse(RefusedRecipient, "meant for member %d, this is member %d: check the peers' addresses", g.Recipient, self.Member)
	}
	if g.Purpose == forProbe {
		return nil
	}
	other := g.Hello
	if other.ClusterID != self.ClusterID {
		return refuse(RefusedCluster, "cluster id %x, member %d is of cluster %x: check cluster name and peers", other.ClusterID, self.Member, self.ClusterID)
	}
	if other.RecoveryEpoch != self.RecoveryEpoch {
		return refuse(RefusedEpoch, "recovery epoch %d, member %d is at %d: a member left behind by a recovery must be replaced", other.RecoveryEpoch, self.Member, self.RecoveryEpoch)
	}
	if other.Member == self.Member {
		return refuse(RefusedDuplicate, "member id %d is this member's own: give each process its own id", other.Member)
	}
	if _, ok := peers[other.Member]; !ok {
		return refuse(RefusedUnknownMember, "member %d is not a peer of member %d: add it to the peers", other.Member, self.Member)
	}
	if other.Claim == raftlog.StateBlank || self.Claim == raftlog.StateBlank {
		return refuse(RefusedBlank, "member %d is %v and member %d is %v: a blank member only answers probes",
			other.Member, other.Claim, self.Member, self.Claim)
	}
	return nil
}
