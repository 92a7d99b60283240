// Package transport carries raft messages and calls between the members of one
// cluster over TCP, on the Raft port.
//
// It opens two connections to each peer: one for raft messages, which keep
// their order but may be lost, and one for calls, which are concurrent requests
// with one answer each. So between two members there are four connections, and
// on each of them only the side that dialled sends messages or requests.
//
// It trusts nothing that it reads: with TLS both sides prove who they are, each
// connection starts with a handshake that either side may refuse, each frame
// has a checksum, and bad bytes close the connection that carried them and
// nothing else. It refuses to decide anything about consensus: it checks a
// message's sender and recipient, and leaves the rest to raftlog's validator.
//
// # Broken connections
//
// When the connection for messages breaks, the transport dials again at once.
// If the port refuses, or another process answers, the old process is gone and
// the handler hears PeerDown with refused set, within a millisecond or so on a
// local network. It then keeps dialling, waiting longer from one failure to the
// next, with jitter; an incoming connection from the peer ends the wait early.
//
// # Wire format
//
// All integers are big-endian. A frame is a header of 10 bytes and a payload:
//
//	0  4  length of the payload, at most MaxFrame (MaxHelloBytes before the handshake is complete)
//	4  1  type
//	5  1  group (messages only, else 0)
//	6  4  CRC-32C of bytes 0 to 5 and the payload
//
// Types and their payloads:
//
//	1  hello     see below
//	2  refusal   magic "HMRT", format (2), code (2), reason (the rest)
//	3  message   a raftpb.Message
//	4  request   call id (8), method (1), time left in microseconds or 0 (8), body
//	5  answer    call id (8), body
//	6  failure   call id (8), code (2), length of the reason (2), reason, detail
//	7  cancel    call id (8)
//	8  ping      8 bytes of the sender's choice
//	9  pong      the ping's payload
//
// A hello, with the same first 6 bytes in every format:
//
//	 0   4  magic "HMRT"
//	 4   2  format, 1
//	 6   1  purpose of the connection: 1 messages, 2 calls, 3 probe
//	 7   1  claim: 1 blank, 2 genesis, 3 lived, 4 in quarantine
//	 8  16  cluster id
//	24   8  recovery epoch
//	32   8  member id of the sender
//	40   8  member id of the recipient, 0 for whoever answers
//	48   8  instance: a random number of the sender's process
//	56   4  feature level
//	60      API address, build version, configuration: each a length (2) and its bytes
//
// Bytes after the fields that a reader knows are ignored. The side that dials
// sends its hello first; the other answers with its own hello or with a
// refusal. After a probe both sides close the connection. On the others the
// dialling side sends pings and the other pongs; a connection on which nothing
// arrives for one and a half times Timing.Idle is broken.
package transport
