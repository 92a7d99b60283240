package raftlog

// Limits of a Rebuild. Ticks are the caller's, those of Group.Tick will do.
const (
	// DefaultAskTicks is how long a round of questions for an offer may take.
	DefaultAskTicks = 5
	// DefaultEntriesTicks is how long a batch of entries may take before it is asked for
	// again.
	DefaultEntriesTicks = 20
	// DefaultEntriesTries is how often a batch is asked for before everything begins again.
	DefaultEntriesTries = 5
	// MaxRebuildBytes limits the entries of one batch, if there is more than one.
	MaxRebuildBytes = 1 << 20
)

// RebuildConfig says what is rebuilt. Zero values of limits stand for the defaults.
type RebuildConfig struct {
	Group  GroupID
	Member uint64   // the one in quarantine
	Voters []uint64 // of the group, Member included
	// Promise is what Storage.Promise returned. Known is false when it did not know,
	// or when the directory was found to be older than its member.
	Promise Promise
	Known   bool
	// Seed is random, or at least another one each time: an answer to a question of an
	// earlier quarantine must not be taken for one of this.
	Seed uint64

	AskTicks      int
	EntriesTicks  int
	EntriesTries  int
	BatchBytes    int // of one EntriesRequest
	MaxEntryBytes int // one entry's data, as Config.MaxEntryBytes
	Receiver      ReceiverLimits
}
