package transport

import (
	"net"
	"syscall"

	pb "go.etcd.io/raft/v3/raftpb"
)

// maxDirectBytes bounds what a sender encodes and writes itself.
const maxDirectBytes = 64 << 10

// directOf returns the socket of a connection that bytes may be written to as they are;
// nil where there is something between, like TLS.
func directOf(raw net.Conn) syscall.RawConn {
	tcp, ok := raw.(*net.TCPConn)
	if !ok || !canWriteNow {
		return nil
	}
	socket, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return socket
}

// urgent says whether somebody waits for a message. An append without entries tells what
// has been committed, and the follower that hears it a moment later loses nothing.
func urgent(m *pb.Message) bool {
	return m.GetType() != pb.MsgApp || len(m.GetEntries()) > 0
}

// dispatch sees to it that what waits is written: by the caller itself if it is urgent, the
// connection is idle and its socket takes all of it at once, else by the writer. It spares a
// lone message the wait for the writer's goroutine, which gets no thread while the disk has
// the one that was awake. It never blocks.
func (c *conn) dispatch(urgent bool) {
	if !urgent || c.direct == nil || !c.out.beginDirect(&c.parcel) {
		c.out.signal()
		return
	}
	p := &c.parcel
	for _, q := range p.messages {
		p.frames = c.encode(p.frames, q)
	}
	clear(p.messages) // do not keep sent messages alive
	n := writeNow(c.direct, p.frames)
	c.t.count.bytesSent.Add(uint64(n))
	c.t.count.flushes.Add(1)
	c.out.endDirect(p.frames[n:])
}
