package jsonl

import (
	"errors"
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

func TestWhatACrashLeavesIsCutOff(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.jsonl")
	for damage, left := range map[string]string{
		"":                           twoLines,
		"{":                          twoLines,
		"{\"c\":1}":                  twoLines, // whole, but for its end
		"\x00\x00\x00":               twoLines,
		"\x00\x00\x00\n{\"c\":1}\n":  twoLines, // a later block came to the disk before an earlier one
		"{\"c\":\x00\x00\n{\"d\":1}": twoLines,
		"{\"c\":1}\n{\"d":            twoLines + "{\"c\":1}\n",
	} {
		write(t, name, twoLines+damage)
		f, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, name); got != left || f.Size() != int64(len(left)) {
			t.Errorf("%q becomes %q (%d bytes), want %q", damage, got, f.Size(), left)
		}
		if err := f.Append([]byte("{\"e\":1}\n")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, name); got != left+"{\"e\":1}\n" {
			t.Errorf("%q: then it is %q", damage, got)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, all := range []string{"\x00\x00", "{", "\x00\n{}\n"} {
		write(t, name, all)
		f, err := Open(name)
		if err != nil || f.Size() != 0 || read(t, name) != "" {
			t.Fatalf("%q: %v, %q", all, err, read(t, name))
		}
		_ = f.Close()
	}
}

func TestOtherFilesStayAsTheyAre(t *testing.T) {
	name := filepath.Join(t.TempDir(), "important.txt")
	write(t, name, "root:x:0:0\n")
	if _, err := Open(name); err == nil || !strings.Contains(err.Error(), "not a file of JSON lines") {
		t.Fatalf("got %v", err)
	}
	if got := read(t, name); got != "root:x:0:0\n" {
		t.Fatalf("it is %q now", got)
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
