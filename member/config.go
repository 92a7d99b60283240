package member

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/raftlog"
)

// Defaults and limits of a Config.
const (
	// DefaultTick is the unit of Raft's time: a leader beats once a tick, and
	// after ElectionTicks without a beat the others elect a new one.
	DefaultTick = 100 * time.Millisecond
	// MinTick keeps elections apart from the jitter of a busy machine.
	MinTick = 5 * time.Millisecond
	// MaxTick bounds how long a failure goes unnoticed.
	MaxTick = 10 * time.Second
	// ElectionTicks is the silence after which a leader counts as gone.
	ElectionTicks = 10
	// MaxMembers bounds the initial members.
	MaxMembers = 9
	// maxInbox bounds the calls that wait for one stream's goroutine.
	maxInbox = 16384
	// maxInboxMessages bounds what waits there when a message of a peer is taken;
	// further ones are dropped, raft repeats them.
	maxInboxMessages = 65536
	// spaceInterval is how often the disk's free space is looked at.
	spaceInterval = time.Second
	// submitPatience is how long a call waits for a leader before it fails.
	submitPatience = 3 * time.Second
	// ServiceHistoryChanges is how many changes of the service stream it makes sense to keep
	// unless somebody audits it: most are positions that consumers have acknowledged, one a second
	// for each. Who made or deleted a consumer, older signed heads and earlier trims are among them.
	ServiceHistoryChanges = 100_000
	// stopPatience is how long a stopping member tries to hand leadership over.
	stopPatience = 5 * time.Second
)

// Config of a Member. Store, RaftListener, ID, Peers and ClusterName are
// required.
type Config struct {
	ID          uint64
	ClusterName string
	// Peers are the initial members, this one included, with the addresses of
	// their Raft ports. All members have to name the same.
	Peers []raftlog.Peer
	// Store is opened by the caller and closed by the Member.
	Store raftlog.Storage
	// RaftListener accepts the other members. The Member closes it.
	RaftListener net.Listener
	// Advertise is the address at which clients reach this member.
	Advertise string
	// TLS makes the Raft port mutual TLS; nil: plain text.
	TLS *tls.Config
	// Dial opens connections to other members; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	Tick   time.Duration // 0: DefaultTick
	Leases leases.Options
	// CheckpointRevisions is how many changes lie between two checkpoints; it has
	// to be the same on all members. 0: the replica's default.
	CheckpointRevisions uint64
	// TrailingEntries is how much of the log stays before a checkpoint. 0: the
	// replica's default.
	TrailingEntries uint64
	// LogBytes is how much of each stream's recent changes stays in memory for
	// subscribers. 0: the feed's default.
	LogBytes int

	// AuditKey signs the heads of streams, see package audit; nil: none are signed while this
	// member leads the service stream. Members may have different keys.
	AuditKey ed25519.PrivateKey
	// Audit says how often. A zero one: audit.DefaultEvery and audit.DefaultWithin.
	Audit audit.Policy

	// HistoryMaxAge is how long changes of the schema and the topology are kept, HistoryMaxBytes
	// how much of each of the two a member's disk keeps, about. Up to a tenth more is kept, so
	// that trimming is rare, and what a consumer needs, up to HistoryHardBytes. 0: keep all.
	// The leader of the service stream decides, and only while all members that answer, a majority at
	// least, were told the same.
	HistoryMaxAge   time.Duration
	HistoryMaxBytes uint64
	// HistoryHardBytes is the size above which what consumers need is trimmed too. 0: twice
	// HistoryMaxBytes; if that is 0 as well, never: HistoryMaxAge alone trims nothing that a consumer needs.
	HistoryHardBytes uint64
	// HistoryFoldChanges is how many changes a fold of the past has at least for its model to be
	// archived. 0: history.SaveEvery.
	HistoryFoldChanges uint64
	// HistoryServiceChanges is how many changes of the service stream are kept, see
	// ServiceHistoryChanges. 0: keep all.
	HistoryServiceChanges uint64

	Version string // of the build, for people
	// Build identifies the program: two that may behave differently have different ones.
	// Members with another checkpoint than the rest's are stopped only among equal builds;
	// empty (not known): never.
	Build    string
	Observer vitals.Observer
	Logger   *slog.Logger
	// Now is the wall clock that stamps changes; nil: time.Now.
	Now func() time.Time
	// Seed seeds what need not be secret: jitter and the ids of reads. 0: random.
	Seed uint64

	segment uint64 // revisions of a segment of the index of objects; tests make it small
}

func (c *Config) setDefaults() {
	if c.Tick == 0 {
		c.Tick = DefaultTick
	}
	if c.Observer == nil {
		c.Observer = vitals.Silent{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Audit == (audit.Policy{}) {
		c.Audit = audit.Policy{Every: audit.DefaultEvery, Within: audit.DefaultWithin}
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if c.segment == 0 {
		c.segment = objects.SegmentRevisions
	}
	if c.HistoryHardBytes == 0 {
		c.HistoryHardBytes = 2 * c.HistoryMaxBytes
	}
}

func (c *Config) check() error {
	switch {
	case c.ID == 0:
		return fmt.Errorf("member: node id 0; use 1 or more")
	case c.ClusterName == "":
		return fmt.Errorf("member: the cluster name is empty")
	case len(c.Peers) == 0 || len(c.Peers) > MaxMembers:
		return fmt.Errorf("member: %d peers; name 1 to %d, this member included", len(c.Peers), MaxMembers)
	case c.AuditKey != nil && len(c.AuditKey) != ed25519.PrivateKeySize:
		return fmt.Errorf("member: an audit key of %d bytes; an Ed25519 private key has %d", len(c.AuditKey), ed25519.PrivateKeySize)
	case c.Tick < MinTick || c.Tick > MaxTick:
		return fmt.Errorf("member: a tick of %v; use %v to %v", c.Tick, MinTick, MaxTick)
	case c.HistoryMaxAge < 0:
		return fmt.Errorf("member: a history of %v; use a time above 0, or 0 to keep all", c.HistoryMaxAge)
	case c.HistoryHardBytes < c.HistoryMaxBytes:
		return fmt.Errorf("member: HistoryHardBytes is %d, below HistoryMaxBytes (%d); use that or more, or 0 for twice as much", c.HistoryHardBytes, c.HistoryMaxBytes)
	}
	seen := make(map[uint64]bool)
	addresses := make(map[string]uint64)
	for _, p := range c.Peers {
		if p.ID == 0 || seen[p.ID] {
			return fmt.Errorf("member: peer id %d is 0 or named twice", p.ID)
		}
		if other, ok := addresses[p.Addr]; ok {
			return fmt.Errorf("member: peers %d and %d have the same address %s", other, p.ID, p.Addr)
		}
		if _, _, err := net.SplitHostPort(p.Addr); err != nil {
			return fmt.Errorf("member: peer %d: address %q: %w; write HOST:PORT", p.ID, p.Addr, err)
		}
		seen[p.ID], addresses[p.Addr] = true, p.ID
	}
	if !seen[c.ID] {
		return fmt.Errorf("member: node id %d is not among the peers; add %d=HOST:PORT to them", c.ID, c.ID)
	}
	return c.Leases.Check()
}
