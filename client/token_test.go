package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// guard lets those pass who show its token.
type guard struct {
	token   atomic.Pointer[string]
	refused atomic.Int64
}

// startGuarded returns a client, with a token, of a member behind a guard.
func startGuarded(t *testing.T, m *member, token func(context.Context) (string, error)) (*guard, *Client) {
	t.Helper()
	g := new(guard)
	g.token.Store(new("first"))
	mux := http.NewServeMux()
	mux.Handle(metadatav1connect.NewMetadataServiceHandler(m))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+*g.token.Load() {
			g.refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	c, err := New(Options{Endpoints: []string{server.Listener.Addr().String()}, Token: token, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return g, c
}

// A token goes along with calls by themselves, shared streams and subscriptions, and keeps no
// call from sharing a stream; what is opened later shows a new one.
func TestATokenIsShown(t *testing.T) {
	m := &member{ids: make(chan string, 100)}
	var asked atomic.Int64
	var current atomic.Pointer[string]
	current.Store(new("first"))
	g, c := startGuarded(t, m, func(context.Context) (string, error) {
		asked.Add(1)
		return *current.Load(), nil
	})
	m.get(t, c)
	m.until(t, c)
	alone, before := m.alone.Load(), asked.Load()
	for range 100 {
		m.get(t, c)
	}
	if m.alone.Load() != alone || asked.Load() != before {
		t.Fatalf("%d of 100 calls came by themselves, the token was asked for %d times", m.alone.Load()-alone, asked.Load()-before)
	}
	subscribe := func() (err error) {
		for _, err = range c.Watch(soon(t), &metadatav1.SubscribeRequest{}) {
		}
		return err
	}
	if err := subscribe(); !IsInvalid(err) { // what the member says to each
		t.Fatalf("a subscription: %v", err)
	}
	g.token.Store(new("second"))
	if err := subscribe(); !IsRefused(err) || !strings.Contains(err.Error(), "show it a token") {
		t.Fatalf("a subscription with an old token: %v", err)
	}
	current.Store(new("second"))
	m.lose.Store(true)
	m.get(t, c) // its stream breaks
	m.lose.Store(false)
	m.piped.Store(0)
	m.until(t, c)
	if err := subscribe(); !IsInvalid(err) || g.refused.Load() != 1 {
		t.Fatalf("a subscription with the new token, after %d were refused: %v", g.refused.Load(), err)
	}
}

// Without a token nobody is asked: calls say why in the end, and no write's outcome is unknown.
func TestATokenThatThereIsNot(t *testing.T) {
	m := &member{ids: make(chan string, 100)}
	lost := errors.New("the vault is sealed")
	for name, token := range map[string]struct {
		token string
		err   error
		says  string
	}{
		"no token":       {"", lost, "the vault is sealed"},
		"a line's end":   {"first\n", nil, "one of 6 bytes"},
		"another letter": {"fürst", nil, "one of 6 bytes"},
	} {
		_, c := startGuarded(t, m, func(context.Context) (string, error) { return token.token, token.err })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{})
		cancel()
		if _, ok := errors.AsType[*TokenError](err); !ok || !IsUnavailable(err) || !strings.Contains(err.Error(), token.says) || strings.Contains(err.Error(), "irst") {
			t.Errorf("%s: %v", name, err)
		}
		if IsOutcomeUnknown(err) {
			t.Errorf("%s: the outcome counts as unknown", name)
		}
		if token.err != nil && !errors.Is(err, token.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m.alone.Load()+m.piped.Load() != 0 {
		t.Error("a member was asked")
	}
}

// A Watch and a call go on when there is a token again.
func TestATokenThatComesLate(t *testing.T) {
	m := &member{}
	var asked atomic.Int64
	_, c := startGuarded(t, m, func(context.Context) (string, error) {
		if asked.Add(1) <= 3 {
			return "", errors.New("not yet")
		}
		return "first", nil
	})
	var err error
	for _, err = range c.Watch(soon(t), &metadatav1.SubscribeRequest{}) {
	}
	if !IsInvalid(err) {
		t.Fatalf("a subscription: %v", err)
	}
	asked.Store(0)
	m.get(t, c)
}
