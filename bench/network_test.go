package main

import (
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestNetworkHoldsBytesAndLetsThemGo talks to itself through a door: this process is
// member 1, what listens is member 0.
func TestNetworkHoldsBytesAndLetsThemGo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	n, err := newNetwork([]string{l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	n.setPIDs(func() []int { return []int{1, os.Getpid()} })
	c, err := net.Dial("tcp", n.doors()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo := func(limit time.Duration) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(limit))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	if err := echo(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	n.isolate(1) // the dialler: found by its socket
	if err := echo(100 * time.Millisecond); err == nil {
		t.Fatal("bytes of a member that is cut off arrived")
	}
	n.isolate(-1) // what was held comes, and nothing is lost
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatalf("healed: %v", err)
	}
	n.isolate(0)
	if err := echo(100 * time.Millisecond); err == nil {
		t.Fatal("bytes to a member that is cut off arrived")
	}
}
