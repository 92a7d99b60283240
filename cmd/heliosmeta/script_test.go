package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/heliosdb/metadata/examples"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// TestMain lets the test binary be the program: scripts run it as heliosmeta.
func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"heliosmeta": main})
}

// leakless fails tests that leave goroutines behind.
type leakless struct{ tests *testing.M }

func (l leakless) Run() int {
	code := l.tests.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the program as operators do, against real servers on loopback.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("USER", "tester")
			env.Setenv("HELIOSMETA_LOG_LEVEL", "warn")
			return writeExamples(env.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ports": ports, "wide": wide, "occupy": occupy, "certificates": certificates, "trimmed": trimmed, "damage": damage,
			"page": page, "beat": beat,
		},
	})
}

func writeExamples(dir string) error {
	files, err := fs.Glob(examples.Files, "*.yaml")
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := fs.ReadFile(examples.Files, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// exits CODE COMMAND ARGS... runs a command that has to end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s; stderr: %s", code, args[0], ts.ReadFile("stderr"))
	}
}

// ports FILE waits for a server's ports file, and makes its address the endpoint of
// the commands that follow and $API, $RAFT.
func ports(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ports FILE")
	}
	name := ts.MkAbs(args[0])
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(name)
		if err == nil {
			var api, raft string
			if _, err := fmt.Sscanf(string(text), "api=%s\nraft=%s\n", &api, &raft); err != nil {
				ts.Fatalf("%s holds %q: %v", args[0], text, err)
			}
			ts.Setenv("HELIOSMETA_ENDPOINTS", api)
			ts.Setenv("API", api)
			ts.Setenv("RAFT", raft)
			ts.Check(os.Remove(name))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %s: the server did not start", args[0])
		}
	}
}

// wide FILE COLUMNS writes a table with many columns.
func wide(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wide FILE COLUMNS")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var text strings.Builder
	text.WriteString("kind: Table\nname: wide\ncolumns:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {name: c%d, type: INT8}\n", i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text.String()), 0o600))
}

// occupy holds a port until the script ends, and makes it $TAKEN.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: occupy")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv("TAKEN", l.Addr().String())
}

// trimmed FILE [base] exports histories: of the schema, six tables of which what came before
// revision 4 was trimmed, with or without the model before that, and of the topology two nodes,
// whole.
func trimmed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: trimmed FILE [base]")
	}
	tables := historytest.Tables(6, 1)
	var schema history.Source = historytest.New(metadatav1.Stream_STREAM_SCHEMA, tables).Trim(4)
	if len(args) == 2 {
		base := projections.NewSchema(historytest.Cluster, historytest.Epoch).FoldAll(tables[:3])
		var checkpoint []byte
		for chunk := range base.Chunks(1 << 20) {
			checkpoint = append(checkpoint, chunk...)
		}
		schema = historytest.New(metadatav1.Stream_STREAM_SCHEMA, tables).Trim(4).Base(checkpoint)
	}
	sources := []history.Source{
		schema,
		historytest.New(metadatav1.Stream_STREAM_TOPOLOGY, historytest.Nodes(2)),
	}
	ts.Check(export.Create(ts.MkAbs(args[0]), func(to io.Writer) error {
		header := export.Header{ClusterName: "c", Time: historytest.Start, Build: "test"}
		_, err := export.Write(context.Background(), to, header, sources, export.Options{})
		return err
	}))
}

// damage FILE TEXT changes a byte of a file where it first has a text.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage FILE TEXT")
	}
	name := ts.MkAbs(args[0])
	content, err := os.ReadFile(name)
	ts.Check(err)
	at := bytes.Index(content, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s does not have %q", args[0], args[1])
	}
	content[at] ^= 1
	ts.Check(os.WriteFile(name, content, 0o600))
}
