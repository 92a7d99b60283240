package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/history/historytest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const schemaStream = metadatav1.Stream_STREAM_SCHEMA

// key returns a private key that is always the same.
func key(t testing.TB, seed byte) ed25519.PrivateKey {
	t.Helper()
	private, err := audit.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// sign signs the head of a history at a revision.
func sign(t testing.TB, private ed25519.PrivateKey, m *historytest.Memory, revision uint64) *metadatav1.SignedHead {
	t.Helper()
	digest := m.Digest(revision)
	head, err := audit.Sign(private, historytest.Cluster, historytest.Epoch, &metadatav1.SignedHead{
		Stream: m.Stream, Revision: revision, Digest: digest[:], Time: timestamppb.New(historytest.Start),
	})
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// TestSignedBytes is the format, byte by byte. The signature was made by openssl pkeyutl
// with the private key whose seed is 32 bytes of 7.
func TestSignedBytes(t *testing.T) {
	digest := events.Digest{0: 0xd0, 31: 0xd1}
	head := &metadatav1.SignedHead{
		Stream: metadatav1.Stream_STREAM_TOPOLOGY, Revision: 0x0102, Digest: digest[:],
		Time: timestamppb.New(time.Unix(1, 2).UTC()), KeyId: []byte("ignored"), Signature: []byte("ignored"),
	}
	got, err := audit.SignedBytes(events.ClusterID{0: 0xc0, 15: 0xc1}, 5, head)
	want := hex.EncodeToString([]byte("heliosdb.metadata.v1.head")) +
		"c00000000000000000000000000000c1" + "0000000000000005" + "00000002" + "0000000000000102" +
		"d0000000000000000000000000000000000000000000000000000000000000d1" + "000000003b9aca02"
	if err != nil || hex.EncodeToString(got) != want {
		t.Fatalf("signed bytes %x, want %s: %v", got, want, err)
	}
	before := proto.CloneOf(head)
	signed, err := audit.Sign(key(t, 7), events.ClusterID{0: 0xc0, 15: 0xc1}, 5, head)
	if err != nil {
		t.Fatal(err)
	}
	const wantKey, wantSignature = "fe812c12f3ab4ce6", "19a18199476a039caabbede6a5f3e23eea240542a1d9bfa3d3293e8bc0d0d022075316f45fe005e2ca99965c83e7ddc063e90f829c16144d7a2e537a6b345a02"
	if hex.EncodeToString(signed.KeyId) != wantKey || hex.EncodeToString(signed.Signature) != wantSignature {
		t.Errorf("signed by %x as %x", signed.KeyId, signed.Signature)
	}
	if diff := cmp.Diff(before, head, protocmp.Transform()); diff != "" {
		t.Errorf("the head was changed:\n%s", diff)
	}
}

func TestSignRefuses(t *testing.T) {
	digest := make([]byte, 32)
	at := timestamppb.New(historytest.Start)
	for says, head := range map[string]*metadatav1.SignedHead{
		"names no stream":       {Revision: 1, Digest: digest, Time: at},
		"has no revision":       {Stream: schemaStream, Digest: digest, Time: at},
		"31 bytes":              {Stream: schemaStream, Revision: 1, Digest: digest[1:], Time: at},
		"has no time":           {Stream: schemaStream, Revision: 1, Digest: digest},
		"no time between":       {Stream: schemaStream, Revision: 1, Digest: digest, Time: timestamppb.New(time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))},
		"has no time between 1": {Stream: schemaStream, Revision: 1, Digest: digest, Time: &timestamppb.Timestamp{Nanos: -1}},
	} {
		_, err := audit.Sign(key(t, 1), historytest.Cluster, 1, head)
		if _, ok := errors.AsType[*audit.HeadError](err); !ok || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want what mentions %q", err, says)
		}
	}
	if _, err := audit.Sign(key(t, 1), historytest.Cluster, 1, nil); err == nil {
		t.Error("nothing was signed")
	}
}

func TestCheck(t *testing.T) {
	private := key(t, 1)
	public := audit.Public(private)
	m := historytest.New(schemaStream, historytest.Tables(5, 1))
	if err := audit.Check(public, historytest.Cluster, historytest.Epoch, sign(t, private, m, 5)); err != nil {
		t.Fatal(err)
	}
	if err := audit.Check(public, events.ClusterID{}, historytest.Epoch, sign(t, private, m, 5)); err == nil {
		t.Error("genuine in another cluster")
	}
	if err := audit.Check(public, historytest.Cluster, historytest.Epoch+1, sign(t, private, m, 5)); err == nil {
		t.Error("genuine in another recovery epoch")
	}
	if err := audit.Check(public[1:], historytest.Cluster, historytest.Epoch, sign(t, private, m, 5)); err == nil {
		t.Error("genuine for half a key")
	}
	if err := audit.Check(audit.Public(key(t, 2)), historytest.Cluster, historytest.Epoch, sign(t, private, m, 5)); err == nil {
		t.Error("genuine for another key")
	}
	for what, forge := range map[string]func(*metadatav1.SignedHead){
		"stream":    func(h *metadatav1.SignedHead) { h.Stream = metadatav1.Stream_STREAM_TOPOLOGY },
		"revision":  func(h *metadatav1.SignedHead) { h.Revision++ },
		"digest":    func(h *metadatav1.SignedHead) { h.Digest[9] ^= 1 },
		"time":      func(h *metadatav1.SignedHead) { h.Time.Nanos++ },
		"key id":    func(h *metadatav1.SignedHead) { h.KeyId[0] ^= 1 },
		"no key id": func(h *metadatav1.SignedHead) { h.KeyId = nil },
		"signature": func(h *metadatav1.SignedHead) { h.Signature[0] ^= 1 },
		"short":     func(h *metadatav1.SignedHead) { h.Signature = h.Signature[:63] },
	} {
		head := sign(t, private, m, 5)
		forge(head)
		if _, ok := errors.AsType[*audit.HeadError](audit.Check(public, historytest.Cluster, historytest.Epoch, head)); !ok {
			t.Errorf("genuine with another %s", what)
		}
	}
}

