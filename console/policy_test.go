package console

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		scheme  string
		address string
		want    string // empty: it is left out
	}{
		{"http", "127.0.0.1:9001", "http://127.0.0.1:9001"},
		{"https", "Meta-1.example:9000", "https://meta-1.example:9000"},
		{"https", "meta.example:443", "https://meta.example"},
		{"http", "meta.example:80", "http://meta.example"},
		{"http", "meta.example:443", "http://meta.example:443"},
		{"http", "[::1]:9000", ""},
		{"http", "meta.example", ""},
		{"http", ":9000", ""},
		{"http", "meta.example:0", ""},
		{"http", "meta.example:70000", ""},
		{"http", "meta.example:http", ""},
		{"http", "*:9000", ""},
		{"http", "a; script-src *:9000", ""},
		{"http", `a" /><script>:9000`, ""},
		{"http", "a\r\nSet-Cookie:9000", ""},
		{"http", strings.Repeat("a", 254) + ":9000", ""},
		{"http", "", ""},
	} {
		got := Origins(c.scheme, []string{c.address})
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s, %q: %q, want %q", c.scheme, c.address, got, c.want)
		}
	}
}

// The page may call the other members if it comes from an address that is a member's, and
// otherwise only who sent it.
func TestWhomThePageMayCall(t *testing.T) {
	members := []string{"http://m1.example:9000", "http://m2.example:9000", "http://m3.example"}
	h := testHandler(t, members...)
	for host, others := range map[string]string{
		"m1.example:9000": "http://m2.example:9000 http://m3.example",
		"M3.Example":      "http://m1.example:9000 http://m2.example:9000",
		"m1.example":      "",
		"localhost:9000":  "",
		"proxy.example":   "",
		"":                "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/schema", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		want := strings.TrimSpace("connect-src 'self' "+others) + ";"
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("to %q: the policy is %s; want %s", host, got, want)
		}
		if want := membersMark + others + `" />`; !strings.Contains(w.Body.String(), want) {
			t.Errorf("to %q: the page is %.150s; want %s", host, w.Body, want)
		}
	}
}

// A page whose members have changed is another page.
func TestAPageOfOtherMembersIsModified(t *testing.T) {
	members := []string{"http://m1.example:9000"}
	h, err := newHandler(fstest.MapFS{indexName: {Data: []byte(membersMark + `" />`)}}, func() []string { return members })
	if err != nil {
		t.Fatal(err)
	}
	first := ask(t, h, http.MethodGet, "http://m1.example:9000/")
	tag := first.header.Get("Etag")
	if got := ask(t, h, http.MethodGet, "http://m1.example:9000/", "If-None-Match", tag); got.status != http.StatusNotModified {
		t.Errorf("the same page: %d, want 304", got.status)
	}
	members = append(members, "http://m2.example:9000")
	if got := ask(t, h, http.MethodGet, "http://m1.example:9000/", "If-None-Match", tag); got.status != http.StatusOK {
		t.Errorf("with another member: %d, want 200", got.status)
	}
}
