// Package positiontext writes positions as people read them, and reads them again: the
// revisions of the schema and the topology, such as 12:4. It is pure.
package positiontext

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Format writes a position.
func Format(p *metadatav1.Position) string {
	return fmt.Sprintf("%d:%d", p.GetSchemaRevision(), p.GetTopologyRevision())
}

// Parse reads a position.
func Parse(text string) (*metadatav1.Position, error) {
	p := new(metadatav1.Position)
	var rest string
	n, _ := fmt.Sscanf(text+" ", "%d:%d%s", &p.SchemaRevision, &p.TopologyRevision, &rest)
	if n != 2 {
		return nil, fmt.Errorf("position %q; write SCHEMA:TOPOLOGY, such as 12:4", text)
	}
	return p, nil
}

// ParseStart reads where a consumer begins: "latest" (neither: behind the newest changes),
// "beginning" (with the oldest changes that are kept) or a position.
func ParseStart(text string) (p *metadatav1.Position, fromOldest bool, err error) {
	switch text {
	case "latest":
		return nil, false, nil
	case "beginning":
		return nil, true, nil
	}
	p, err = Parse(text)
	if err != nil {
		return nil, false, fmt.Errorf("%w; or latest, or beginning", err)
	}
	return p, false, nil
}
