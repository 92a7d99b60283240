package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/check"
	"github.com/heliosdb/metadata/console"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/internal/heapgoal"
	"github.com/heliosdb/metadata/member"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/transport"
	"github.com/heliosdb/metadata/server"
)

const (
	// callPatience is how long a stopping member waits for calls in progress.
	callPatience = 5 * time.Second
	// readyPoll is how often people are told what a starting member waits for.
	readyPoll = 50 * time.Millisecond
	// quietStart is for how long nobody needs to be told.
	quietStart = 2 * time.Second
	// directoryPatience is how long a directory may stay in use after its process was killed.
	directoryPatience = 2 * time.Second
)

// process is what a serving process has open.
type process struct {
	session *session
	flags   *serveFlags
	log     *slog.Logger
	peers   []raftlog.Peer
	store   *pebblestore.Store
	api     net.Listener
	raft    net.Listener
	apiTLS  *tls.Config
	raftTLS *tls.Config
	audit   ed25519.PrivateKey // nil: no heads are signed
	member  *member.Member
	server  *server.Server
}

// serve runs a member until the context ends.
func (s *session) serve(ctx context.Context, f *serveFlags) error {
	heapgoal.Keep(ctx)
	p := &process{session: s, flags: f}
	if err := p.prepare(); err != nil {
		return err
	}
	if err := p.open(); err != nil {
		return errors.Join(err, p.close())
	}
	if err := p.build(); err != nil {
		return errors.Join(err, p.close())
	}
	p.greet()
	if err := p.writePorts(); err != nil {
		return errors.Join(err, p.close())
	}
	return p.run(ctx)
}

// prepare checks the settings and reads the files that they name.
func (p *process) prepare() (err error) {
	f := p.flags
	if p.peers, err = f.settlePeers(); err != nil {
		return err
	}
	if err = f.check(); err != nil {
		return err
	}
	if p.log, err = f.logger(p.session.err); err != nil {
		return err
	}
	if p.apiTLS, err = f.apiTLS(); err != nil {
		return err
	}
	if p.audit, err = f.loadAuditKey(); err != nil {
		return err
	}
	if f.raft.Cert != "" {
		p.raftTLS, err = transport.LoadTLS(f.raft.Cert, f.raft.Key, f.raft.CA)
	}
	return err
}

func (f *serveFlags) logger(to io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usage("--log-level %q: write debug, info, warn or error", f.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	if f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options)), nil
	}
	return slog.New(slog.NewTextHandler(to, options)), nil
}

// open takes the directory and the ports. The directory comes first: a second
// process on it is told so, not that a port is taken.
func (p *process) open() (err error) {
	f := p.flags
	if p.store, err = p.openStore(); err != nil {
		return err
	}
	identity, err := p.store.Identity()
	if err != nil {
		return err
	}
	if p.peers, err = f.checkIdentity(identity, p.peers); err != nil {
		return err
	}
	if p.raft, err = listen("raft-listen", f.raftListen); err != nil {
		return err
	}
	p.api, err = listen("listen", f.listen)
	return err
}

// openStore waits a moment for a directory that is in use: a killed process holds it until
// the system has taken it apart, and whoever starts the next one does not see when that is.
func (p *process) openStore() (*pebblestore.Store, error) {
	options := pebblestore.Options{Logger: p.log, Name: check.StreamOf, Quarantine: len(p.peers) > 1}
	for deadline := time.Now().Add(directoryPatience); ; time.Sleep(directoryPatience / 20) {
		store, err := pebblestore.Open(p.flags.data, options)
		inUse, ok := errors.AsType[*raftlog.InUseError](err)
		if !ok {
			return store, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("data directory %s is in use by another process: stop it, or give this member another directory with --data", inUse.Path)
		}
	}
}

