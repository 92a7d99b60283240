package failure

import (
	"strings"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const reasonPrefix = "ERROR_REASON_"

// Name returns the name of a reason as it is sent: the enum value without its
// prefix, such as "NOT_FOUND".
func Name(reason metadatav1.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), reasonPrefix)
}

// ParseName returns the reason with this name, with or without the enum's
// prefix; UNSPECIFIED if there is none.
func ParseName(name string) metadatav1.ErrorReason {
	if !strings.HasPrefix(name, reasonPrefix) {
		name = reasonPrefix + name
	}
	return metadatav1.ErrorReason(metadatav1.ErrorReason_value[name])
}
