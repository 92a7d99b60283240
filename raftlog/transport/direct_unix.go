//go:build unix

package transport

import "syscall"

const canWriteNow = true

// writeNow writes what the socket takes without waiting, and returns how much that was. An
// error is nothing taken: whoever writes the rest meets it too.
func writeNow(socket syscall.RawConn, b []byte) (n int) {
	_ = socket.Control(func(fd uintptr) {
		n, _ = syscall.Write(int(fd), b)
	})
	return max(n, 0)
}