// build makes the member and its edge.
func (p *process) build() (err error) {
	f := p.flags
	metrics := server.NewMetrics()
	p.member, err = member.New(member.Config{
		ID: f.nodeID, ClusterName: f.clusterName, Peers: p.peers, Store: p.store, RaftListener: p.raft,
		Advertise: f.advertised(p.api.Addr()), TLS: p.raftTLS, Tick: f.tick,
		Leases:   f.leases(),
		AuditKey: p.audit, Audit: audit.Policy{Every: f.auditEvery, Within: audit.DefaultWithin},
		CheckpointRevisions: f.checkpointRevisions, TrailingEntries: f.trailingEntries,
		HistoryMaxAge: time.Duration(f.historyMaxAge), HistoryMaxBytes: uint64(f.historyMaxBytes), HistoryHardBytes: uint64(f.historyHardBytes),
		HistoryServiceChanges: f.historyServiceChanges,
		Version:               buildVersion(), Observer: metrics, Logger: p.log,
	})
	if err != nil {
		return err
	}
	home, pages, err := p.home()
	if err != nil {
		return err
	}
	p.server, err = server.New(p.member, server.Options{
		Home: home, PageOrigins: pages, Metrics: metrics, Log: p.log, TLS: p.apiTLS, CORSOrigins: f.corsOrigins, Hosts: f.hosts(p.api.Addr()),
		Limits: server.Limits{PeerRate: f.rateLimit},
	})
	return err
}

// home is the console, unless it is switched off, and the origins of all members' consoles.
func (p *process) home() (home http.Handler, pages func() []string, err error) {
	if !p.flags.console {
		return nil, nil, nil
	}
	scheme := "http"
	if p.apiTLS != nil {
		scheme = "https" // members that are one cluster are served alike
	}
	pages = func() []string { return console.Origins(scheme, p.member.Addresses()) }
	home, err = console.Handler(pages)
	return home, pages, err
}

// close gives back what was opened by a process that does not come to run.
func (p *process) close() error {
	var errs []error
	for _, l := range []net.Listener{p.api, p.raft} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	return errors.Join(errs...)
}

// greet says what runs where.
func (p *process) greet() {
	f, scheme := p.flags, "http"
	if p.apiTLS != nil {
		scheme = "https"
	}
	say := p.session.say
	say("heliosmeta %s: member %d of cluster %q, members: %d", buildVersion(), f.nodeID, f.clusterName, len(p.peers))
	say("  API   %s://%s  (Connect, gRPC, gRPC-Web, JSON; /metrics, /livez, /readyz)", scheme, p.api.Addr())
	if f.console {
		say("  web   %s://%s/  (console)", scheme, p.api.Addr())
	}
	say("  Raft  %s", p.raft.Addr())
	say("  data  %s", f.data)
	if f.insecure && (p.apiTLS == nil || p.raftTLS == nil) {
		say("  --insecure: whoever reaches these ports in plain text can read and change everything")
	}
}

// writePorts tells whoever chose port 0 which ports it became.
func (p *process) writePorts() error {
	name := p.flags.portsFile
	if name == "" {
		return nil
	}
	// Whoever waits for the file finds it whole.
	text := fmt.Sprintf("api=%s\nraft=%s\n", p.api.Addr(), p.raft.Addr())
	if err := os.WriteFile(name+".tmp", []byte(text), 0o644); err != nil {
		return fmt.Errorf("--ports-file: %w", err)
	}
	return os.Rename(name+".tmp", name)
}

// run lives until the context ends or something fails.
func (p *process) run(ctx context.Context) error {
	group, failed := errgroup.WithContext(context.Background())
	memberCtx, stopMember := context.WithCancel(context.Background())
	defer stopMember()
	group.Go(func() error {
		defer stopMember()
		if err := p.member.Run(memberCtx); err != nil {
			return err
		}
		return errStopped
	})
	group.Go(func() error { return p.server.Serve(p.api) })
	go p.announce(memberCtx)
	select {
	case <-ctx.Done():
		p.session.say("stopping: finishing calls and handing leadership over; a second signal stops at once")
	case <-failed.Done():
	}
	// New calls are refused and go elsewhere, those in progress are finished; then
	// the member can hand over what it leads.
	patience, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	if err := p.server.Stop(patience); err != nil {
		p.log.Warn("not all calls were finished", "error", err)
	}
	stopMember()
	if err := group.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	p.session.say("stopped")
	return nil
}

// errStopped ends the group when the member has stopped as it was asked to.
var errStopped = errors.New("stopped")

// announce says what a starting member waits for, each thing once, and when it is
// ready.
func (p *process) announce(ctx context.Context) {
	began, told := time.Now(), ""
	for ctx.Err() == nil {
		err := p.member.Ready()
		if err == nil {
			p.session.say("ready after %v: each stream has a leader", time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > quietStart && err.Error() != told {
			told = err.Error()
			p.session.say("waiting: %s", told)
		}
		select {
		case <-ctx.Done():
		case <-time.After(readyPoll):
		}
	}
}
