package client

import (
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/client/follow"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A member that says nothing is left by callers whose deadlines are short, too.
func TestShortDeadlinesLeaveASilentMember(t *testing.T) {
	f, c := startFakes(t, 2, done)
	byServer(f, hangs, done)
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{})
		cancel()
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if !c.endpoints[0].health.isSilent() {
		t.Fatal("the member that answers nothing does not count as silent")
	}
}

func TestAnAttemptLeavesTimeForOthers(t *testing.T) {
	tr := newClient(t, "h:1", "h:2", "h:3").tries(0)
	const ms = time.Millisecond
	for failed, want := range map[int]time.Duration{0: 200 * ms, 1: 200 * ms, 2: time.Second * 2} {
		tr.failed = failed
		if got := tr.timeout(400 * ms); got != want {
			t.Errorf("after %d attempts one waits %v, want %v", failed, got, want)
		}
	}
	if tr.failed = 0; tr.timeout(40*ms) != time.Second {
		t.Error("a call of a moment is cut into pieces")
	}
}

// A member with a fault that lasts ends nothing while others only have none yet, such as in a
// rolling upgrade.
func TestOneBadMemberEndsNothing(t *testing.T) {
	old := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	for name, bad := range map[string]answer{"an old one": old, "one that refuses": fails(connect.CodeUnauthenticated, 0)} {
		f, c := startFakes(t, 2, done)
		leaderless := time.Now().Add(300 * time.Millisecond)
		byServer(f, bad, func(w http.ResponseWriter, r *http.Request) {
			if time.Now().Before(leaderless) {
				fails(connect.CodeUnavailable, noLeader)(w, r)
				return
			}
			done(w, r)
		})
		if _, err := c.CreateTable(t.Context(), &metadatav1.CreateTableRequest{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who waits in vain because one is down hears what is wrong with the other.
func TestAFaultIsSaidInTheEnd(t *testing.T) {
	f, c := startFakes(t, 2, done)
	byServer(f, fails(connect.CodeUnauthenticated, 0), breaks)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.GetTable(ctx, &metadatav1.GetTableRequest{}); !IsRefused(err) {
		t.Fatalf("got %v", err)
	}
}

// An attempt that begins when the time is all but over says nothing; the one before it does.
func TestTheLastMomentSaysNothing(t *testing.T) {
	c := newClient(t, "h:1")
	tr := c.tries(0)
	tr.before = failed(connect.CodeUnavailable, "NO_LEADER")
	late := connect.NewError(connect.CodeDeadlineExceeded, context.DeadlineExceeded)
	if err := tr.final(late, time.Now()); Reason(err) != noLeader {
		t.Errorf("after a moment: %v", err)
	}
	if err := tr.final(late, time.Now().Add(-time.Second)); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("after a second: %v", err)
	}
}

// What one member says of an object that is in another cluster is not believed.
func TestARefusalOfAnotherCluster(t *testing.T) {
	f, c := startFakes(t, 2, done)
	byServer(f, inCluster("aaaa", 1), nil)
	if err := getTableOnce(t, c); err != nil {
		t.Fatal(err)
	}
	broken := false
	byServer(f, func(w http.ResponseWriter, r *http.Request) {
		if !broken {
			broken = true
			breaks(w, r)
			return
		}
		inCluster("aaaa", 1)(w, r)
	}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/heliosdb.metadata.v1.ClusterService/Status" {
			replies(&metadatav1.StatusResponse{ClusterId: "bbbb"})(w, r)
			return
		}
		fails(connect.CodeNotFound, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND)(w, r)
	})
	if err := getTableOnce(t, c); err != nil {
		t.Fatal(err)
	}
	if !broken || c.endpoints[1].foreign.Load() == nil {
		t.Fatal("the other cluster was not asked")
	}
}

// What is damaged on one member is sound on another.
func TestDamageIsReadElsewhere(t *testing.T) {
	damaged := fails(connect.CodeDataLoss, metadatav1.ErrorReason_ERROR_REASON_DAMAGED)
	f, c := startFakes(t, 2, done)
	byServer(f, damaged, done)
	if _, err := c.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{}); err != nil {
		t.Fatalf("one of two has it: %v", err)
	}
	byServer(f, damaged, damaged)
	before := len(f.writes())
	if _, err := c.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{}); Reason(err) != metadatav1.ErrorReason_ERROR_REASON_DAMAGED || len(f.writes())-before != 2 {
		t.Fatalf("both have damage: %v after %d questions", err, len(f.writes())-before)
	}
	after := &metadatav1.SubscribeRequest{Start: &metadatav1.SubscribeRequest_After{After: &metadatav1.Position{ClusterId: "c"}}, FailOnGap: true}
	r := follow.NewResumption(after, 2, judge)
	err := failed(connect.CodeDataLoss, "DAMAGED")
	if _, again := r.Broke(err); !again {
		t.Fatal("a subscription does not ask the second member")
	}
	if _, again := r.Broke(err); again {
		t.Fatal("a subscription does not end although both have damage")
	}
}

