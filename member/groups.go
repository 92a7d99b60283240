package member

import (
	"slices"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// streamIDs are the streams of this build, in order of their numbers.
var streamIDs = [...]metadatav1.Stream{
	metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE,
}

// positioned are those that positions cover and subscriptions follow.
var positioned = streamIDs[:2]

// groupOf returns the Raft group of a stream: it has the stream's number, which is
// stored and never changes.
func groupOf(s metadatav1.Stream) raftlog.GroupID { return raftlog.GroupID(s) }

// known reports whether a stream that another member names is one of this build's:
// groupOf would take others for them.
func known(s metadatav1.Stream) bool { return slices.Contains(streamIDs[:], s) }

// groups returns the Raft groups of all streams.
func groups() []raftlog.GroupID {
	var ids []raftlog.GroupID
	for _, s := range streamIDs {
		ids = append(ids, groupOf(s))
	}
	return ids
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
