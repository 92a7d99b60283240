package client

import (
	"context"
	"net/http"
	"path"
	"testing"
	"time"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// works answers after a while, but for its status at once.
func works(d time.Duration) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		if path.Base(r.URL.Path) == "Status" {
			done(w, r)
			return
		}
		select {
		case <-time.After(d):
			replies(&metadatav1.DiffRevisionsResponse{FromRevision: 1, ToRevision: 9})(w, r)
		case <-r.Context().Done():
		}
	}
}

// impatient is a client that waits for short times only.
func impatient(c *Client) *Client {
	c.patience.attempt, c.patience.longest = 20*time.Millisecond, 80*time.Millisecond
	return c
}

func difference(ctx context.Context, c *Client) error {
	_, err := c.DiffRevisions(ctx, &metadatav1.DiffRevisionsRequest{Stream: schemaStream})
	return err
}

// A member that folds for a long time is waited for, alone or not, as long as it answers
// other calls; what is no such read is not waited for.
func TestLongReadsAreWaitedFor(t *testing.T) {
	for _, n := range []int{1, 3} {
		f, c := startFakes(t, n, works(time.Second))
		impatient(c).opts.Timeout = 300 * time.Millisecond
		if err := difference(t.Context(), c); err != nil {
			t.Errorf("%d members: %v", n, err)
		}
		if all := f.writes(); len(all) != 1 {
			t.Errorf("%d members were asked %d times", n, len(all))
		}
		if _, err := c.ListTables(t.Context(), new(metadatav1.ListTablesRequest)); !IsUnavailable(err) {
			t.Errorf("%d members: a read of what is: %v", n, err)
		}
	}
}

// A member that answers nothing, not even its status, is left for another.
func TestLongReadsLeaveASilentMember(t *testing.T) {
	f, c := startFakes(t, 2, nil)
	f.each = []answer{hangs, works(10 * time.Millisecond)}
	impatient(c)
	began := time.Now()
	if err := difference(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if !c.endpoints[0].health.isSilent() {
		t.Error("nobody noticed that the member is silent")
	}
}

// Where nobody answers anything, a long read ends as others do, and every one at its deadline.
func TestLongReadsEnd(t *testing.T) {
	f, c := startFakes(t, 2, nil)
	f.each = []answer{breaks, breaks}
	impatient(c).opts.Timeout = 200 * time.Millisecond
	began := time.Now()
	if err := difference(t.Context(), c); !IsUnavailable(err) || time.Since(began) > 3*time.Second {
		t.Errorf("members that break off: %v after %v", err, time.Since(began))
	}
	_, c = startFakes(t, 2, works(time.Minute))
	impatient(c)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := difference(ctx, c); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("behind the caller's deadline: %v", err)
	}
	c.opts.HistoryTimeout = 200 * time.Millisecond
	began = time.Now()
	if err := difference(t.Context(), c); connect.CodeOf(err) != connect.CodeDeadlineExceeded || time.Since(began) > 3*time.Second {
		t.Errorf("behind Options.HistoryTimeout: %v after %v", err, time.Since(began))
	}
}
