package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Member is what the server needs of a running member. All methods may be
// called at the same time; those that take a context end with it. Errors are
// *failure.Error or a context's; anything else reaches the client as INTERNAL,
// without its text.
type Member interface {
	// Write carries out a command: one of the request messages of the writing
	// rpcs, with WriteOptions that have a request id. It is decided here or
	// forwarded one hop to the stream's leader. The reply is the rpc's response
	// message, its WriteResult complete with the position. The command belongs to
	// the member from then on, the reply to the caller.
	Write(ctx context.Context, command proto.Message, actor string) (proto.Message, error)
	// Schema returns the schema model, as fresh as the options ask for; nil
	// options mean LINEARIZABLE. An AT_LEAST position of another cluster or
	// recovery epoch is refused with FOREIGN_POSITION.
	Schema(ctx context.Context, options *metadatav1.ReadOptions) (*projections.Schema, error)
	// Topology returns the topology model, likewise.
	Topology(ctx context.Context, options *metadatav1.ReadOptions) (*projections.Topology, error)
	// Service returns the model of the service stream, likewise; positions do not cover it, so
	// that AT_LEAST is LINEARIZABLE.
	Service(ctx context.Context, options *metadatav1.ReadOptions) (*projections.Service, error)
	// History returns what this member has of a stream's past. Its failures are HISTORY_TRIMMED,
	// HISTORY_GAP naming a member that has what is missing here, DAMAGED, and why the member
	// does not run any more.
	History(ctx context.Context, stream metadatav1.Stream) (history.Live, error)
	// Objects returns the log of the objects of a stream.
	Objects(ctx context.Context, stream metadatav1.Stream) (*objects.Log, error)
	// SchemaAt returns the schema model behind the change of a revision, 0: before the first
	// one, or the newest model for history.Now; it does not wait for that. See history.Models
	// for its failures and for how long it may take.
	SchemaAt(ctx context.Context, revision uint64) (*projections.Schema, error)
	// TopologyAt returns the topology model, likewise.
	TopologyAt(ctx context.Context, revision uint64) (*projections.Topology, error)
	// ServiceAt returns the model of the service stream, likewise.
	ServiceAt(ctx context.Context, revision uint64) (*projections.Service, error)
	// VerifyHistory reads all that this member keeps of a stream, as history.Verify does, and
	// calls progress on the caller's goroutine.
	VerifyHistory(ctx context.Context, stream metadatav1.Stream, progress history.Progress) (history.Verified, error)
	// Position returns what this member has applied by now.
	Position() *metadatav1.Position
	// Subscribe sends frames until ctx ends, send fails (that error is returned
	// as it is) or the subscription cannot go on. send is called from one
	// goroutine at a time, blocks while the client does not read, and sends the
	// frame's shared encoding, so that a change is encoded once for all.
	Subscribe(ctx context.Context, request *metadatav1.SubscribeRequest, send func(feed.Frame) error) error
	// Heartbeat answers beats, in their order, one answer for each. A beat that is
	// refused is an answer, not an error.
	Heartbeat(ctx context.Context, beats []*metadatav1.HeartbeatRequest) ([]*metadatav1.StreamHeartbeatsResponse, error)
	// NodeReports returns what nodes have said in their latest beats, as the topology's leader
	// knows it. NO_LEADER if nobody can say.
	NodeReports(ctx context.Context, request *metadatav1.NodeReportsRequest) (*metadatav1.NodeReportsResponse, error)
	// Status describes the cluster as this member sees it.
	Status(ctx context.Context) (*metadatav1.StatusResponse, error)
	// Ready reports why the member cannot serve right now; nil if it can: a leader
	// is known for each stream. It does not wait.
	Ready() error
	// Leases returns how long a node's lease lasts and how often a node should
	// beat.
	Leases() (lease, interval time.Duration)
	// Stats returns the numbers by which the member is watched. It does not wait.
	Stats() vitals.Stats
}
