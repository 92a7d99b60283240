package chaos

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/heliosdb/metadata/internal/loopback"
)

// Times of the tests: soon is for what has to happen, quiet for what must not.
const (
	soon  = 5 * time.Second
	quiet = 100 * time.Millisecond
)

// echo is a member that sends back what it is sent.
type echo struct {
	address  string
	listener net.Listener
}

func (e *echo) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	e.listener = l
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

// newTestNetwork returns a network of members 0 and 1 that echo.
func newTestNetwork(t *testing.T) (*Network, []*echo) {
	t.Helper()
	var doors, targets []string
	var members []*echo
	for range 2 {
		for _, list := range []*[]string{&doors, &targets} {
			address, err := loopback.Address()
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, address)
		}
	}
	n, err := NewNetwork(doors, targets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	for _, address := range targets {
		e := &echo{address: address}
		e.start(t)
		members = append(members, e)
	}
	return n, members
}

// hello is the opening of a connection by a member.
func hello(id uint64) []byte {
	b := make([]byte, helloHeader+60)
	binary.BigEndian.PutUint32(b, 60)
	copy(b[helloHeader:], helloMagic)
	binary.BigEndian.PutUint64(b[helloHeader+helloSender:], id)
	return b
}

// dial connects to member 1's door, waiting until it is open, and says hello.
func dial(t *testing.T, n *Network, id uint64) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", n.doors[1].address)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write(hello(id)); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// reads reports whether exactly this many bytes can be read in time.
func reads(c net.Conn, n int, wait time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	_, err := io.ReadFull(c, make([]byte, n))
	return err == nil
}

func refused(n *Network) bool {
	c, err := net.Dial("tcp", n.doors[1].address)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestEachDirectionIsHeldByItself(t *testing.T) {
	for _, direction := range [][2]int{{0, 1}, {1, 0}} {
		n, _ := newTestNetwork(t)
		c := dial(t, n, 1)
		if !reads(c, len(hello(1)), soon) {
			t.Fatal("the hello did not come back")
		}
		n.Hold(direction[0], direction[1])
		if _, err := c.Write([]byte("held")); err != nil {
			t.Fatal(err)
		}
		if reads(c, 1, quiet) {
			t.Errorf("bytes passed a line that is held, %v", direction)
		}
		n.Release(direction[0], direction[1])
		if !reads(c, 4, soon) {
			t.Errorf("what was held never came, %v", direction)
		}
	}
}

// A connection from member 2 to itself uses neither line between 1 and 2.
func TestHoldingOneLineLeavesOthersAlone(t *testing.T) {
	n, _ := newTestNetwork(t)
	n.Hold(0, 1)
	n.Hold(1, 0)
	if c := dial(t, n, 2); !reads(c, len(hello(2)), soon) {
		t.Error("another line was held too")
	}
}

func TestDelayIsThere(t *testing.T) {
	n, _ := newTestNetwork(t)
	n.Delay(0, 1, 60*time.Millisecond, 70*time.Millisecond)
	n.Delay(1, 0, 60*time.Millisecond, 70*time.Millisecond)
	c := dial(t, n, 1)
	began := time.Now()
	if !reads(c, len(hello(1)), soon) {
		t.Fatal("delayed bytes never came")
	}
	if took := time.Since(began); took < 120*time.Millisecond {
		t.Errorf("two delays of 60 ms took %v", took)
	}
	n.Heal()
	began = time.Now()
	_, _ = c.Write([]byte("x"))
	if !reads(c, 1, soon) || time.Since(began) > 60*time.Millisecond {
		t.Errorf("still delayed after Heal: %v", time.Since(began))
	}
}

func TestResetBreaksAndAllowsDiallingAgain(t *testing.T) {
	n, _ := newTestNetwork(t)
	c := dial(t, n, 1)
	if !reads(c, len(hello(1)), soon) {
		t.Fatal("the hello did not come back")
	}
	n.Reset(1, 0)
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if c := dial(t, n, 1); !reads(c, len(hello(1)), soon) {
		t.Error("no new connection after a reset")
	}
}

func TestADoorIsOpenWhileItsMemberListens(t *testing.T) {
	n, members := newTestNetwork(t)
	c := dial(t, n, 1)
	if !reads(c, len(hello(1)), soon) {
		t.Fatal("the hello did not come back")
	}
	n.Shut(1)
	if !refused(n) {
		t.Error("a door that is shut does not refuse")
	}
	n.Open(1)
	_ = dial(t, n, 1)

	_ = members[1].listener.Close()
	_, _ = dial(t, n, 1).Write([]byte("anybody there"))
	eventually(t, "the door closes behind a member that is gone", func() bool { return refused(n) })
	n.Hold(0, 1)
	eventually(t, "behind a held line nobody learns that the member is gone", func() bool { return !refused(n) })
	n.Release(0, 1)
	eventually(t, "the door closes again", func() bool { return refused(n) })
	members[1].start(t)
	if c := dial(t, n, 1); !reads(c, len(hello(1)), soon) {
		t.Error("the door did not open for a member that came back")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	n, _ := newTestNetwork(t)
	for _, opening := range [][]byte{hello(0), hello(3), make([]byte, helloHeader), append([]byte{0, 0, 0, 60}, make([]byte, 66)...)} {
		eventually(t, "the door is open", func() bool { return !refused(n) })
		c, err := net.Dial("tcp", n.doors[1].address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(opening)
		if reads(c, 1, quiet) {
			t.Errorf("forwarded what is no hello of a member: %x", opening[:8])
		}
		_ = c.Close()
	}
}
