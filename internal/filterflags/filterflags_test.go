package filterflags

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func parse(t *testing.T, args ...string) (*metadatav1.Filter, error) {
	t.Helper()
	var f Flags
	c := new(cobra.Command)
	f.AddTo(c)
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f.Filter()
}

func TestFlagsAreAFilter(t *testing.T) {
	got, err := parse(t, "--stream", "schema,TOPOLOGY", "--kind", "table", "-n", "a,b", "--table", "t", "--node", "n", "--shard", "7")
	want := &metadatav1.Filter{
		Streams:    []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY},
		Kinds:      []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE},
		Namespaces: []string{"a", "b"}, Tables: []string{"t"}, Nodes: []string{"n"}, Shards: []uint64{7},
	}
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := parse(t); err != nil || !proto.Equal(got, new(metadatav1.Filter)) {
		t.Errorf("no flags: %v, %v", got, err)
	}
}

// What is in the service's own stream is not subscribed to.
func TestUnknownNamesAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--stream", "x"}, {"--stream", "service"}, {"--stream", "unspecified"}, {"--kind", "x"}, {"--kind", "consumer"}} {
		if f, err := parse(t, args...); err == nil || !strings.Contains(err.Error(), args[1]) {
			t.Errorf("%v: %v, %v", args, f, err)
		}
	}
}
