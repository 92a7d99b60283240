package events

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
)

// A file that exists is a promise: its bytes are in somebody's log. -update
// writes files for new kinds only, and never touches an existing one.
var update = flag.Bool("update", false, "write frozen bytes that do not exist yet")

func frozen(t *testing.T, name string, encoded []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "v1", name+".hex")
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) && *update {
		text = []byte(wrap(hex.EncodeToString(encoded)))
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if string(want) != string(encoded) {
		t.Errorf("%s: the encoding changed:\n got %x\nwant %x", name, encoded, want)
	}
	return want
}

func wrap(digits string) string {
	var b strings.Builder
	for len(digits) > 0 {
		n := min(len(digits), 96)
		fmt.Fprintln(&b, digits[:n])
		digits = digits[n:]
	}
	return b.String()
}

func TestFrozenEvents(t *testing.T) {
	kind := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind")
	for _, m := range samples() {
		name := string(m.ProtoReflect().WhichOneof(kind).Name())
		t.Run(name, func(t *testing.T) {
			raw := frozen(t, name, New(m).Raw())
			got := new(metadatav1.Event)
			if err := proto.Unmarshal(raw, got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, m) {
				t.Errorf("decodes to %v, want %v", got, m)
			}
		})
	}
}

func TestFrozenChanges(t *testing.T) {
	for name, stream := range map[string]metadatav1.Stream{
		"change_schema":   metadatav1.Stream_STREAM_SCHEMA,
		"change_topology": metadatav1.Stream_STREAM_TOPOLOGY,
		"change_service":  metadatav1.Stream_STREAM_SERVICE,
	} {
		want := sampleChange(stream)
		got, err := DecodeChange(frozen(t, name, want.Raw()))
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got.Message(), want.Message()) {
			t.Errorf("%s decodes to %v, want %v", name, got.Message(), want.Message())
		}
	}
}

func TestFrozenBatch(t *testing.T) {
	want := sampleBatch()
	got, err := DecodeBatch(frozen(t, "batch", want.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if got.Stream != want.Stream || got.Cluster != want.Cluster || got.RecoveryEpoch != 1 || got.Term != 5 ||
		got.Previous != want.Previous || got.FeatureLevel != 1 || len(got.Changes) != 2 {
		t.Fatalf("decodes to %+v", got)
	}
	for i, c := range got.Changes {
		if string(c.Raw()) != string(want.Changes[i].Raw()) {
			t.Errorf("change %d differs", i)
		}
	}
}

// The vectors were computed with another implementation of SHA-256 over bytes
// written out by hand.
func TestDigestVectors(t *testing.T) {
	cluster, err := ParseClusterID("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	d := FirstDigest(cluster, metadatav1.Stream_STREAM_SCHEMA)
	for _, step := range []struct{ change, want string }{
		{"", "1a9babe06dfb2d1bc9e7f2419f0b791be998720d37381eec2d3208a37704f37e"},
		{"first", "3524b7a16b05ce36272749d00fc5443f1adafaf5e384a6fec2554efb2906f469"},
		{"second change", "03968a1d717456f00cf3ba02d3c9cd09822fe97fbe6f0fd9b98989d5f8a2c75d"},
	} {
		if step.change != "" {
			d = d.Next([]byte(step.change))
		}
		if d.String() != step.want {
			t.Errorf("after %q: %v, want %v", step.change, d, step.want)
		}
	}
	first := make(map[Digest]bool)
	for _, s := range streams {
		first[FirstDigest(cluster, s)] = true
	}
	if len(first) != len(streams) {
		t.Error("two streams begin with the same digest")
	}
}
