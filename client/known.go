package client

import (
	"sync"
	"time"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
	serviceStream  = metadatav1.Stream_STREAM_SERVICE
)

// knownFor is how long a revision seen in an answer counts as what the client
// knows when it sends a write.
const knownFor = 30 * time.Second

// known is the newest revision of each stream that answers have shown, and when.
type known struct {
	mu   sync.Mutex
	life life                        // whose revisions they are
	last [serviceStream + 1]sighting // by stream; of the service's none is seen, as no position has it
}

// life is from where a cluster's revisions count: another cluster and one that was restored
// from a backup have revisions of their own.
type life struct {
	cluster string
	epoch   uint64
}

type sighting struct {
	revision uint64
	at       time.Time
}

// learn notes the position of an answer.
func (k *known) learn(p *metadatav1.Position) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch now := (life{p.GetClusterId(), p.GetRecoveryEpoch()}); {
	case now == k.life:
	case now.cluster == k.life.cluster && now.epoch < k.life.epoch:
		return // an answer that was late
	default:
		k.life, k.last = now, [len(k.last)]sighting{}
	}
	for _, s := range follow.Streams {
		if r := follow.RevisionOf(p, s); r >= k.last[s].revision {
			k.last[s] = sighting{r, now}
		}
	}
}

// revision returns a stream's newest revision, if it was seen not long ago; else
// 0. An old one is worth nothing: a write that comes with it would be refused for
// what others did meanwhile.
func (k *known) revision(s metadatav1.Stream) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.last[s]
	if time.Since(last.at) > knownFor {
		return 0
	}
	return last.revision
}
