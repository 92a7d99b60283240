package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/loopback"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	members    = 3
	lookWait   = time.Second           // for one member's answer about itself
	lookPause  = 20 * time.Millisecond // between two questions
	leaderWait = 20 * time.Second      // for finding a leader
)

// cluster is the members and the network between them.
type cluster struct {
	binary  string
	dir     string
	flags   []string // for all members
	network *Network
	members []*member
	clients []*client.Client // one for each member, to ask that one
}

// newCluster lays a cluster out below dir, without starting it. Close it even after an
// error.
func newCluster(binary, dir string, breakable bool) (*cluster, error) {
	c := &cluster{binary: binary, dir: dir}
	var doors, targets []string
	for i := range members {
		m := &member{index: i, logFile: filepath.Join(dir, fmt.Sprintf("member-%d.log", i+1))}
		c.members = append(c.members, m)
		var door string
		for _, address := range []*string{&m.api, &m.raft, &door} {
			var err error
			if *address, err = loopback.Address(); err != nil {
				return c, err
			}
		}
		doors, targets = append(doors, door), append(targets, m.raft)
		root := filepath.Join(dir, fmt.Sprintf("member-%d", i+1))
		if err := os.MkdirAll(root, 0o755); err != nil {
			return c, err
		}
		make := newPlainDisk
		if breakable {
			make = newBreakableDisk
		}
		var err error
		if m.disk, err = make(root); err != nil {
			return c, err
		}
		own, err := client.New(client.Options{Endpoints: []string{m.api}, Actor: "chaos"})
		if err != nil {
			return c, err
		}
		c.clients = append(c.clients, own)
	}
	var err error
	c.network, err = NewNetwork(doors, targets)
	return c, err
}

// close ends every process and takes everything apart that outlives one.
func (c *cluster) close() error {
	var errs []error
	for _, m := range c.members {
		if m.disk != nil {
			errs = append(errs, m.disk.thaw()) // a process that writes to a frozen disk cannot be killed
		}
		_ = m.pause(false)
		errs = append(errs, m.kill())
	}
	if c.network != nil {
		c.network.Close()
	}
	for _, own := range c.clients {
		own.Close()
	}
	for _, m := range c.members {
		if m.disk != nil {
			errs = append(errs, m.disk.close())
		}
	}
	return errors.Join(errs...)
}

// addresses are the API addresses of all members.
func (c *cluster) addresses() []string {
	var list []string
	for _, m := range c.members {
		list = append(list, m.api)
	}
	return list
}

// start runs a member that is not running.
func (c *cluster) start(m *member) error {
	var peers []string
	for i, d := range c.network.doors {
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, d.address))
	}
	args := append([]string{"serve", "--node-id", fmt.Sprint(m.index + 1), "--data", m.disk.data(),
		"--listen", m.api, "--raft-listen", m.raft, "--peers", strings.Join(peers, ",")}, c.flags...)
	p, err := startProcess(c.binary, m.logFile, args...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.now, m.doomed, m.paused = p, false, false
	m.mu.Unlock()
	return nil
}

// restore ends whatever a fault left behind when it broke off.
func (c *cluster) restore() error {
	c.network.Heal()
	var errs []error
	for _, m := range c.members {
		errs = append(errs, m.disk.thaw(), m.disk.empty(), m.pause(false))
		if m.disk.broken {
			errs = append(errs, m.kill(), m.disk.repair())
		}
		m.mu.Lock()
		gone := m.doomed && m.now.ended()
		m.mu.Unlock()
		if gone {
			errs = append(errs, c.start(m))
		}
	}
	return errors.Join(errs...)
}

// stop asks a member to stop, and waits until it has.
func (c *cluster) stop(m *member) error {
	p := m.process()
	if p == nil || p.ended() {
		return nil
	}
	m.doom(true)
	if err := p.signal(os.Interrupt); err != nil {
		return err
	}
	if err := p.wait(stopWait); err != nil {
		return fmt.Errorf("member %d was asked to stop: %w", m.index+1, err)
	}
	if p.err != nil {
		return fmt.Errorf("member %d was asked to stop and ended with %w:\n%s", m.index+1, p.err, tail(m.logFile, logTail))
	}
	return nil
}

// status is what a member says of the cluster.
func (c *cluster) status(ctx context.Context, m *member) (*metadatav1.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	return c.clients[m.index].Status(ctx, &metadatav1.StatusRequest{})
}

// own is a member's status of one stream, as it says itself.
func own(status *metadatav1.StatusResponse, s metadatav1.Stream) *metadatav1.StreamStatus {
	for _, m := range status.GetMembers() {
		if m.GetMemberId() != status.GetMemberId() {
			continue
		}
		for _, stream := range m.GetStreams() {
			if stream.GetStream() == s {
				return stream
			}
		}
	}
	return nil
}

// leader finds who leads a stream in the newest term.
func (c *cluster) leader(ctx context.Context, s metadatav1.Stream) (*member, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	for {
		if m := c.leaderNow(ctx, s); m != nil {
			return m, nil
		}
		if !pause(ctx, lookPause) {
			return nil, fmt.Errorf("no leader of the %v within %v: %w", s, leaderWait, context.Cause(ctx))
		}
	}
}

func (c *cluster) leaderNow(ctx context.Context, s metadatav1.Stream) *member {
	var best *member
	var term uint64
	for _, m := range c.members {
		if !m.answers() {
			continue
		}
		status, err := c.status(ctx, m)
		if err != nil {
			continue
		}
		if st := own(status, s); st.GetRole() == metadatav1.Role_ROLE_LEADER && st.GetTerm() > term {
			best, term = m, st.GetTerm()
		}
	}
	return best
}

// serves reports whether every member answers a linearizable read of both streams.
func (c *cluster) serves(ctx context.Context) error {
	for _, m := range c.members {
		if err := m.lost(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, lookWait)
		_, err := c.clients[m.index].ListNamespaces(ctx, &metadatav1.ListNamespacesRequest{PageSize: 1})
		if err == nil {
			_, err = c.clients[m.index].ListNodes(ctx, &metadatav1.ListNodesRequest{PageSize: 1})
		}
		cancel()
		if err != nil {
			return fmt.Errorf("member %d: %w", m.index+1, err)
		}
	}
	return nil
}

// settle waits until every member serves.
func (c *cluster) settle(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := c.serves(limited)
		if err == nil {
			return nil
		}
		if !pause(limited, lookPause) {
			return fmt.Errorf("not all members serve within %v after the last fault ended: %w", limit, err)
		}
	}
}

// agree waits until all members have the same revisions and digests, and returns how they
// differ if they never do.
func (c *cluster) agree(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := c.differ(limited)
		if err == nil {
			return nil
		}
		if !pause(limited, lookPause) {
			return fmt.Errorf("the members do not agree within %v: %w", limit, err)
		}
	}
}

func (c *cluster) differ(ctx context.Context) error {
	seen := make(map[metadatav1.Stream]string)
	for _, m := range c.members {
		status, err := c.status(ctx, m)
		if err != nil {
			return fmt.Errorf("member %d: %w", m.index+1, err)
		}
		for _, s := range []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY} {
			st := own(status, s)
			state := fmt.Sprintf("revision %d, digest %s", st.GetRevision(), st.GetDigest())
			if before, ok := seen[s]; ok && before != state {
				return fmt.Errorf("%v: member %d has %s, one before has %s", s, m.index+1, state, before)
			}
			seen[s] = state
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
