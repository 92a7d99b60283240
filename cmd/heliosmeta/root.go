package main

import (
	"context"
	"errors"
	"os/signal"
	"os/user"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/config"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
)

const about = `heliosmeta runs and operates the HeliosDB Metadata Service.

  heliosmeta serve                          run a member (no flags: a cluster of one)
  heliosmeta apply -f examples/tpch.yaml    make what is there as documents describe it
  heliosmeta status                         what is wrong, if anything

Every flag can be set by an environment variable too: --tick-interval is
HELIOSMETA_TICK_INTERVAL. Keys are UTF-8 text, or hexadecimal digits after 0x.

Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 unavailable, 6 denied.`

// execute runs one command line and returns its exit code.
func (s *session) execute(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// After the first signal the second one ends the process at once.
	defer context.AfterFunc(ctx, stop)()
	root := s.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if _, told := errors.AsType[*usageError](err); !told && !s.started {
		err = usage("%v; usage: %s", err, command.UseLine())
	}
	code := exitCode(err)
	if err.Error() != "" {
		s.sayError(err)
	}
	return code
}

// sayError prints an error to where people look.
func (s *session) sayError(err error) {
	s.clearBar()
	_, _ = s.err.Write([]byte(explain(err, s.endpoints) + "\n"))
}

func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use: "heliosmeta", Short: "Run and operate the HeliosDB Metadata Service", Long: about,
		SilenceErrors: true, SilenceUsage: true, Version: buildVersion(),
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return config.Fill(cmd.Flags(), config.Source{LookupEnv: s.lookupEnv})
		},
	}
	flags := root.PersistentFlags()
	flags.StringSliceVar(&s.endpoints, "endpoints", []string{"127.0.0.1:9000"}, "API addresses of members: HOST:PORT or https://HOST:PORT, separated by commas")
	flags.VarP(&s.format, "output", "o", "how to print: table, json or yaml")
	flags.StringVar(&s.cluster, "cluster-id", "", "the cluster that calls are for, as status shows it; members of another one refuse them")
	flags.DurationVar(&s.timeout, "timeout", client.DefaultTimeout, "how long a call may take, retries included; if it is not given, one about the past up to a minute")
	flags.StringVar(&s.actor, "actor", s.user(), "who is said to be asking, for the history")
	s.tls.AddTo(flags)
	s.token.AddTo(flags)
	flags.StringVar(&s.consistency, "consistency", "linearizable", "how fresh reads have to be: linearizable, local or at-least=SCHEMA:TOPOLOGY")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(output.Formats, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("consistency", cobra.FixedCompletions([]string{"linearizable", "local"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run and watch over:"}, &cobra.Group{ID: "data", Title: "Read and change:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", s.serveCommand(), s.statusCommand(), s.watchCommand(), s.cdcCommand(), s.historyCommand(), s.auditCommand(), s.checkCommand(), s.benchCommand())
	add("data", s.applyCommand(), s.namespaceCommand(), s.tableCommand(), s.topologyCommand(), s.shardCommand(), s.nodeCommand(),
		s.consumerCommand())
	root.AddCommand(s.versionCommand())
	s.mark(root)
	return root
}

// user is who types, as the environment has it, or else the system.
func (s *session) user() string {
	if name, _ := s.lookupEnv("USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// mark makes every command note that it has started, so that errors before it are
// told from its own, and makes nouns without a verb errors of usage.
func (s *session) mark(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			s.started = true
			return run(cmd, args)
		}
	} else if c.HasParent() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usage("there is no command %q; see %s --help", cmd.CommandPath()+" "+args[0], cmd.CommandPath())
		}
	}
	for _, child := range c.Commands() {
		s.mark(child)
	}
}

// noun is a command that only holds others.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short}
	c.AddCommand(verbs...)
	return c
}
