package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

// network stands between the members of a cluster, of either system. Each member is
// reached through a door that forwards to the address on which it listens. One member at a
// time can be cut off: what it and the others send to each other is then kept back, as by
// a cable that was pulled, and forwarded when it is plugged in again.
type network struct {
	listeners []net.Listener
	targets   []string
	life      context.Context
	end       context.CancelFunc
	active    sync.WaitGroup

	mu      sync.Mutex
	pids    func() []int  // of the members, by index; nil until they run
	cut     int           // the member that is cut off; -1: none
	changed chan struct{} // closed and replaced when cut changes
}

// newNetwork opens a door for each address.
func newNetwork(targets []string) (*network, error) {
	n := &network{targets: targets, cut: -1, changed: make(chan struct{})}
	n.life, n.end = context.WithCancel(context.Background())
	for range targets {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			n.close()
			return nil, err
		}
		n.listeners = append(n.listeners, l)
	}
	for i, l := range n.listeners {
		n.active.Go(func() { n.accept(i, l) })
	}
	return n, nil
}

// doors are the addresses to give to the members.
func (n *network) doors() []string {
	var list []string
	for _, l := range n.listeners {
		list = append(list, l.Addr().String())
	}
	return list
}

func (n *network) close() {
	n.end()
	for _, l := range n.listeners {
		_ = l.Close()
	}
	n.active.Wait()
}

// setPIDs says how to find the members' processes.
func (n *network) setPIDs(pids func() []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pids = pids
}

// isolate cuts a member off; -1 heals.
func (n *network) isolate(member int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = member
	close(n.changed)
	n.changed = make(chan struct{})
}

// pass waits until bytes may travel between two members. It fails when the network ends.
func (n *network) pass(dialler func() int, target int) error {
	for {
		n.mu.Lock()
		cut, changed := n.cut, n.changed
		n.mu.Unlock()
		if cut < 0 || cut != target && cut != dialler() {
			return n.life.Err()
		}
		select {
		case <-changed:
		case <-n.life.Done():
			return n.life.Err()
		}
	}
}

func (n *network) accept(target int, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n.active.Go(func() { n.serve(target, c) })
	}
}

// serve forwards one connection in both directions until either ends.
func (n *network) serve(target int, in net.Conn) {
	defer in.Close()
	// Members dial before all of them are known; who dialled is found when it matters.
	dialler := sync.OnceValue(func() int { return n.owner(in) })
	if n.pass(dialler, target) != nil {
		return
	}
	out, err := net.Dial("tcp", n.targets[target])
	if err != nil {
		return
	}
	defer out.Close()
	done := context.AfterFunc(n.life, func() { _ = in.Close(); _ = out.Close() })
	defer done()
	var both sync.WaitGroup
	forward := func(to, from net.Conn) {
		defer in.Close()
		defer out.Close()
		n.forward(to, from, dialler, target)
	}
	both.Go(func() { forward(out, in) })
	both.Go(func() { forward(in, out) })
	both.Wait()
}

func (n *network) forward(to io.Writer, from io.Reader, dialler func() int, target int) {
	buffer := make([]byte, 64<<10)
	for {
		size, err := from.Read(buffer)
		if size > 0 {
			if n.pass(dialler, target) != nil {
				return
			}
			if _, err := to.Write(buffer[:size]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// owner finds which member dialled; -1 if none of them.
func (n *network) owner(c net.Conn) int {
	inode, err := inodeOf(c.RemoteAddr().(*net.TCPAddr).Port)
	if err != nil {
		return -1
	}
	n.mu.Lock()
	pids := n.pids
	n.mu.Unlock()
	for i, pid := range pids() {
		if holds(pid, inode) {
			return i
		}
	}
	return -1
}

var errNoSocket = errors.New("no such socket")

// inodeOf finds the socket at a local port of 127.0.0.1 or its form in IPv6.
func inodeOf(port int) (string, error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		inode := findInode(f, port)
		_ = f.Close()
		if inode != "" {
			return inode, nil
		}
	}
	return "", errNoSocket
}

// findInode reads lines such as "1: 0100007F:1F90 0100007F:C350 01 ...", whose tenth word
// is the inode.
func findInode(table io.Reader, port int) string {
	want := fmt.Sprintf("%04X", port)
	for lines := bufio.NewScanner(table); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 10 {
			continue
		}
		if _, local, _ := strings.Cut(words[1], ":"); local == want && words[9] != "0" {
			return words[9]
		}
	}
	return ""
}

// holds reports whether a process has a socket open.
func holds(pid int, inode string) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	files, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, f := range files {
		if to, err := os.Readlink(dir + "/" + f.Name()); err == nil && to == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
