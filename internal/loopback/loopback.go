// Package loopback finds addresses on this machine for tests that have to know a
// port before they listen on it, and to listen on it again later.
//
// The ports lie below those that systems give to outgoing connections, so that no
// connection takes one while its listener is down. No address is returned twice in
// a process. Another process may still take it: the package reserves nothing.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports to choose from: above the well-known ones, below the ephemeral ones of
// Linux (32768), macOS and Windows (49152).
const (
	firstPort = 10_000
	lastPort  = 32_000
	tries     = 1000
)

var (
	mu    sync.Mutex
	given = make(map[int]bool)
)

// Address returns an address of 127.0.0.1 whose port nobody listens on right now.
func Address() (string, error) {
	mu.Lock()
	defer mu.Unlock()
	for range tries {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if given[port] {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", err
		}
		given[port] = true
		return address, nil
	}
	return "", fmt.Errorf("loopback: no free port between %d and %d in %d tries", firstPort, lastPort, tries)
}
