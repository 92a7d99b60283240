package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// A proxy that wants a token is shown the one in the file, and its refusal is said.
func TestATokenIsShownToAProxy(t *testing.T) {
	var shown atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown.Store(new(r.Header.Get("Authorization")))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(proxy.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("of-alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) (code int, said string) {
		var out, failed bytes.Buffer
		s := newSession(strings.NewReader(""), &out, &failed, func(string) (string, bool) { return "", false })
		arguments = append([]string{"namespace", "list", "--timeout", "2s", "--endpoints", proxy.Listener.Addr().String()}, arguments...)
		return s.execute(t.Context(), arguments), failed.String()
	}
	code, said := run("--token-file", token)
	if want := "error: " + proxy.Listener.Addr().String() + " refuses this client: 401 Unauthorized; show it a token"; code != exitDenied || !strings.HasPrefix(said, want) {
		t.Errorf("exit %d: %s", code, said)
	}
	if got := shown.Load(); got == nil || *got != "Bearer of-alice" {
		t.Errorf("the proxy was shown %v", got)
	}
	if code, said := run("--token-file", token+".none"); code == 0 || !strings.HasPrefix(said, "error: --token-file: open ") {
		t.Errorf("without the file: exit %d: %s", code, said)
	}
}
