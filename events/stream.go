package events

import (
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// StreamName returns a stream's name in texts and metrics, such as "schema".
func StreamName(s metadatav1.Stream) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STREAM_"))
}
