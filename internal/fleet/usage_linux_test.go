package fleet

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestReadUsage(t *testing.T) {
	before, err := ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
	}
	after, err := ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.CPU <= before.CPU || after.Resident < after.Anonymous || after.Anonymous == 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestCPUOf(t *testing.T) {
	got, err := cpuOf([]byte("12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0"))
	if err != nil || got != 4*time.Second {
		t.Errorf("%v, %v; want 4 s", got, err)
	}
	if _, err := cpuOf([]byte("12 (a S 1")); err == nil {
		t.Error("a cut line was accepted")
	}
}

func TestDiskBytes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := DiskBytes(dir)
	if err != nil || n < 100_000 || n > 200_000 {
		t.Errorf("%d bytes, %v; want a little over 100,000", n, err)
	}
}
