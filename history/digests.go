package history

import (
	"sync"

	"github.com/heliosdb/metadata/events"
)

// Digests are digests that a source comes across while it reads, so that a [DigestKeeper]
// need not read the same again to name them. A digest stays until one behind it is asked for. Any
// goroutine may call them.
type Digests struct {
	mu    sync.Mutex
	kept  []keptDigest // ascending
	asked uint64       // the revision that Next was last asked about
}

type keptDigest struct {
	revision uint64
	digest   events.Digest
}

// Note adds the digest behind a revision. What comes behind a later one is left out: it was
// read before.
func (d *Digests) Note(revision uint64, digest events.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.kept); n == 0 || d.kept[n-1].revision < revision {
		d.kept = append(d.kept, keptDigest{revision, digest})
	}
}

// Next returns the first of the digests that are behind a revision or a later one, and
// forgets those before it. Who goes back begins anew: nothing is known until it is noted
// again.
func (d *Digests) Next(from uint64) (revision uint64, digest events.Digest, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if from < d.asked {
		d.kept = nil
	}
	d.asked = from
	for len(d.kept) > 0 && d.kept[0].revision < from {
		d.kept = d.kept[1:]
	}
	if len(d.kept) == 0 {
		return 0, events.Digest{}, false
	}
	return d.kept[0].revision, d.kept[0].digest, true
}
