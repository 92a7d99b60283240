package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/loopback"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// testMain builds the binary once, the way a user does.
func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "heliosmeta")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "heliosmeta")
	build := exec.Command("go", "build", "-o", binary, "github.com/heliosdb/metadata/cmd/heliosmeta")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// cluster is some members as processes.
type cluster struct {
	t         *testing.T
	api, raft []string // addresses, by id-1
	data      []string
	extra     []string // flags for all
	processes []*process
}

// process is one member.
type process struct {
	cmd    *exec.Cmd
	log    *bytes.Buffer
	exited chan error
}

func newCluster(t *testing.T, n int, extra ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, extra: extra, processes: make([]*process, n)}
	for range n {
		c.api = append(c.api, freeAddress(t))
		c.raft = append(c.raft, freeAddress(t))
		c.data = append(c.data, t.TempDir())
	}
	t.Cleanup(func() {
		for i := range c.processes {
			c.kill(i)
		}
		if t.Failed() {
			for i, p := range c.processes {
				if p != nil {
					t.Logf("member %d said:\n%s", i+1, p.log)
				}
			}
		}
	})
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// start runs members, which were not running.
func (c *cluster) start(members ...int) {
	c.t.Helper()
	for _, i := range members {
		var peers []string
		for j, addr := range c.raft {
			peers = append(peers, fmt.Sprintf("%d=%s", j+1, addr))
		}
		args := []string{"serve", "--node-id", fmt.Sprint(i + 1), "--data", c.data[i],
			"--listen", c.api[i], "--raft-listen", c.raft[i]}
		if len(c.raft) > 1 {
			args = append(args, "--peers", strings.Join(peers, ","))
		}
		p := &process{cmd: exec.Command(binary, append(args, c.extra...)...), log: new(bytes.Buffer), exited: make(chan error, 1)}
		p.cmd.Stderr = p.log
		if err := p.cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		go func() { p.exited <- p.cmd.Wait() }()
		c.processes[i] = p
	}
}

// kill ends a process with SIGKILL.
func (c *cluster) kill(i int) {
	p := c.processes[i]
	if p == nil || p.cmd.Process == nil || p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop ends a process with SIGTERM and returns how it ended.
func (c *cluster) stop(i int) error {
	c.t.Helper()
	if err := c.processes[i].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	select {
	case err := <-c.processes[i].exited:
		return err
	case <-time.After(20 * time.Second):
		c.t.Fatalf("member %d does not stop", i+1)
		return nil
	}
}

// ready waits until members say that they are.
func (c *cluster) ready(members ...int) {
	c.t.Helper()
	for _, i := range members {
		c.eventually(fmt.Sprintf("member %d is ready", i+1), func() bool {
			res, err := http.Get("http://" + c.api[i] + "/readyz")
			if err != nil {
				return false
			}
			defer func() { _ = res.Body.Close() }()
			_, _ = io.Copy(io.Discard, res.Body)
			return res.StatusCode == http.StatusOK
		})
	}
}

func (c *cluster) eventually(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("never: %s", what)
		}
	}
}

// client connects to some members; to all when none is named.
func (c *cluster) client(members ...int) *client.Client {
	c.t.Helper()
	endpoints := c.api
	if len(members) > 0 {
		endpoints = nil
		for _, i := range members {
			endpoints = append(endpoints, c.api[i])
		}
	}
	cl, err := client.New(client.Options{Endpoints: endpoints, Timeout: 20 * time.Second, Actor: "test"})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

// leader returns the index of a stream's leader.
func (c *cluster) leader(s metadatav1.Stream) int {
	c.t.Helper()
	leader := -1
	c.eventually("a leader", func() bool {
		status, err := c.client().Status(c.t.Context(), &metadatav1.StatusRequest{})
		if err != nil {
			return false
		}
		for _, m := range status.GetMembers() {
			for _, st := range m.GetStreams() {
				if st.GetStream() == s && st.GetRole() == metadatav1.Role_ROLE_LEADER {
					leader = int(m.GetMemberId()) - 1
				}
			}
		}
		return leader >= 0
	})
	return leader
}

// run runs a command of the binary against some endpoints and returns what it
// printed to stdout.
func (c *cluster) run(endpoints []string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"--endpoints", strings.Join(endpoints, ",")}, args...)...)
	cmd.Dir = "../.."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("heliosmeta %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

// table is a small table.
func table(name string) *metadatav1.TableSchema {
	return &metadatav1.TableSchema{
		Name: name,
		Columns: []*metadatav1.ColumnSchema{
			{Name: "id", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
			{Name: "body", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING}, Nullable: true},
		},
		PrimaryKey: []string{"id"},
	}
}
