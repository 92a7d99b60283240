package simulation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"
)

// tracedLines is how many of the last lines of a trace are kept for a report.
const tracedLines = 200

// trace is what happened, one line an event worth reading. Its hash covers all lines,
// and the moments of all events, so that two runs can be compared without keeping them.
type trace struct {
	out     io.Writer // gets every line, verbose ones too; nil: nobody reads along
	verbose bool      // lines about single messages are made
	ring    []string
	next    int
	hash    hash.Hash
	scratch [8]byte
}

func newTrace(out io.Writer) *trace {
	return &trace{out: out, verbose: out != nil, hash: sha256.New()}
}

// moment puts an event into the hash.
func (t *trace) moment(at time.Duration) {
	binary.LittleEndian.PutUint64(t.scratch[:], uint64(at))
	_, _ = t.hash.Write(t.scratch[:])
}

// line adds a line.
func (t *trace) line(now time.Duration, who, format string, args ...any) {
	s := fmt.Sprintf("%12.6f %-4s %s", now.Seconds(), who, fmt.Sprintf(format, args...))
	_, _ = io.WriteString(t.hash, s)
	t.keep(s)
}

// detail adds a line about a message, if anybody reads along. It is not in the hash:
// what it tells follows from what is.
func (t *trace) detail(now time.Duration, who, format string, args ...any) {
	if t.verbose {
		t.keep(fmt.Sprintf("%12.6f %-4s %s", now.Seconds(), who, fmt.Sprintf(format, args...)))
	}
}

func (t *trace) keep(s string) {
	if t.out != nil {
		_, _ = fmt.Fprintln(t.out, s)
	}
	if len(t.ring) < tracedLines {
		t.ring = append(t.ring, s)
		return
	}
	t.ring[t.next] = s
	t.next = (t.next + 1) % tracedLines
}

// last returns the lines kept, oldest first.
func (t *trace) last() []string {
	return append(append([]string(nil), t.ring[t.next:]...), t.ring[:t.next]...)
}

// sum returns the hash so far.
func (t *trace) sum() string { return hex.EncodeToString(t.hash.Sum(nil)) }
