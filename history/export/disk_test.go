package export_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/history/export"
)

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metadata.export")
	fill := func(w io.Writer) error {
		_, err := export.Write(t.Context(), w, sampleHeader, asSources(sampleSources()[:2]...), export.Options{})
		return err
	}
	full := errors.New("disk full")
	err := export.Create(path, func(w io.Writer) error {
		if err := fill(w); err != nil {
			return err
		}
		return full
	})
	if left, _ := os.ReadDir(dir); !errors.Is(err, full) || len(left) > 0 {
		t.Fatalf("a failure left %v: %v", left, err)
	}
	if err := export.Create(path, fill); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("success left %v", left)
	}
	verified, err := export.VerifyFile(t.Context(), path, nil)
	if err != nil || len(verified) != 2 || verified[0].Last != 12 {
		t.Errorf("verified %+v: %v", verified, err)
	}
	before, _ := os.ReadFile(path)
	if err := export.Create(path, func(io.Writer) error { return nil }); err == nil || !strings.Contains(err.Error(), "there is such a file") {
		t.Errorf("a file was replaced: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file is another one")
	}
	late := filepath.Join(dir, "late")
	err = export.Create(late, func(io.Writer) error { return os.WriteFile(late, []byte("somebody's"), 0o600) })
	if content, _ := os.ReadFile(late); err == nil || !strings.Contains(err.Error(), "there is such a file") || string(content) != "somebody's" {
		t.Errorf("a file that appeared meanwhile was replaced: %v, %q", err, content)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("left are %v", left)
	}
	if err := export.Create(filepath.Join(dir, "nowhere", "file"), fill); err == nil {
		t.Error("a file was created nowhere")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is text and long enough for a header"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		filepath.Join(dir, "nowhere"): "no such file",
		dir:                           "is no regular file",
		text:                          "no export of a history",
	} {
		if _, err := export.Open(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want what mentions %q", path, err, says)
		}
	}
}
