package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/config"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/quantity"
	"github.com/heliosdb/metadata/history/audit"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/tlsfiles"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/member"
)

// Defaults of serve.
const (
	defaultListen     = "127.0.0.1:9000"
	defaultRaftListen = "127.0.0.1:5000"
	defaultData       = "./heliosmeta-data"
	defaultCluster    = "heliosdb"
)

// serveFlags are what `serve` is told.
type serveFlags struct {
	config, data, listen, raftListen, advertise string
	nodeID                                      uint64
	clusterName                                 string
	peers                                       []string
	tick                                        time.Duration
	api                                         struct{ cert, key, clientCA string }
	raft                                        tlsfiles.Files
	insecure                                    bool
	corsOrigins, allowedHosts                   []string
	console                                     bool
	rateLimit                                   float64
	heartbeat, lease                            time.Duration
	checkpointRevisions, trailingEntries        uint64
	auditKey                                    string
	auditEvery                                  uint64
	historyMaxAge                               quantity.Age
	historyMaxBytes, historyHardBytes           quantity.Bytes
	historyServiceChanges                       uint64
	logLevel, logFormat                         string
	portsFile                                   string

	raftListenSet bool
}

// fileKeys are the keys of the configuration file that are not their flag's name.
var fileKeys = map[string]string{
	"data": "storage_path", "listen": "api_addr", "raft-listen": "raft_addr",
	"config": "", "ports-file": "",
}

const aboutServe = `Run a member of the service. Without flags: a cluster of one, on this machine only.

Three members, each on its machine, with the same --peers (Raft addresses):

  heliosmeta serve --node-id 1 --peers 1=10.0.0.1:5000,2=10.0.0.2:5000,3=10.0.0.3:5000 \
      --listen 10.0.0.1:9000 --tls-cert api.pem --tls-key api.key \
      --raft-tls-cert m1.pem --raft-tls-key m1.key --raft-tls-ca ca.pem

Settings come from flags, then HELIOSMETA_... variables, then the --config file:

  node_id: 1
  raft_addr: 10.0.0.1:5000
  storage_path: /var/lib/heliosmeta
  peers: {1: 10.0.0.1:5000, 2: 10.0.0.2:5000, 3: 10.0.0.3:5000}
  tick_interval: 100ms

Its other keys are the flags' names with "_" for "-", but for api_addr (--listen).
The Raft certificate of member 1 has to have the DNS name member-1 or the URI
spiffe://heliosdb/member/1, so that no member can pose as another.
SIGTERM and SIGINT hand leadership over and stop; a second one stops at once.`

func (s *session) serveCommand() *cobra.Command {
	f := new(serveFlags)
	c := &cobra.Command{
		Use: "serve", Short: "Run a member", Long: aboutServe, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.serve(cmd.Context(), f) },
	}
	c.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.fillServe(cmd, f); err != nil {
			return err
		}
		f.raftListenSet = cmd.Flags().Changed("raft-listen")
		return nil
	}
	// The global flags are for talking to a service; here they are noise.
	c.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
		cmd.Parent().HelpFunc()(cmd, args)
	})
	f.add(c.Flags())
	_ = c.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, noFiles))
	_ = c.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, noFiles))
	return c
}

func (f *serveFlags) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&f.config, "config", "", "YAML file of settings")
	flags.Uint64Var(&f.nodeID, "node-id", 1, "id of this member, above 0")
	flags.StringVar(&f.data, "data", defaultData, "directory of this member's data")
	flags.StringVar(&f.listen, "listen", defaultListen, "address of the API port")
	flags.StringVar(&f.raftListen, "raft-listen", defaultRaftListen, "address of the Raft port; with --peers, by default this member's address there")
	flags.StringVar(&f.advertise, "advertise", "", "address at which clients reach the API; by default --listen")
	flags.StringSliceVar(&f.peers, "peers", nil, "all initial members, this one included: ID=HOST:PORT,... with Raft addresses")
	flags.StringVar(&f.clusterName, "cluster-name", defaultCluster, "name of the cluster, the same on all members")
	flags.DurationVar(&f.tick, "tick-interval", member.DefaultTick, "unit of Raft's time: leaders beat once a tick, elections follow after ten")
	flags.StringVar(&f.api.cert, "tls-cert", "", "file of the API port's certificate")
	flags.StringVar(&f.api.key, "tls-key", "", "file of the API port's key")
	flags.StringVar(&f.api.clientCA, "tls-client-ca", "", "file of the authorities that vouch for clients; makes clients show a certificate")
	flags.StringVar(&f.raft.Cert, "raft-tls-cert", "", "file of this member's certificate for the Raft port")
	flags.StringVar(&f.raft.Key, "raft-tls-key", "", "file of its key")
	flags.StringVar(&f.raft.CA, "raft-tls-ca", "", "file of the authorities that vouch for members")
	flags.BoolVar(&f.insecure, "insecure", false, "accept other than loopback addresses without TLS")
	flags.StringSliceVar(&f.corsOrigins, "cors-origins", nil, "origins whose pages may call the API; * for all")
	flags.StringSliceVar(&f.allowedHosts, "allowed-hosts", nil, "host names beside localhost that requests may be for, while the API is on loopback without TLS; * for all")
	flags.BoolVar(&f.console, "console", true, "serve the browser console at / of the API port")
	flags.Float64Var(&f.rateLimit, "rate-limit", 0, "calls a second that one client's address may begin, in the mean; 0: no limit")
	flags.DurationVar(&f.heartbeat, "heartbeat-interval", leases.DefaultInterval, "how often nodes should beat")
	flags.DurationVar(&f.lease, "lease-duration", leases.DefaultLease, "silence after which a node is offline; the same on all members, to be changed only with all of them stopped for as long as the longer lease")
	flags.Uint64Var(&f.checkpointRevisions, "checkpoint-revisions", 0, "changes between two checkpoints, the same on all members; 0: the default")
	flags.Uint64Var(&f.trailingEntries, "trailing-entries", 0, "log entries kept before a checkpoint, so that members that were away shortly need none; 0: the default")
	flags.StringVar(&f.auditKey, "audit-key", "", "file of the private key that signs the heads of streams while this member may; see heliosmeta audit keygen")
	flags.Uint64Var(&f.auditEvery, "audit-every", audit.DefaultEvery, "changes after which a head is signed, at the latest an hour after the first of them; 0: only by time")
	flags.Var(&f.historyMaxAge, "history-max-age", "how long changes of the schema and the topology are kept, such as 30d; the same on all members; 0: for ever")
	flags.Var(&f.historyMaxBytes, "history-max-bytes", "how much of the disk the history of each of the two may take, about, such as 10GiB; the same on all members; 0: all that there is")
	flags.Var(&f.historyHardBytes, "history-hard-bytes", "size from which on the history is trimmed even of what consumers have not acknowledged; the same on all members; 0: twice --history-max-bytes, and without that no limit: with --history-max-age alone a consumer that nobody runs keeps everything")
	flags.Uint64Var(&f.historyServiceChanges, "history-service-changes", member.ServiceHistoryChanges, "changes of the service stream that are kept: consumers, signed heads, trims; the same on all members; 0: all")
	flags.StringVar(&f.logLevel, "log-level", "info", "what to log: debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "how to log: text or json")
	flags.StringVar(&f.portsFile, "ports-file", "", "file to write the addresses to once the ports are open; for port 0")
}