func TestVerifyHeads(t *testing.T) {
	private, other := key(t, 1), key(t, 2)
	keys := []ed25519.PublicKey{audit.Public(other), audit.Public(private)}
	m := historytest.New(schemaStream, historytest.Tables(2000, 1))
	elsewhere := historytest.New(metadatav1.Stream_STREAM_TOPOLOGY, historytest.Nodes(5))
	heads := []*metadatav1.SignedHead{
		sign(t, private, m, 1500), sign(t, other, m, 700), sign(t, private, m, 699), sign(t, private, elsewhere, 5),
		sign(t, private, m, 3), sign(t, other, m, 1500),
	}
	before := slices.Clone(heads)
	told := uint64(0)
	got, err := audit.VerifyHeads(t.Context(), m.Trim(700), heads, keys, func(done, _ uint64) { told = done })
	if err != nil {
		t.Fatal(err)
	}
	if got.Fit != 4 || got.Before != 1 || got.Proven != 1500 || got.History.Last != 2000 || got.History.Digest != m.Digest(2000) || told != 2000 {
		t.Errorf("found %+v, told of %d", got, told)
	}
	if !slices.Equal(before, heads) {
		t.Error("the heads were changed")
	}
	if got, err := audit.VerifyHeads(t.Context(), m, nil, nil, nil); err != nil || got.Proven != 0 || got.Fit != 0 {
		t.Errorf("without heads: %+v, %v", got, err)
	}
}

func TestVerifyHeadsFindsTheFirst(t *testing.T) {
	private := key(t, 1)
	keys := []ed25519.PublicKey{audit.Public(private)}
	m := historytest.New(schemaStream, historytest.Tables(100, 1))
	// Somebody replaced change 50, and all digests behind it fit again.
	rewritten := historytest.New(schemaStream, historytest.Tables(100, 1))
	rewritten.Encoded[49] = []byte(strings.Replace(string(rewritten.Encoded[49]), "ann", "bob", 1))
	stranger := sign(t, key(t, 9), m, 60)
	forged := sign(t, private, m, 30)
	forged.Digest[0] ^= 1
	for _, test := range []struct {
		name     string
		source   history.Source
		heads    []*metadatav1.SignedHead
		revision uint64
		says     string
		proven   uint64
	}{
		{"rewritten", rewritten, []*metadatav1.SignedHead{sign(t, private, m, 90), sign(t, private, m, 49), sign(t, private, m, 50)}, 50, "the history has", 49},
		{"rewritten before it begins", rewritten.Trim(71), []*metadatav1.SignedHead{sign(t, private, m, 70)}, 70, "the history has", 0},
		{"cut short", m.Trim(1), []*metadatav1.SignedHead{sign(t, private, longer(m), 101), sign(t, private, m, 100)}, 101, "ends before it, at revision 100", 100},
		{"a stranger's key", m, []*metadatav1.SignedHead{sign(t, private, m, 90), stranger}, 60, "none of the 1 given", 0},
		{"forged", m, []*metadatav1.SignedHead{stranger, forged}, 30, "signature", 0},
		{"of a stranger, trimmed", m.Trim(80), []*metadatav1.SignedHead{stranger}, 60, "none of the 1 given", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := audit.VerifyHeads(t.Context(), test.source, test.heads, keys, nil)
			found, ok := errors.AsType[*audit.HeadError](err)
			if !ok || found.Head.Revision != test.revision || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("found %v, want the head at %d and what mentions %q", err, test.revision, test.says)
			}
			if got.Proven != test.proven {
				t.Errorf("proven up to %d, want %d", got.Proven, test.proven)
			}
		})
	}
	damaged := historytest.New(schemaStream, historytest.Tables(100, 1))
	damaged.Encoded[20] = damaged.Encoded[19]
	if _, err := audit.VerifyHeads(t.Context(), damaged, []*metadatav1.SignedHead{sign(t, private, m, 90)}, keys, nil); !strings.Contains(err.Error(), "damaged at revision 21") {
		t.Errorf("damage: %v", err)
	}
}

// longer returns a history with one change more.
func longer(m *historytest.Memory) *historytest.Memory {
	l := *m
	l.Encoded = append(slices.Clone(m.Encoded), historytest.Tables(len(m.Encoded)+1, 1)[len(m.Encoded)].Raw())
	return &l
}
