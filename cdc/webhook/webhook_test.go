package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

func records(n, bytes int) (all []record.Record) {
	for i := 1; i <= n; i++ {
		id := fmt.Sprintf("c/1/schema/%d", i)
		all = append(all, record.Record{
			ID: id, Cluster: "c", Stream: "schema", Kind: "tableCreated", Subject: "table/public.t", Time: time.Unix(int64(i), 0).UTC(),
			JSON: fmt.Appendf(nil, `{"id":%q,"x":%q}`, id, strings.Repeat("x", bytes)),
		})
	}
	return all
}

func newSink(t *testing.T, address string, o Options) *Sink {
	t.Helper()
	var err error
	if o.URL, err = url.Parse(address); err != nil {
		t.Fatal(err)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

func TestPostsCloudEvents(t *testing.T) {
	var body []byte
	var header http.Header
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		header = r.Header
		w.WriteHeader(http.StatusAccepted)
	})
	s := newSink(t, strings.Replace(address, "//", "//me:secret@", 1)+"/in", Options{Header: http.Header{"X-Token": {"t"}}, Events: 2})
	if n, err := s.Send(t.Context(), records(3, 0)); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	want := `[{"specversion":"1.0","id":"c/1/schema/1","source":"urn:heliosdb:metadata:c","type":"com.heliosdb.metadata.tableCreated",` +
		`"subject":"table/public.t","time":"1970-01-01T00:00:01Z","datacontenttype":"application/json","data":{"id":"c/1/schema/1","x":""}},` +
		`{"specversion":"1.0","id":"c/1/schema/2","source":"urn:heliosdb:metadata:c","type":"com.heliosdb.metadata.tableCreated",` +
		`"subject":"table/public.t","time":"1970-01-01T00:00:02Z","datacontenttype":"application/json","data":{"id":"c/1/schema/2","x":""}}]`
	if string(body) != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
	if header.Get("Content-Type") != contentType || header.Get("X-Token") != "t" || !strings.HasPrefix(header.Get("Authorization"), "Basic ") {
		t.Errorf("the header is %v", header)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	var largest int
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		largest = max(largest, len(body))
		if !json.Valid(body) {
			t.Errorf("no JSON: %.100s", body)
		}
	})
	s := newSink(t, address, Options{})
	if n, err := s.Send(t.Context(), records(10, 300<<10)); n != 3 || err != nil || largest > maxBodyBytes {
		t.Fatalf("%d of 300 KiB in %d bytes, %v", n, largest, err)
	}
	if n, err := s.Send(t.Context(), records(2, 2<<20)); n != 1 || err != nil {
		t.Fatalf("%d of 2 MiB, %v", n, err)
	}
}

func TestAnswers(t *testing.T) {
	kind := func(err error) string {
		if e, ok := errors.AsType[*sink.RejectedError](err); ok {
			return fmt.Sprint("rejected ", e.Records)
		}
		if e, ok := errors.AsType[*sink.BusyError](err); ok {
			return fmt.Sprint("busy ", e.After)
		}
		if _, ok := errors.AsType[*sink.BrokenError](err); ok {
			return "broken"
		}
		if err != nil && strings.Contains(err.Error(), "see to the address") {
			return "again"
		}
		return fmt.Sprint(err)
	}
	for status, want := range map[int]string{
		200: "<nil>", 204: "<nil>", 400: "rejected 2", 409: "rejected 2", 413: "rejected 2", 422: "rejected 2",
		401: "again", 403: "again", 404: "again", 405: "again", 407: "again", 410: "again", 415: "again",
		402: "busy 7s", 408: "busy 7s", 425: "busy 7s", 429: "busy 7s", 451: "busy 7s", 500: "busy 7s", 502: "busy 7s", 503: "busy 7s", 504: "busy 7s",
		301: "broken", 302: "broken", 307: "broken", 308: "broken", 304: "broken",
	} {
		hits := 0
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			hits++
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "because")
		})
		n, err := newSink(t, address, Options{}).Send(t.Context(), records(2, 0))
		if kind(err) != want || hits != 1 || (err == nil) != (n == 2) {
			t.Errorf("%d: %d, %v after %d requests; want %s", status, n, err, hits, want)
		}
		if err != nil && status != 304 && !strings.Contains(err.Error(), "because") {
			t.Errorf("%d: the error does not say why: %v", status, err)
		}
	}
}

// A webhook that never answers, refuses connections or breaks them is tried again, and no
// password of the address comes into the log.
func TestNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + l.Addr().String()
	_ = l.Close()
	for name, address := range map[string]string{
		"never": serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client is gone
			<-r.Context().Done()
		}),
		"refused": refused,
		"breaks":  serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	} {
		s := newSink(t, strings.Replace(address, "//", "//me:secret@", 1), Options{Timeout: 50 * time.Millisecond})
		n, err := s.Send(t.Context(), records(1, 0))
		_, rejected := errors.AsType[*sink.RejectedError](err)
		_, broken := errors.AsType[*sink.BrokenError](err)
		if n != 0 || err == nil || rejected || broken || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// A token that expires, or an address that moves, is no fault of the events: none of them
// is buried meanwhile.
func TestNothingIsBuriedWhileTheTokenIsWrong(t *testing.T) {
	var tries atomic.Int32
	taken := 0
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		statuses := []int{401, 403, 404, 405, 410, 415}
		if n := int(tries.Add(1)); n <= len(statuses) {
			w.WriteHeader(statuses[n-1])
			return
		}
		var all []event
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
			t.Error(err)
		}
		taken += len(all)
	})
	name := filepath.Join(t.TempDir(), "dead")
	dead, err := sink.OpenDeadLetters(name, "webhook", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	c := &sink.Courier{
		Sink: newSink(t, address, Options{}), DeadLetters: dead,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	if err := c.Deliver(t.Context(), records(12, 0)); err != nil || taken != 12 {
		t.Fatalf("%d taken, %v", taken, err)
	}
	if letters, err := os.ReadFile(name); err != nil || len(letters) > 0 {
		t.Fatalf("the dead letters are %s, %v", letters, err)
	}
}

// A webhook that is down for long, and rejects some in the end, gets all others in order.
func TestDeliversAllInOrder(t *testing.T) {
	var tries atomic.Int32
	var got []string
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 50 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		var all []event
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
			t.Error(err)
		}
		for _, e := range all {
			if e.ID == "c/1/schema/4" {
				w.WriteHeader(http.StatusUnprocessableEntity)
				return
			}
		}
		for _, e := range all {
			got = append(got, strings.TrimPrefix(e.ID, "c/1/schema/"))
		}
	})
	dead, err := sink.OpenDeadLetters(t.TempDir()+"/dead", "webhook", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	c := &sink.Courier{
		Sink: newSink(t, address, Options{Events: 5}), DeadLetters: dead,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	if err := c.Deliver(t.Context(), records(12, 0)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(got, " "); got != "1 2 3 5 6 7 8 9 10 11 12" {
		t.Fatalf("it got %s", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	address := &url.URL{Scheme: "http", Host: "h"}
	for _, o := range []Options{
		{}, {URL: &url.URL{Scheme: "ftp", Host: "h"}}, {URL: &url.URL{Scheme: "http"}},
		{URL: address, Timeout: -1}, {URL: address, Events: -1}, {URL: address, Events: MaxEvents + 1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
