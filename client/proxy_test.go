package client

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// startCuttingProxy passes connections on to an address, and cuts each after a while. It
// returns its own address.
func startCuttingProxy(t *testing.T, to string, after time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	work.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { passOn(from, to, after) })
		}
	})
	return l.Addr().String()
}

func passOn(from net.Conn, to string, after time.Duration) {
	defer from.Close()
	onward, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	cut := time.AfterFunc(after, func() {
		_ = from.Close()
		_ = onward.Close()
	})
	defer cut.Stop()
	defer onward.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, onward}, {onward, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // until one side is cut
			_ = way[0].Close()
		})
	}
	both.Wait()
}