// fillServe adds environment and file to the flags.
func (s *session) fillServe(cmd *cobra.Command, f *serveFlags) error {
	keys := maps.Clone(fileKeys)
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { keys[f.Name] = "" })
	source := config.Source{LookupEnv: s.lookupEnv, Keys: keys}
	name := f.config
	if value, ok := s.lookupEnv(config.EnvName("config")); ok && !cmd.Flags().Changed("config") {
		name = value
	}
	if name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		source.FileName, source.FileText = name, text
	}
	return config.Fill(cmd.Flags(), source)
}

// check refuses what can be seen to be wrong before anything is opened.
func (f *serveFlags) check() error {
	if !slices.Contains([]string{"text", "json"}, f.logFormat) {
		return usage("--log-format %q: write text or json", f.logFormat)
	}
	if err := f.checkValues(); err != nil {
		return err
	}
	if (f.api.cert == "") != (f.api.key == "") {
		return usage("--tls-cert and --tls-key go together; only one of them is given")
	}
	if f.api.clientCA != "" && f.api.cert == "" {
		return usage("--tls-client-ca needs --tls-cert and --tls-key")
	}
	if set := f.raft != (tlsfiles.Files{}); set && (f.raft.CA == "" || f.raft.Cert == "" || f.raft.Key == "") {
		return usage("--raft-tls-cert, --raft-tls-key and --raft-tls-ca go together; not all of them are given")
	}
	if err := f.checkBind("listen", f.listen, f.api.cert != "", "--tls-cert and --tls-key"); err != nil {
		return err
	}
	return f.checkBind("raft-listen", f.raftListen, f.raft.Cert != "", "--raft-tls-cert, --raft-tls-key and --raft-tls-ca")
}

// checkValues is what the packages below would refuse too, once files are open
// and in other words than those of the command line.
func (f *serveFlags) checkValues() error {
	switch {
	case f.nodeID == 0:
		return usage("--node-id 0: give an id above 0")
	case f.clusterName == "":
		return usage("--cluster-name is empty")
	case f.tick < member.MinTick || f.tick > member.MaxTick:
		return usage("--tick-interval %v: give %v to %v", f.tick, member.MinTick, member.MaxTick)
	case f.advertise != "" && !isReachable(f.advertise):
		return usage("--advertise %s: give the HOST:PORT at which clients reach this member", f.advertise)
	case f.rateLimit < 0 || math.IsNaN(f.rateLimit):
		return usage("--rate-limit %v: give the calls a second, or 0 for no limit", f.rateLimit)
	case f.heartbeat <= 0:
		return usage("--heartbeat-interval %v: give a time above 0", f.heartbeat)
	case f.lease <= 0:
		return usage("--lease-duration %v: give a time above 0", f.lease)
	case f.historyHardBytes != 0 && f.historyHardBytes < f.historyMaxBytes:
		return usage("--history-hard-bytes %v: give at least --history-max-bytes (%v), or 0 for twice as much", f.historyHardBytes, f.historyMaxBytes)
	}
	if refused := failure.As(f.leases().Check()); refused != nil {
		field := refused.Fields[0] // named as in the file
		return usage("--%s: %s", strings.ReplaceAll(field.Path, "_", "-"), field.Description)
	}
	return nil
}

func (f *serveFlags) leases() leases.Options {
	return leases.Options{Lease: f.lease, Interval: f.heartbeat}
}
