package jsonl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// shownBytes is how much of a line is shown.
const shownBytes = 120

// repair finds the end of the whole lines, and mends what a crash has left behind it: that
// of the last Append. It returns the size of the file then. Any other damage is an error,
// and the file stays as it is.
func repair(name string, file *os.File, log *slog.Logger) (size int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	lines := bufio.NewReaderSize(file, 1<<20)
	for size < info.Size() {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		length, rest := int64(len(line)), info.Size()-size
		whole := line[0] == '{' && json.Valid(line)
		switch {
		case whole && errors.Is(err, io.EOF):
			log.Warn("the last line had no end; it has one now", "file", name, "offset", size)
			return info.Size() + 1, end(file)
		case whole:
			size += length
		case torn(line) && rest > length && followed(lines):
			return 0, fmt.Errorf("%s: at byte %d there is damage (%q), and whole lines are behind it: it is not what a crash has left of the last write, or not all of that; "+
				"put the line right or take it out: if you cut the file off there, what is behind it does not come again", name, size, shown(line))
		case torn(line) && (rest <= MaxAppendBytes || rest == length):
			log.Warn("what a crash has left of the last write is cut off; it was not acknowledged",
				"file", name, "offset", size, "bytes", rest, "begins", shown(line))
			return size, cut(file, size)
		default:
			return 0, fmt.Errorf("%s is not a file of JSON lines, or it is damaged: at byte %d there is no JSON object on a line but %q, which no crash leaves; "+
				"put the line right or take it out, or name another file", name, size, shown(line))
		}
	}
	return size, nil
}

// torn reports whether a crash may have left a line that is not whole: bytes that have not
// come to the disk are missing at the end, or are zero, in any order. JSON has no zeros.
func torn(line []byte) bool {
	return (line[0] == '{' || line[0] == 0) && (bytes.IndexByte(line, 0) >= 0 || line[len(line)-1] != '\n')
}

// followed reports whether there is a whole line in what was not read yet.
func followed(lines *bufio.Reader) bool {
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return false
		}
		if line[0] == '{' && json.Valid(line) {
			return true
		}
	}
}

func shown(line []byte) string { return string(line[:min(len(line), shownBytes)]) }

// end ends the last line, durably.
func end(file *os.File) error {
	if _, err := file.WriteString("\n"); err != nil {
		return err
	}
	return file.Sync()
}

// cut cuts off what is behind an offset, durably.
func cut(file *os.File, offset int64) error {
	if err := file.Truncate(offset); err != nil {
		return err
	}
	return file.Sync()
}
