package member

import (
	"slices"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// groupOf returns the Raft group of a stream: it has the stream's number, which is
// stored and never changes.
func groupOf(s metadatav1.Stream) raftlog.GroupID { return raftlog.GroupID(s) }

// known reports whether a stream that another member names is one of this build's:
// groupOf would take others for them.
func known(s metadatav1.Stream) bool {
	return s == metadatav1.Stream_STREAM_SCHEMA || s == metadatav1.Stream_STREAM_TOPOLOGY
}

// groups returns the Raft groups of all streams.
func groups() []raftlog.GroupID {
	return []raftlog.GroupID{
		groupOf(metadatav1.Stream_STREAM_SCHEMA),
		groupOf(metadatav1.Stream_STREAM_TOPOLOGY),
	}
}

func sortedPeers(peers []raftlog.Peer) []raftlog.Peer {
	return slices.SortedFunc(slices.Values(peers), func(a, b raftlog.Peer) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

// peerAddresses returns the configured addresses of the other members. They may
// differ from those at genesis: members may move.
func (m *Member) peerAddresses() map[uint64]string {
	addresses := make(map[uint64]string)
	for _, p := range m.config.Peers {
		if p.ID != m.config.ID {
			addresses[p.ID] = p.Addr
		}
	}
	return addresses
}
