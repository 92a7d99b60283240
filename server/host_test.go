package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// A page that has its own name resolve to loopback is refused, whatever it asks for.
func TestHosts(t *testing.T) {
	guarded := start(t, Options{Hosts: []string{"meta.example:9000", ""}})
	for _, c := range []struct {
		w    *world
		host string
		ok   bool
	}{
		{guarded, "", true}, // as dialled: 127.0.0.1 with its port
		{guarded, "localhost", true}, {guarded, "LocalHost:9000", true}, {guarded, "localhost.", true},
		{guarded, "127.8.9.1:1", true}, {guarded, "[::1]:9000", true},
		{guarded, "Meta.Example", true}, {guarded, "meta.example:1234", true},
		{guarded, "evil.example", false}, {guarded, "evil.example:9000", false}, {guarded, "localhost.evil.example", false},
		{guarded, "127.0.0.1.evil.example", false}, {guarded, "10.0.0.1", false}, {guarded, "0.0.0.0", false}, {guarded, "[::]:9000", false},
		{start(t, Options{}), "evil.example", true},
		{start(t, Options{Hosts: []string{"*"}}), "evil.example", true},
	} {
		for _, path := range []string{"/metrics", metadatav1connect.MetadataServiceListTablesProcedure, "/"} {
			for _, client := range []*http.Client{c.w.http1(), c.w.http2()} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.w.url+path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				request.Host = c.host
				request.Header.Set("Content-Type", "application/json")
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				if refused := response.StatusCode == http.StatusForbidden; refused == c.ok || refused && !strings.Contains(string(text), "--allowed-hosts") {
					t.Errorf("%s for host %q is answered %d: %s", path, c.host, response.StatusCode, text)
				}
			}
		}
	}
}
