//go:build !unix

package transport

import "syscall"

const canWriteNow = false

// writeNow writes nothing: sockets here cannot be asked to take what they can at once.
func writeNow(syscall.RawConn, []byte) int { return 0 }
