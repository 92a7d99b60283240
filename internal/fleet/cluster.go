package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/heliosdb/metadata/internal/loopback"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

const (
	startLimit = 30 * time.Second      // for members to be ready
	startPoll  = 10 * time.Millisecond // between two looks at them
	lookLimit  = time.Second           // for one member's answer
)

// Options say which members to run.
type Options struct {
	// Binary is the program, and Name what it is told that it is called: a test binary
	// may be several programs. "": the binary.
	Binary, Name string
	Members      int
	// Dir is where the cluster makes its directory; "": the system's for temporary files.
	Dir string
	// Flags are for `serve`, beside what makes the members a cluster.
	Flags []string
	// Raft are the addresses by which members reach each other, if those are not the ones on
	// which they listen; nil: they are. It is called once with the latter.
	Raft func(listen []string) ([]string, error)
}

// Cluster is members as processes.
type Cluster struct {
	options Options
	dir     string
	api     []string
	listen  []string // for Raft
	raft    []string // as the others are told
	running []*Process
	ending  []bool // the member may end
	http    *http.Client
	status  []metadatav1connect.ClusterServiceClient
}

// Start runs members on fresh directories and waits until all are ready. It leaves
// nothing behind if it fails.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	c := &Cluster{options: options, running: make([]*Process, options.Members), ending: make([]bool, options.Members), http: &http.Client{}}
	if err := c.lay(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for i := range options.Members {
		if err := c.Launch(i); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.Ready(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// lay chooses addresses and makes the directory.
func (c *Cluster) lay() (err error) {
	if c.dir, err = os.MkdirTemp(c.options.Dir, "heliosmeta-bench-"); err != nil {
		return err
	}
	for range c.options.Members {
		for _, list := range []*[]string{&c.api, &c.listen} {
			address, err := loopback.Address()
			if err != nil {
				return err
			}
			*list = append(*list, address)
		}
	}
	c.raft = c.listen
	if c.options.Raft != nil {
		if c.raft, err = c.options.Raft(slices.Clone(c.listen)); err != nil {
			return err
		}
	}
	for _, address := range c.api {
		c.status = append(c.status, metadatav1connect.NewClusterServiceClient(c.http, "http://"+address))
	}
	return nil
}

// Launch runs a member that does not run. It does not wait until the member is ready.
func (c *Cluster) Launch(i int) error {
	var peers []string
	for j, address := range c.raft {
		peers = append(peers, fmt.Sprintf("%d=%s", j+1, address))
	}
	args := []string{
		"serve", "--node-id", fmt.Sprint(i + 1), "--data", c.Data(i), "--listen", c.api[i],
		"--raft-listen", c.listen[i], "--log-level", "warn",
	}
	if len(c.raft) > 1 {
		args = append(args, "--peers", strings.Join(peers, ","))
	}
	p, err := Run(Command{
		Binary: c.options.Binary, Name: c.options.Name, Args: append(args, c.options.Flags...),
		Env: ownEnvironment(), Log: filepath.Join(c.dir, fmt.Sprintf("member-%d.log", i+1)),
	})
	if err != nil {
		return fmt.Errorf("starting member %d: %w", i+1, err)
	}
	c.running[i], c.ending[i] = p, false
	return nil
}

// ownEnvironment is that of this process without settings of the service, which are for
// commands here and not for members.
func ownEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(text string) bool { return strings.HasPrefix(text, "HELIOSMETA_") })
}

// Close kills all members and deletes what they wrote. It may be called more than once.
func (c *Cluster) Close() error {
	var errs []error
	for i, p := range c.running {
		if p != nil {
			c.ending[i] = true
			errs = append(errs, p.Kill())
		}
	}
	c.http.CloseIdleConnections()
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// Kill ends a member as kill -9 does.
func (c *Cluster) Kill(i int) error {
	c.ending[i] = true
	return c.running[i].Kill()
}

// Process is a member's run of now.
func (c *Cluster) Process(i int) *Process { return c.running[i] }

// Size is the number of members.
func (c *Cluster) Size() int { return len(c.api) }

// API are the members' API addresses.
func (c *Cluster) API() []string { return slices.Clone(c.api) }

// Data is a member's directory.
func (c *Cluster) Data(i int) string { return filepath.Join(c.dir, fmt.Sprintf("member-%d", i+1)) }

// Dir is where all of the cluster's files are.
func (c *Cluster) Dir() string { return c.dir }

// Lost returns how a member ended by itself; nil if none did.
func (c *Cluster) Lost() error {
	for i, p := range c.running {
		if p != nil && p.Ended() && !c.ending[i] {
			return fmt.Errorf("member %d ended by itself (%v); its log ends with:\n%s", i+1, p.cmd.ProcessState, p.Said())
		}
	}
	return nil
}

// Ready waits until members are ready; without a name, all.
func (c *Cluster) Ready(ctx context.Context, members ...int) error {
	if len(members) == 0 {
		for i := range c.api {
			members = append(members, i)
		}
	}
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, i := range members {
		for !c.isReady(limited, i) {
			if err := c.Lost(); err != nil {
				return err
			}
			if !pause(limited, startPoll) {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return fmt.Errorf("member %d is not ready within %v; its log ends with:\n%s", i+1, startLimit, c.running[i].Said())
			}
		}
	}
	return nil
}

func (c *Cluster) isReady(ctx context.Context, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.api[i]+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	res, err := c.http.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Leader waits until some member leads a stream, and returns which does in the newest
// term. Members that do not answer are passed over.
func (c *Cluster) Leader(ctx context.Context, stream metadatav1.Stream) (int, error) {
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		best, term := -1, uint64(0)
		for i := range c.status {
			if own := c.own(limited, i, stream); own.GetRole() == metadatav1.Role_ROLE_LEADER && own.GetTerm() > term {
				best, term = i, own.GetTerm()
			}
		}
		if best >= 0 {
			return best, nil
		}
		if !pause(limited, startPoll) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, fmt.Errorf("no member leads %v within %v", stream, startLimit)
		}
	}
}

// own is what a member says of its own part in a stream; nil if it does not answer.
func (c *Cluster) own(ctx context.Context, i int, stream metadatav1.Stream) *metadatav1.StreamStatus {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	status, err := c.status[i].Status(ctx, &metadatav1.StatusRequest{})
	if err != nil {
		return nil
	}
	for _, m := range status.GetMembers() {
		for _, s := range m.GetStreams() {
			if m.GetMemberId() == status.GetMemberId() && s.GetStream() == stream {
				return s
			}
		}
	}
	return nil
}

// pause waits unless the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
