package replica

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
)

// past is a record as keepHistory makes it, of an entry with revisions 7 and 8.
func past() raftlog.Past {
	b := events.Batch{Stream: testStream, Cluster: testCluster, Term: 3, Previous: events.Digest{1}}
	digest := b.Previous
	for revision := uint64(7); revision <= 8; revision++ {
		c := events.Seal(events.Header{Revision: revision, Time: time.Unix(9, 0)}, []events.Event{events.New(&metadatav1.Event{
			Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{Namespace: &metadatav1.Namespace{NamespaceId: revision, Name: "n"}}},
		})})
		b.Changes, digest = append(b.Changes, c), digest.Next(c.Raw())
	}
	return raftlog.Past{Record: raftlog.Record{First: 7, Last: 8, Entry: 20, Data: digest[:]}, Term: 3, Content: b.Encode()}
}

// TestDecodePast checks that a record is read only with the entry that it was made for.
func TestDecodePast(t *testing.T) {
	whole := past()
	p, err := DecodePast(&whole)
	if err != nil || len(p.Changes) != 2 || p.Changes[1].Revision() != 8 || !bytes.Equal(p.Digest[:], whole.Data) {
		t.Fatalf("%+v, %v", p, err)
	}
	for says, spoil := range map[string]func(*raftlog.Past){
		"revisions 7 to 8, history says 6 to 8": func(p *raftlog.Past) { p.First-- },
		"revisions 7 to 8, history says 7 to 9": func(p *raftlog.Past) { p.Last++ },
		"it never took effect":                  func(p *raftlog.Past) { p.Term++ },
		"has 31 bytes":                          func(p *raftlog.Past) { p.Data = p.Data[1:] },
		"log entry 20: ":                        func(p *raftlog.Past) { p.Content = p.Content[1:] },
	} {
		bad := past()
		spoil(&bad)
		if _, err := DecodePast(&bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// FuzzDecodePast takes any bytes for what a disk keeps of the past.
func FuzzDecodePast(f *testing.F) {
	p := past()
	f.Add(p.First, p.Last, p.Term, p.Data, p.Content)
	f.Fuzz(func(t *testing.T, first, last, term uint64, data, content []byte) {
		p := raftlog.Past{Record: raftlog.Record{First: first, Last: last, Entry: 20, Data: data}, Term: term, Content: content}
		got, err := DecodePast(&p)
		if err != nil {
			return
		}
		if n := uint64(len(got.Changes)); n != last-first+1 || got.Changes[0].Revision() != first {
			t.Fatalf("%d changes from %d on, for %d to %d", n, got.Changes[0].Revision(), first, last)
		}
		if diff := cmp.Diff(data, got.Digest[:]); diff != "" {
			t.Fatalf("digest (-want +got):\n%s", diff)
		}
	})
}
