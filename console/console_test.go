package console

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

const script = "assets/index-abc123.js"

func nobody() []string { return nil }

// testHandler is a handler of a cluster with these members' origins.
func testHandler(t *testing.T, members ...string) http.Handler {
	t.Helper()
	h, err := newHandler(fstest.MapFS{
		indexName:      {Data: []byte("<!doctype html>" + membersMark + `" />` + strings.Repeat(" ", 200))},
		script:         {Data: []byte(strings.Repeat("export {};\n", 50))},
		"icon.svg":     {Data: []byte("<svg/>")},
		"assets/a.bin": {Data: []byte("?")},
	}, func() []string { return members })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// answer is what the handler has answered.
type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, h http.Handler, method, target string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestPathsOfThePage(t *testing.T) {
	h := testHandler(t)
	for _, path := range []string{"/", "/schema", "/schema/", "/schema/tables/7", "/topology/nodes/a.b", "/changes/schema/1"} {
		if got := ask(t, h, http.MethodGet, path); got.status != http.StatusOK || !strings.HasPrefix(got.body, "<!doctype html>") {
			t.Errorf("GET %s: %d, want the page", path, got.status)
		}
	}
	for _, path := range []string{
		"/index.html", "/consumers", "/schemas", "/schema.js", "/assets", "/assets/", "/assets/gone.js", "/favicon.ico", "/..", "/../console.go",
		"/heliosdb.metadata.v1.MetadataService/NoSuchRpc", "/metricsx",
	} {
		if got := ask(t, h, http.MethodGet, path); got.status != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, got.status)
		}
	}
}

func TestOnlyReading(t *testing.T) {
	h := testHandler(t)
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		got := ask(t, h, method, "/schema")
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s /schema: %d, Allow %q; want 405", method, got.status, got.header.Get("Allow"))
		}
	}
	// A client of an rpc that does not exist has to hear the same as without a console.
	if got := ask(t, h, "POST", "/heliosdb.metadata.v1.NoSuchService/Call"); got.status != http.StatusNotFound {
		t.Errorf("POST of an unknown rpc: %d, want 404", got.status)
	}
	got := ask(t, h, http.MethodHead, "/"+script)
	if got.status != http.StatusOK || got.body != "" {
		t.Errorf("HEAD: %d with a body, want 200 without one", got.status)
	}
}

func TestHeaders(t *testing.T) {
	h := testHandler(t)
	page, asset := ask(t, h, http.MethodGet, "/topology"), ask(t, h, http.MethodGet, "/"+script)
	for _, got := range []answer{page, asset} {
		for name, want := range map[string]string{
			"Content-Security-Policy": policy(nil), "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Vary": "Accept-Encoding",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
			}
		}
	}
	strict := policy(nil)
	for _, part := range []string{"default-src 'none';", "connect-src 'self';", "frame-ancestors 'none'"} {
		if strings.Contains(strict, "unsafe") || !strings.Contains(strict, part) {
			t.Errorf("the policy lets in too much: %s", strict)
		}
	}
	for got, want := range map[string]string{
		page.header.Get("Cache-Control"):                                      "no-cache",
		asset.header.Get("Cache-Control"):                                     "public, max-age=31536000, immutable",
		page.header.Get("Content-Type"):                                       "text/html; charset=utf-8",
		asset.header.Get("Content-Type"):                                      "text/javascript; charset=utf-8",
		ask(t, h, http.MethodGet, "/icon.svg").header.Get("Content-Type"):     "image/svg+xml",
		ask(t, h, http.MethodGet, "/assets/a.bin").header.Get("Content-Type"): "application/octet-stream",
	} {
		if got != want {
			t.Errorf("header is %q, want %q", got, want)
		}
	}
}

func TestNotModified(t *testing.T) {
	h := testHandler(t)
	first := ask(t, h, http.MethodGet, "/")
	if got := ask(t, h, http.MethodGet, "/schema", "If-None-Match", first.header.Get("Etag")); got.status != http.StatusNotModified {
		t.Errorf("the same page again: %d, want 304", got.status)
	}
	if got := ask(t, h, http.MethodGet, "/schema", "If-None-Match", `"other"`); got.status != http.StatusOK {
		t.Errorf("another page: %d, want 200", got.status)
	}
}

func TestCompression(t *testing.T) {
	h := testHandler(t)
	plain := ask(t, h, http.MethodGet, "/"+script).body
	for _, accept := range []string{"gzip", "br, gzip;q=0.5", "GZIP"} {
		got := ask(t, h, http.MethodGet, "/"+script, "Accept-Encoding", accept)
		if got.header.Get("Content-Encoding") != "gzip" {
			t.Errorf("Accept-Encoding %q was answered without gzip", accept)
			continue
		}
		r, err := gzip.NewReader(strings.NewReader(got.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != plain {
			t.Errorf("Accept-Encoding %q: another content", accept)
		}
		if got.header.Get("Etag") == ask(t, h, http.MethodGet, "/"+script).header.Get("Etag") {
			t.Error("both forms have one etag")
		}
	}
	for _, accept := range []string{"", "br", "gzip;q=0", "gzip; q=0.000", "xgzip", ";;,"} {
		if got := ask(t, h, http.MethodGet, "/"+script, "Accept-Encoding", accept); got.header.Get("Content-Encoding") != "" {
			t.Errorf("Accept-Encoding %q was answered with gzip", accept)
		}
	}
	if got := ask(t, h, http.MethodGet, "/icon.svg", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "" {
		t.Error("a file that gzip makes larger was sent so")
	}
}

func TestWithoutIndex(t *testing.T) {
	if _, err := newHandler(fstest.MapFS{script: {Data: []byte("x")}}, nobody); err == nil || !strings.Contains(err.Error(), "make console") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

// maxBuiltBytes bounds what the console adds to the binary.
const maxBuiltBytes = 600 << 10

// What was built is a page that names its own files only, and small.
func TestBuiltFiles(t *testing.T) {
	if _, err := newHandler(fstest.MapFS{indexName: {Data: []byte("<!doctype html>")}}, nobody); err == nil || !strings.Contains(err.Error(), "make console") {
		t.Errorf("a page without a place for the members: %v", err)
	}
	all, err := Handler(nobody)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, f := range all.(*handler).files {
		size += len(f.plain)
	}
	if size > maxBuiltBytes {
		t.Errorf("the built console has %d bytes, at most %d are wanted", size, maxBuiltBytes)
	}
	page := ask(t, all, http.MethodGet, "/").body
	for _, part := range []string{"<style", " style=", "http", "<script>"} {
		if strings.Contains(page, part) {
			t.Errorf("the page has inline code or addresses of others: %s", part)
		}
	}
	for _, part := range strings.Split(page, `"`) {
		if strings.HasPrefix(part, "/assets/") {
			if got := ask(t, all, http.MethodGet, part); got.status != http.StatusOK {
				t.Errorf("the page names %s: %d", part, got.status)
			}
		}
	}
	if !strings.Contains(page, `src="/assets/`) {
		t.Error("the page has no script")
	}
}
