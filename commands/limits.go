package commands

import (
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits of names, texts and numbers in a command.
const (
	MaxNameBytes          = 128   // names of namespaces, tables, columns; ids of nodes
	MaxAddressBytes       = 262   // HOST:PORT
	MaxTextBytes          = 4096  // comments and defaults
	MaxProperties         = 64    // pairs of properties or labels
	MaxPropertyKeyBytes   = 256   // one key
	MaxPropertyValueBytes = 4096  // one value
	MaxColumns            = 1_600 // columns of a table
	MaxPrimaryKey         = 32    // columns of a primary key
	MaxAlterations        = 1_600 // steps of an AlterTable
	MaxKeyBytes           = 4096  // one end of a key range
	MaxShardMapChanges    = 10_000
	MaxSplitKeys          = 1_000
	MaxMergedShards       = 1_000
	MaxCommands           = 10_000 // commands of a batch
	MaxRequestIDBytes     = 128
	MaxActorBytes         = 256
	MaxOwnerBytes         = 256  // who opens a consumer
	MaxDescriptionBytes   = 1024 // of a consumer
)

// Limits of ids. Column ids are counted per table.
const (
	MaxID       = 1<<32 - 1
	MaxColumnID = 1<<16 - 1
)

// Limits of what the service holds.
const (
	MaxNamespaces = 100_000
	MaxTables     = 1_000_000
	MaxNodes      = 10_000
	MaxShards     = 1_000_000
	MaxConsumers  = 1_000
)

// Limits of encoded sizes, in bytes. A change travels in one message, with its
// frame around it, and no message is larger than 3 MiB.
const (
	MaxObjectBytes = 1 << 20
	MaxReplyBytes  = 3<<20 - 64<<10
	MaxChangeBytes = MaxReplyBytes - MaxListedHoleBytes

	// MaxConsumerBytes lets all consumers be listed in one message.
	MaxConsumerBytes = 2_560
)

// Limits of lists in answers.
const (
	MaxListedHoles     = 1_000
	MaxListedHoleBytes = 64 << 10
	MaxListedShards    = 1_000
)

// limit returns the rejection of what would pass a limit.
func limit(name, format string, args ...any) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED, format, args...).With("limit", name)
}
