// Package console is the browser console, embedded in the binary. Handler serves the
// files that `make console` has built into dist, and nothing else: the page itself
// calls the service by gRPC-Web, on the origin that it came from and, when that member does
// not answer, on those of the other members. Its policy names them and lets it call nobody else.
//
// A Handler is immutable and may be used by any number of goroutines. It answers GET
// and HEAD of its own paths; every other path is not found, so that calls of rpcs that
// the service does not have fail as they do without a console.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed dist
var built embed.FS

// indexName is the page; its name says nothing of its content, unlike those of assets.
const indexName = "index.html"

// assetsDir is where file names contain a hash of the content.
const assetsDir = "assets/"

// pages are the paths at which the page is, and below which it has its own.
var pages = []string{"/schema", "/topology", "/changes"}

// file is one file in the forms in which it is sent.
type file struct {
	name    string
	plain   []byte
	gzipped func() []byte // made when it is first asked for; nil if it is not smaller
	etag    string
}

type handler struct {
	files   map[string]*file // by path, without the leading slash; the page is none of them
	page    page
	members func() []string
}

// Handler returns a handler of the console's files. members are the [Origins] of all members of
// the cluster as far as they are known; it may be called by several goroutines at once. It fails
// only if the binary was built without the files.
func Handler(members func() []string) (http.Handler, error) {
	root, err := fs.Sub(built, "dist")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return newHandler(root, members)
}

func newHandler(root fs.FS, members func() []string) (*handler, error) {
	h := &handler{files: make(map[string]*file), members: members}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		h.files[name] = newFile(name, content)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("console: reading the built files: %w", err)
	}
	index := h.files[indexName]
	if index == nil {
		return nil, fmt.Errorf("console: there is no %s; build it with `make console`", indexName)
	}
	delete(h.files, indexName) // it has other addresses
	h.page, err = newPage(index.plain)
	return h, err
}

func newFile(name string, content []byte) *file {
	sum := sha256.Sum256(content)
	return &file{
		name: name, plain: content, etag: hex.EncodeToString(sum[:16]),
		gzipped: sync.OnceValue(func() []byte { return compress(content) }),
	}
}

// compress returns nil if the content does not get smaller.
func compress(content []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                               // a buffer takes everything
	if err := w.Close(); err != nil || b.Len() >= len(content) {
		return nil
	}
	return b.Bytes()
}

// ServeHTTP is of http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	others := callable(h.members(), r.Host)
	f := h.files[strings.TrimPrefix(r.URL.Path, "/")]
	if isPage(r.URL.Path) {
		f = h.page.told(others)
	}
	if f == nil {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the console's files can only be read", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Security-Policy", policy(others))
	f.serve(w, r)
}

// isPage reports whether the page itself is at a path.
func isPage(urlPath string) bool {
	if urlPath == "/" {
		return true
	}
	for _, page := range pages {
		if urlPath == page || strings.HasPrefix(urlPath, page+"/") {
			return true
		}
	}
	return false
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Type", contentType(f.name))
	header.Set("Vary", "Accept-Encoding")
	if strings.HasPrefix(f.name, assetsDir) {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		header.Set("Cache-Control", "no-cache")
	}
	content, etag := f.plain, f.etag
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		if smaller := f.gzipped(); smaller != nil {
			content, etag = smaller, f.etag+"-gzip"
			header.Set("Content-Encoding", "gzip")
		}
	}
	header.Set("Etag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// contentType does not ask the system's tables, which differ from machine to machine.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "application/octet-stream"
	}
}

// acceptsGzip reports whether gzip is named and not ruled out.
func acceptsGzip(values []string) bool {
	for _, part := range strings.Split(strings.Join(values, ","), ",") {
		coding, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err == nil && coding == "gzip" {
			q := parameters["q"]
			return q == "" || strings.Trim(q, "0.") != ""
		}
	}
	return false
}
