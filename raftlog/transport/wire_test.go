package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/raftlog"
)

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

func blockingCall(release <-chan struct{}) func(context.Context, uint64, uint8, []byte) ([]byte, error) {
	return func(context.Context, uint64, uint8, []byte) ([]byte, error) {
		<-release
		return nil, nil
	}
}

func frozenGreeting() greeting {
	return greeting{
		Format: 1, Purpose: forCalls, Recipient: 2,
		Hello: Hello{
			ClusterID:     [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
			RecoveryEpoch: 0x1122, Member: 1, Instance: 0x0102030405060708,
			Claim: raftlog.StateLived, FeatureLevel: 7,
			Advertise: "a:9000", Build: "v1", Configured: "c: 1=a",
		},
	}
}

// These bytes are on the wire between members of different builds. A change
// here needs another Format.
func TestFrozenBytes(t *testing.T) {
	msg, err := appendMessage(nil, 3, message(pb.MsgApp, 1, 2, 9, []byte("hi")))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"hello", appendFrame(nil, frameHello, frozenGreeting().append(nil)), frozenHello},
		{"refusal", appendFrame(nil, frameRefusal, appendRefusal(nil, &RefusedError{Code: RefusedCluster, Reason: "no"})), frozenRefusal},
		{"message", msg, frozenMessage},
		{"request", appendRequest(nil, 5, 6, 1500, []byte("q")), frozenRequest},
		{"failure", appendFailure(nil, 5, &RemoteError{Code: 64, Reason: "why", Payload: []byte("p")}), frozenFailure},
		{"ping", appendFrame(nil, framePing, []byte("12345678")), frozenPing},
	} {
		if got := hex.EncodeToString(test.got); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

const (
	frozenHello   = "00000050010055475fe9484d525400010203000102030405060708090a0b0c0d0e0f0000000000001122000000000000000100000000000000020102030405060708000000070006613a39303030000276310006633a20313d61"
	frozenRefusal = "0000000a0200893153ca484d5254000100026e6f"
	frozenMessage = "0000000e030353bb72de08031002180130093a0422026869"
	frozenRequest = "00000012040072556972000000000000000506000000000000000171"
	frozenFailure = "0000001006006970e71700000000000000050040000377687970"
	frozenPing    = "00000008080070208b233132333435363738"
)

func TestHelloRoundTrip(t *testing.T) {
	want := frozenGreeting()
	b := want.append(nil)
	got, err := parseGreeting(append(b, "a field of a later build"...))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for n := range len(b) {
		if _, err := parseGreeting(b[:n]); err == nil {
			t.Errorf("a hello cut to %d of %d bytes was taken", n, len(b))
		}
	}
}

func TestFrameReaderReassembles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var want [][]byte
	for i := range 200 {
		payload := make([]byte, random.IntN(300))
		if i%50 == 0 {
			payload = make([]byte, keepBytes+random.IntN(2*readStepBytes))
		}
		for j := range payload {
			payload[j] = byte(random.Uint32())
		}
		want = append(want, payload)
		stream = appendFrame(stream, frameType(i), payload)
	}
	r := newFrameReader(&choppy{rest: stream, random: random}, MaxFrame)
	for i, payload := range want {
		f, err := r.next()
		if err != nil || f.typ != frameType(i) || !bytes.Equal(f.payload, payload) {
			t.Fatalf("frame %d: type %d, %d bytes, %v; want %d bytes", i, f.typ, len(f.payload), err, len(payload))
		}
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// choppy returns a stream in pieces of random size.
type choppy struct {
	rest   []byte
	random *rand.Rand
}

func (c *choppy) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.random.IntN(1000))], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func TestLengthAloneCostsNoMemory(t *testing.T) {
	header := []byte{0, 0x80, 0, 0, byte(frameMessage), 0, 0, 0, 0, 0} // 8 MiB are announced
	r := newFrameReader(newReader(append(header, 1, 2, 3)), MaxFrame)
	if _, err := r.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if cap(r.buf) > 2*readStepBytes {
		t.Errorf("%d bytes allocated for 3 bytes of payload", cap(r.buf))
	}
}

func FuzzFrame(f *testing.F) {
	msg, err := appendMessage(nil, 1, message(pb.MsgApp, 2, 1, 9, []byte("entry")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Add(appendFrame(msg, framePing, []byte("12345678")))
	f.Add(appendRequest(nil, 5, 6, 7, []byte("q")))
	f.Add(appendFailure(nil, 5, &RemoteError{Code: 64, Reason: "why", Payload: []byte("p")}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(newReader(b), 1<<16)
		consumed := 0
		for {
			got, err := r.next()
			if err != nil {
				break
			}
			start := consumed
			consumed += headerBytes + len(got.payload)
			again := endFrame(append(beginFrame(nil, got.typ, got.group), got.payload...), 0)
			if !bytes.Equal(again, b[start:consumed]) {
				t.Fatalf("%x decodes to what encodes as %x", b[start:consumed], again)
			}
			fuzzPayload(t, got.payload)
		}
		fuzzPayload(t, b) // without a checksum in the way
	})
}

func fuzzPayload(t *testing.T, b []byte) {
	if m, err := parseMessage(b, 2, 1); err == nil {
		if m.GetFrom() != 2 || m.GetTo() != 1 || len(m.GetResponses()) > 0 || len(m.GetEntries()) > MaxMessageEntries {
			t.Fatalf("took %v", m)
		}
	} else if !errors.As(err, new(*FrameError)) {
		t.Fatalf("untyped error %v", err)
	}
	if id, failure, err := parseFailure(b); err == nil {
		if !bytes.Equal(appendFailure(nil, id, failure)[headerBytes:], b) {
			t.Fatalf("failure %x does not encode as it was", b)
		}
	}
}

func FuzzHello(f *testing.F) {
	g := frozenGreeting()
	f.Add(g.append(nil))
	g.Format = 2
	f.Add(g.append(nil))
	g.Format, g.Purpose, g.Hello.Advertise = 1, forProbe, ""
	f.Add(g.append(nil))
	f.Add(appendRefusal(nil, &RefusedError{Code: RefusedBlank, Reason: "blank"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseGreeting(b); err == nil && g.Format == Format {
			again := g.append(nil)
			if !bytes.HasPrefix(b, again) {
				t.Fatalf("%x decodes to what encodes as %x", b, again)
			}
			if err := g.Hello.validate(); err != nil {
				t.Fatalf("took a hello that is not valid: %v", err)
			}
		}
		if r, err := parseRefusal(b); err == nil && (!r.Remote || len(r.Reason) > 6*MaxReasonBytes) {
			t.Fatalf("took the refusal %+v", r)
		}
	})
}
