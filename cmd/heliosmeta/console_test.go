package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// page PATH STATUS [HOST] asks the server for a page, as a browser that has its address
// from somebody, and keeps the answer's header and text in the file "page".
func page(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: page PATH STATUS [HOST]")
	}
	request, err := http.NewRequest(http.MethodGet, "http://"+ts.Getenv("API")+args[0], nil)
	ts.Check(err)
	if len(args) == 3 {
		request.Host = args[2]
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	ts.Check(err)
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	ts.Check(err)
	var header strings.Builder
	ts.Check(response.Header.Write(&header))
	ts.Check(os.WriteFile(ts.MkAbs("page"), []byte(header.String()+"\r\n"+string(text)), 0o600))
	if strconv.Itoa(response.StatusCode) != args[1] {
		ts.Fatalf("%s: status %d, want %s: %.200s", args[0], response.StatusCode, args[1], text)
	}
}
