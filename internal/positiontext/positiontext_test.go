package positiontext

import (
	"testing"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func TestPositionsAreReadAsTheyAreWritten(t *testing.T) {
	for _, p := range []*metadatav1.Position{{}, {SchemaRevision: 12, TopologyRevision: 4}, {SchemaRevision: 1<<64 - 1, TopologyRevision: 1<<64 - 1}} {
		if got, err := Parse(Format(p)); err != nil || !proto.Equal(got, p) {
			t.Errorf("%s: %v, %v", Format(p), got, err)
		}
	}
	for _, text := range []string{"", "12", "12:", ":4", "12:4:5", "12:4 5", "-1:4", "a:b", "99999999999999999999:1"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestStarts(t *testing.T) {
	for text, want := range map[string]*metadatav1.Position{
		"latest": nil, "beginning": nil, "0:0": {}, "3:4": {SchemaRevision: 3, TopologyRevision: 4},
	} {
		got, oldest, err := ParseStart(text)
		if err != nil || oldest != (text == "beginning") || (got == nil) != (want == nil) || !proto.Equal(got, want) {
			t.Errorf("%s: %v, %t, %v", text, got, oldest, err)
		}
	}
	if got, _, err := ParseStart("newest"); err == nil {
		t.Errorf("newest is taken for %v", got)
	}
}
