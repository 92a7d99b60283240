package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const twoLines = "{\"a\":1}\n{\"b\":\"ü\"}\n"

// open opens a file and returns what the log was told.
func open(name string) (*File, string, error) {
	var said bytes.Buffer
	f, err := Open(name, slog.New(slog.NewTextHandler(&said, nil)))
	return f, said.String(), err
}

func TestWhatACrashLeavesIsCutOff(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.jsonl")
	longLine := "{" + strings.Repeat("\x00", MaxAppendBytes)
	for damage, left := range map[string]string{
		"":                           twoLines,
		"{":                          twoLines,
		"{\"c\":\"\\n":               twoLines,
		"{\"c\":1}":                  twoLines + "{\"c\":1}\n", // whole, but for its end
		"\x00\x00\x00":               twoLines,
		"\x00\x00\x00\n":             twoLines,
		"\x00\x00\x00\n\x00\x00\x00": twoLines,
		"{\"c\":\x00\x00\n{\"d\":1":  twoLines,
		"{\"c\":1}\n{\"d":            twoLines + "{\"c\":1}\n",
		longLine:                     twoLines, // the only line of its Append
		longLine + "\n":              twoLines,
	} {
		write(t, name, twoLines+damage)
		f, said, err := open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, name); got != left || f.Size() != int64(len(left)) {
			t.Errorf("%.50q becomes %.50q (%d bytes), want %q", damage, got, f.Size(), left)
		}
		if mended := len(damage) > 0; mended != strings.Contains(said, "offset=") {
			t.Errorf("%.50q: the log has %q", damage, said)
		}
		if err := f.Append([]byte("{\"e\":1}\n")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, name); got != left+"{\"e\":1}\n" {
			t.Errorf("%.50q: then it is %.50q", damage, got)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, all := range []string{"\x00\x00", "{", "\x00\n{"} {
		write(t, name, all)
		f, said, err := open(name)
		if err != nil || f.Size() != 0 || read(t, name) != "" || !strings.Contains(said, "offset=0") {
			t.Fatalf("%q: %v, %q", all, err, read(t, name))
		}
		_ = f.Close()
	}
}

// What no crash leaves was somebody's doing, or the disk's, and what is behind it was
// acknowledged: nothing of it is cut off.
func TestOtherDamageIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.jsonl")
	long := strings.Repeat("{\"c\":1}\n", MaxAppendBytes/len("{\"c\":1}\n"))
	for _, damage := range []string{
		"\n",                              // an editor's
		"\n{\"c\":1}\n",                   // in between
		"{\"c\":1\n{\"d\":1}\n",           // a byte is gone
		"z\"c\":1}\n{\"d\":1}\n",          // or another one
		"5\n",                             // JSON, but no object
		"note to self",                    // no line's end, no object either
		"\x00\x00\x00\n{\"c\":1}\n",       // zeros before a line that may have been acknowledged
		"{\"c\":\"\x00\"}\n{\"d\":1}\n{",  // so too when a crash has torn the end
		"\x00\x00\x00\n" + long,           // zeros before what was acknowledged long ago
		"{\"c\":\"\x00\"}\n" + long + "{", // so too when a crash has torn the end
	} {
		write(t, name, twoLines+damage)
		f, _, err := open(name)
		if err == nil {
			_ = f.Close()
			t.Errorf("%.30q is taken", damage)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("byte %d ", len(twoLines))) || !strings.Contains(err.Error(), name) {
			t.Errorf("%.30q: %v", damage, err)
		}
		if got := read(t, name); got != twoLines+damage {
			t.Errorf("%.30q: it is %.50q now", damage, got)
		}
	}
}

func TestOtherFilesStayAsTheyAre(t *testing.T) {
	name := filepath.Join(t.TempDir(), "important")
	for _, text := range []string{"root:x:0:0\n", "\x7fELF\x00\x00", "{\n  \"a\": 1\n}\n"} {
		write(t, name, text)
		if _, _, err := open(name); err == nil || !strings.Contains(err.Error(), "not a file of JSON lines") {
			t.Fatalf("%q: %v", text, err)
		}
		if got := read(t, name); got != text {
			t.Fatalf("%q is %q now", text, got)
		}
	}
}

func TestAFileHasOneProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.jsonl")
	f, _, err := open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(name); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("a second time: %v", err)
	}
	_ = f.Close()
	f, _, err = open(name)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

// What is appended at once is as much as a crash can damage.
func TestAppendsAreBounded(t *testing.T) {
	line := "{\"x\":\"" + strings.Repeat("x", MaxAppendBytes-10) + "\"}\n"
	f := &File{name: "f", file: &disk{}}
	if err := f.Append([]byte(line)); err != nil {
		t.Fatal(err)
	}
	if err := f.Append([]byte("{}" + strings.Repeat(" ", MaxAppendBytes) + "\n")); err != nil {
		t.Fatalf("a single line: %v", err)
	}
	if err := f.Append([]byte(line + "{}\n")); err == nil || !strings.Contains(err.Error(), "at most") || errors.Is(err, ErrBroken) {
		t.Fatalf("several: %v", err)
	}
}

// disk is a handle that fails as told.
type disk struct {
	text                  string
	write, sync, truncate error
}

func (d *disk) Write(p []byte) (int, error) {
	if d.write != nil {
		d.text += string(p[:len(p)/2])
		return len(p) / 2, d.write
	}
	d.text += string(p)
	return len(p), nil
}
func (d *disk) Sync() error { return d.sync }
func (d *disk) Truncate(size int64) error {
	if d.truncate == nil {
		d.text = d.text[:size]
	}
	return d.truncate
}
func (d *disk) Close() error { return nil }

func TestAFailedWriteLeavesNothing(t *testing.T) {
	failure := errors.New("no space")
	d := &disk{}
	f := &File{name: "f", file: d}
	line := []byte("{}\n")
	if err := f.Append(line); err != nil {
		t.Fatal(err)
	}
	d.write = failure
	if err := f.Append(line); !errors.Is(err, failure) || errors.Is(err, ErrBroken) || d.text != "{}\n" {
		t.Fatalf("%v, %q", err, d.text)
	}
	d.write = nil
	if err := f.Append(line); err != nil || d.text != "{}\n{}\n" {
		t.Fatalf("%v, %q", err, d.text)
	}
}

func TestAFailedSyncIsNotTriedAgain(t *testing.T) {
	failure := errors.New("bad disk")
	for name, d := range map[string]*disk{"sync": {sync: failure}, "truncate": {write: failure, truncate: failure}} {
		f := &File{name: "f", file: d}
		if err := f.Append([]byte("{}\n")); !errors.Is(err, ErrBroken) || !errors.Is(err, failure) {
			t.Fatalf("%s: %v", name, err)
		}
		d.sync, d.write, d.truncate = nil, nil, nil
		before := d.text
		if err := f.Append([]byte("{}\n")); !errors.Is(err, ErrBroken) || d.text != before {
			t.Fatalf("%s: then %v", name, err)
		}
	}
}