// Revisions of before a restoration, and of another cluster, say nothing of a write now.
func TestWhatIsKnownEndsWithTheClustersLife(t *testing.T) {
	at := func(cluster string, epoch, revision uint64) *metadatav1.Position {
		return &metadatav1.Position{ClusterId: cluster, RecoveryEpoch: epoch, SchemaRevision: revision}
	}
	var k known
	for _, step := range []struct {
		seen *metadatav1.Position
		want uint64
	}{
		{at("a", 1, 1000), 1000},
		{at("a", 1, 999), 1000},
		{at("a", 2, 10), 10},
		{at("a", 1, 1001), 10}, // late
		{at("b", 0, 3), 3},
	} {
		k.learn(step.seen)
		if got := k.revision(schemaStream); got != step.want {
			t.Errorf("after %v the client knows revision %d, want %d", step.seen, got, step.want)
		}
	}
}

// A closed client makes no calls, and ends those under way.
func TestCloseEndsCalls(t *testing.T) {
	f, c := startFakes(t, 2, hangs)
	ended := make(chan error, 1)
	go func() {
		_, err := c.GetTable(context.Background(), &metadatav1.GetTableRequest{})
		ended <- err
	}()
	for len(f.all()) == 0 {
		time.Sleep(time.Millisecond)
	}
	c.Close()
	if err := <-ended; err != errClientClosed { //nolint:errorlint // it is the whole error
		t.Fatalf("under way: %v", err)
	}
	if _, err := c.GetTable(t.Context(), &metadatav1.GetTableRequest{}); err != errClientClosed { //nolint:errorlint // as above
		t.Fatalf("afterwards: %v", err)
	}
}

// Clients with one list of members spread over them.
func TestClientsBeginAnywhere(t *testing.T) {
	began := make(map[uint32]int)
	for range 200 {
		c, err := New(Options{Endpoints: []string{"h:1", "h:2", "h:3"}})
		if err != nil {
			t.Fatal(err)
		}
		began[c.preferred.Load()]++
		c.Close()
	}
	if len(began) != 3 {
		t.Fatalf("200 clients begin at %v", began)
	}
	c, err := New(Options{Endpoints: []string{"h:1", "h:2", "h:3"}, InOrder: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if at := c.preferred.Load(); at != 0 {
		t.Fatalf("in order, a client begins at endpoint %d", at)
	}
}

// Where everything is late, hedges stay few.
func TestHedgesAreBounded(t *testing.T) {
	var h hedging
	hedges := 0
	for range 1000 {
		h.earn()
		if h.spend() {
			hedges++
		}
	}
	if hedges < 100 || hedges > 100+hedgesAtOnce {
		t.Fatalf("of 1000 late reads %d are made twice", hedges)
	}
}
