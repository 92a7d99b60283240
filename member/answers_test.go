package member

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/hashwatch"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/transport"
	"github.com/heliosdb/metadata/replica"
)

// hears gives the bytes of an answer to whoever asks with that method.
func hears(t *testing.T, m *Member, method uint8, payload []byte) {
	t.Helper()
	switch method {
	case methodOffer, methodEntries:
		hearsInQuarantine(t, method, payload)
	case methodHashes:
		var theirs metadatav1.CheckpointHashes
		if proto.Unmarshal(payload, &theirs) != nil {
			return
		}
		watch := hashwatch.New(hashwatch.Options{Member: 1, Members: []uint64{1, 2, 3}, Build: "test"})
		for _, c := range m.hashes.Report().GetCheckpoints() {
			watch.Wrote(proto.CloneOf(c))
		}
		watch.Tick()
		if out, err := watch.Reported(2, &theirs); err == nil && out.Condemned != "" {
			t.Fatalf("one of three condemns another: %s", out.Condemned)
		}
		for _, d := range watch.Found() {
			if d.GetMemberId() != 0 {
				t.Fatalf("one of three says that member %d differs from a majority", d.GetMemberId())
			}
		}
		divergenceAlarms([]*metadatav1.MemberStatus{{Divergences: watch.Found()}})
	case methodStatus:
		var theirs metadatav1.MemberStatus
		if proto.Unmarshal(payload, &theirs) != nil {
			return
		}
		theirs.Reachable = true
		all := []*metadatav1.MemberStatus{m.ownStatus(m.running.Load()), &theirs}
		noteLag(all)
		m.alarms(all)
	default:
		if f := fromRemote(&transport.RemoteError{Code: codeFailure, Payload: payload}); f != nil {
			_, _ = f.Kind(), finalError(f, true, replica.Request{Command: createTable("t"), Env: commands.Env{RequestID: "request"}})
		}
	}
}

// hearsInQuarantine is a member without anything that takes an answer at its word, as far
// as it should: it never ends up with less than it was offered, nor with another's log.
func hearsInQuarantine(t *testing.T, method uint8, payload []byte) {
	t.Helper()
	r, err := raftlog.NewRebuild(raftlog.RebuildConfig{
		Group: groupOf(schemaStream), Member: 2, Voters: []uint64{1, 2, 3}, Known: true, Promise: raftlog.Promise{Last: 1, Term: 1}, MaxEntryBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := r.Ready()
	if len(out.Offers) == 0 {
		t.Fatal("it asks nobody")
	}
	round := out.Offers[0].Round
	answer := &metadatav1.RebuildOfferAnswer{Round: round, Term: 2, Leader: 1, Offer: &metadatav1.RebuildOffer{
		Term: 2, Last: 5, Commit: 5, StartIndex: raftlog.GenesisIndex, StartTerm: raftlog.GenesisTerm,
	}}
	genesis, err := raftlog.GenesisDescriptor(groupOf(schemaStream), []uint64{1, 2, 3}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	answer.Offer.Checkpoint = genesis
	if method == methodOffer && proto.Unmarshal(payload, answer) != nil {
		return
	}
	answer.Round = round
	a, err := offerOf(answer)
	if err != nil || r.Offered(1, a) != nil {
		return
	}
	for out, more := r.Ready(); more; out, more = r.Ready() {
		if out.Write != nil && (a.Offer == nil || r.Done()) {
			t.Fatalf("it stores %+v, and was offered nothing", out.Write)
		}
		if q := out.Entries; q != nil && method == methodEntries {
			_ = r.Entries(*q, entriesOf(payload))
		}
		if out.Stores() {
			r.Stored(nil)
		}
	}
	for range 50 {
		r.Tick()
	}
	if s := r.Status(); s.Percent < 0 || s.Percent > 100 {
		t.Fatalf("it is %d %% done", s.Percent)
	}
}

// entriesOf reads entries as far as they decode.
func entriesOf(payload []byte) (entries []*raftpb.Entry) {
	var answer metadatav1.RebuildEntriesAnswer
	if proto.Unmarshal(payload, &answer) != nil {
		return nil
	}
	for _, b := range answer.GetEntries() {
		e := &raftpb.Entry{}
		if proto.Unmarshal(b, e) != nil {
			return nil
		}
		entries = append(entries, e)
	}
	return entries
}

// FuzzAnswers takes any bytes for what another member answers.
func FuzzAnswers(f *testing.F) {
	x := newTarget(f)
	calls := x.sound()
	calls[methodOffer] = &metadatav1.RebuildOfferRequest{Stream: schemaStream, Round: 1}
	calls[methodStatus], calls[methodHashes] = nil, nil
	for method := range methodHashes + 1 {
		call, ok := calls[method]
		if !ok {
			continue
		}
		var payload []byte
		if call != nil {
			var err error
			if payload, err = proto.Marshal(call); err != nil {
				f.Fatal(err)
			}
		}
		answer, err := x.call(f, method, payload)
		if err != nil || len(answer) == 0 {
			f.Fatalf("method %d answered %d bytes: %v", method, len(answer), err)
		}
		f.Add(method, answer)
	}
	failed, err := proto.Marshal(&metadatav1.ForwardedError{Reason: 1, Message: "m", Metadata: map[string]string{"a": "b"}, Fields: []*metadatav1.ForwardedFieldError{{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(methodCommand, failed)
	f.Fuzz(func(t *testing.T, method uint8, payload []byte) { hears(t, x.m.Member, method, payload) })
}
