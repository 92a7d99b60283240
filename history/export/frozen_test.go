package export_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/export"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/testing/protocmp"
)

// A file that exists is a promise: its bytes are in somebody's archive. -update writes
// files that are not there yet, and never touches one that is.
var update = flag.Bool("update", false, "write frozen files that do not exist yet")

// TestFrozenFile reads a file that was written when its format was new. What compression
// makes may change from one release to the next; what is in the file may not.
func TestFrozenFile(t *testing.T) {
	memories := sampleSources()
	heads := []*metadatav1.SignedHead{signedHead(memories[0], 2)}
	for name, content := range map[string][]byte{
		"v1.export":  write(t, export.Options{SignedHeads: heads}, memories...),
		"v1.digests": digests(t, write(t, export.Options{SignedHeads: heads}, memories...)),
	} {
		path := filepath.Join("testdata", name)
		if _, err := os.Stat(path); os.IsNotExist(err) && *update {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := export.Open(filepath.Join("testdata", "v1.export"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for i, source := range f.Sources() {
		checkSource(t, source, memories[i])
	}
	want := sampleHeader
	want.Cluster, want.RecoveryEpoch, want.Streams = f.Header().Cluster, f.Header().RecoveryEpoch, f.Header().Streams
	if diff := cmp.Diff(want, f.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(heads[0], f.Trailer().SignedHeads[0], protocmp.Transform()); diff != "" || len(f.Trailer().SignedHeads) != 4 {
		t.Errorf("signed heads %v (-want +got):\n%s", f.Trailer().SignedHeads, diff)
	}
	content, err := os.ReadFile(filepath.Join("testdata", "v1.export"))
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(filepath.Join("testdata", "v1.digests"))
	if got := string(digests(t, content)); err != nil || got != string(said) {
		t.Errorf("the digests are\n%s, want\n%s: %v", got, said, err)
	}
}

// digests says, a line for each stream, which digest a file has verified to.
func digests(t *testing.T, file []byte) []byte {
	f := open(t, file)
	verified, err := f.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i, v := range verified {
		fmt.Fprintf(&b, "%s %d-%d %v\n", events.StreamName(f.Header().Streams[i].Stream), v.First, v.Last, v.Digest)
	}
	return []byte(b.String())
}
