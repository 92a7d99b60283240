package consistency

import (
	"fmt"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// BenchmarkAt looks at each revision of a stream that only grows.
func BenchmarkAt(b *testing.B) {
	r := newRun()
	const namespaces = 2000
	for i := range namespaces {
		r.commit(r.id(), &metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
			Namespace: &metadatav1.Namespace{NamespaceId: uint64(i + 2), Name: fmt.Sprintf("n%d", i*7919%namespaces), Version: 1, CreatedRevision: uint64(i + 1)},
		}}})
	}
	for b.Loop() {
		line, _ := newTimeline(schemaStream, r.truth)
		for revision := range line.head() + 1 {
			if got := len(line.at(revision).objects); got != int(revision)+1 {
				b.Fatalf("%d objects at revision %d", got, revision)
			}
		}
	}
}
