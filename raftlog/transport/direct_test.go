package transport

import (
	"net"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

// silent returns a connection that nobody but the test writes to, and its other end.
func silent(t *testing.T) (c *conn, frames *frameReader) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	c = startCluster(t, 1, nil)[1].newConn(near)
	if err := c.established(); err != nil {
		t.Fatal(err)
	}
	return c, newFrameReader(far, MaxFrame)
}

func (c *conn) woken() bool { return len(c.out.wake) > 0 }

func receiveIndex(t *testing.T, frames *frameReader) uint64 {
	t.Helper()
	f, err := frames.next()
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMessage(f.payload, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	return m.GetIndex()
}

func TestSenderWritesWhatIsUrgent(t *testing.T) {
	c, frames := silent(t)
	if !canWriteNow {
		t.Skip("sockets cannot be written to at once here")
	}
	news, entries := message(pb.MsgApp, 1, 2, 1), message(pb.MsgApp, 1, 2, 2, []byte("x"))
	if urgent(news) || !urgent(entries) || !urgent(message(pb.MsgAppResp, 1, 2, 3)) {
		t.Error("only what tells of a commit can wait")
	}
	c.out.putMessage(1, news, nil)
	c.dispatch(false)
	if !c.woken() || c.t.Stats().MessagesSent != 0 {
		t.Fatal("what can wait is not left to the writer")
	}
	<-c.out.wake
	c.out.putMessage(1, entries, nil)
	c.dispatch(true)
	if c.woken() {
		t.Error("the writer was woken for nothing")
	}
	for want := range uint64(2) {
		if got := receiveIndex(t, frames); got != want+1 {
			t.Errorf("message %d came, want %d", got, want+1)
		}
	}
}

func TestSenderLeavesItToAWriterUnderWay(t *testing.T) {
	c, _ := silent(t)
	var p parcel
	c.out.putMessage(1, message(pb.MsgAppResp, 1, 2, 1), nil)
	if more, _ := c.out.begin(&p); !more {
		t.Fatal("the writer has nothing to write")
	}
	c.out.putMessage(1, message(pb.MsgAppResp, 1, 2, 2), nil)
	c.dispatch(true)
	if !c.woken() || c.t.Stats().MessagesSent != 0 {
		t.Error("a second one writes in between")
	}
	c.out.end()
	c.out.putMessage(1, message(pb.MsgApp, 1, 2, 3, make([]byte, maxDirectBytes)), nil)
	<-c.out.wake
	if c.dispatch(true); !c.woken() {
		t.Error("a sender wrote more than maxDirectBytes")
	}
}

func TestWriterFinishesWhatASocketDidNotTake(t *testing.T) {
	c, frames := silent(t)
	if !canWriteNow {
		t.Skip("sockets cannot be written to at once here")
	}
	sent := uint64(0)
	for ; !c.woken(); sent++ {
		if sent == 10_000 {
			t.Fatal("the socket takes everything")
		}
		c.out.putMessage(1, message(pb.MsgApp, 1, 2, sent, make([]byte, 50<<10)), nil)
		c.dispatch(true)
	}
	for range 3 { // they go behind the rest
		c.out.putMessage(1, message(pb.MsgApp, 1, 2, sent, []byte("x")), nil)
		c.dispatch(true)
		sent++
	}
	c.out.close()
	done := make(chan error, 1)
	go func() { done <- c.writeLoop() }()
	for want := range sent {
		if got := receiveIndex(t, frames); got != want {
			t.Fatalf("message %d came, want %d", got, want)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
