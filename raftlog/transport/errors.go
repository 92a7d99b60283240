package transport

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by every operation on a transport that has been closed.
var ErrClosed = errors.New("transport: closed")

// UnavailableError says that a call was not sent: the peer has no working
// connection, or the caller's context ended while it waited for one. The
// request had no effect and may be sent again, here or elsewhere.
type UnavailableError struct {
	Peer uint64
	Err  error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("transport: member %d cannot be reached, nothing was sent: %v", e.Peer, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// LostError says that a call was sent (at least in part) and that no answer
// came: the connection broke or the caller's context ended. Whether the peer
// acted on it is unknown.
type LostError struct {
	Peer   uint64
	Method uint8
	Err    error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("transport: call of method %d to member %d was sent, its outcome is unknown: %v", e.Method, e.Peer, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

// RemoteError is an error answered by the peer's handler. A handler returns
// one to choose what the caller sees; any other error a handler returns
// reaches the caller as CodeInternal with the error's text as the reason.
type RemoteError struct {
	Code    uint16 // below FirstHandlerCode: the transport's own codes
	Reason  string // at most MaxReasonBytes; longer ones are cut
	Payload []byte // typed detail, opaque to the transport
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("remote error %d: %s", e.Code, e.Reason)
}

// Codes of RemoteError that the transport itself uses. Handlers choose theirs
// from FirstHandlerCode upwards.
const (
	CodeInternal  uint16 = 1 // the handler returned an error without a code
	CodeBusy      uint16 = 2 // the peer already serves MaxServing calls of this member
	CodeTooLarge  uint16 = 3 // the answer is over MaxCallPayload
	CodeCancelled uint16 = 4 // the handler gave up because its context was cancelled
	CodeDeadline  uint16 = 5 // the handler gave up because its deadline passed

	FirstHandlerCode uint16 = 64
)

// TooLargeError says that something is over a limit of this package.
type TooLargeError struct {
	What  string
	Size  int
	Limit int
	Name  string // the limit's name
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("transport: %s is %d bytes, the limit %s is %d: split it", e.What, e.Size, e.Name, e.Limit)
}

// UnknownPeerError says that a member id is not among Config.Peers.
type UnknownPeerError struct{ Peer uint64 }

func (e *UnknownPeerError) Error() string {
	return fmt.Sprintf("transport: member %d is not a configured peer: add it to the peers of this member", e.Peer)
}

// RefusalCode says why a handshake was refused. Codes are wire format: never
// renumber one.
type RefusalCode uint16

// The reasons for which a handshake is refused.
const (
	RefusedFormat        RefusalCode = 1 // the hello has another format version
	RefusedCluster       RefusalCode = 2 // another cluster id
	RefusedEpoch         RefusalCode = 3 // another recovery epoch
	RefusedRecipient     RefusalCode = 4 // meant for another member
	RefusedUnknownMember RefusalCode = 5 // the member id is not a configured peer
	RefusedDuplicate     RefusalCode = 6 // another live process uses the same member id
	RefusedIdentity      RefusalCode = 7 // the TLS certificate does not name the member
	RefusedBlank         RefusalCode = 8 // one of the two is blank: only probes are answered
)

var refusalNames = map[RefusalCode]string{
	RefusedFormat:        "format",
	RefusedCluster:       "cluster id",
	RefusedEpoch:         "recovery epoch",
	RefusedRecipient:     "recipient",
	RefusedUnknownMember: "unknown member",
	RefusedDuplicate:     "duplicate member",
	RefusedIdentity:      "certificate identity",
	RefusedBlank:         "blank",
}

// String names the reason in words.
func (c RefusalCode) String() string {
	if name, ok := refusalNames[c]; ok {
		return name
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// RefusedError is a handshake that one of the two sides refused. The other
// side is alive and speaks this protocol, so it is no evidence of a crash.
type RefusedError struct {
	Code   RefusalCode
	Reason string
	Remote bool // true when the other side refused us, false when we refused it
}

func (e *RefusedError) Error() string {
	who := "this member refused the handshake"
	if e.Remote {
		who = "the other member refused the handshake"
	}
	return fmt.Sprintf("transport: %s (%s): %s", who, e.Code, e.Reason)
}

// FrameError says that bytes on a connection are not a valid frame. The
// connection that carried them is closed; no other is touched.
type FrameError struct {
	Reason string
	kind   frameFault
}

// frameFault says which counter a FrameError belongs to.
type frameFault uint8

const (
	faultBad frameFault = iota
	faultCorrupt
	faultForged
)

func (e *FrameError) Error() string { return "transport: bad frame: " + e.Reason }
