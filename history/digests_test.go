package history_test

import (
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
)

func TestDigests(t *testing.T) {
	var d history.Digests
	expect := func(from, want uint64) {
		t.Helper()
		revision, digest, ok := d.Next(from)
		if revision != want || ok != (want > 0) || ok && digest[0] != byte(want) {
			t.Errorf("from %d on: %d, %v, %v, want %d", from, revision, digest, ok, want)
		}
	}
	note := func(revisions ...uint64) {
		for _, r := range revisions {
			d.Note(r, events.Digest{byte(r)})
		}
	}
	expect(1, 0)
	note(2, 5, 5, 4, 9) // 5 and 4 were read again
	expect(1, 2)
	expect(2, 2)
	expect(3, 5)
	expect(6, 9)
	expect(10, 0)
	note(12)
	expect(1, 0) // from the beginning, where nothing was read since
	note(2)
	expect(1, 2)
}
