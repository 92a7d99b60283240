// Command heliosmeta-cdc carries the changes of a HeliosDB metadata service to where they
// are needed: files, webhooks and NATS JetStream. `heliosmeta cdc` hands over to it.
//
// It delivers the changes of each stream in order, each at least once, and goes on where
// it was when it is started again. docs/cdc.md has the formats and the promises.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cdc/sink"
	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Exit codes, as those of heliosmeta.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitNotFound = 3
	exitConflict = 4 // fenced off, or it cannot go on from its position
)

const about = `heliosmeta-cdc carries changes to files, webhooks and message brokers.

Every flag can be set by an environment variable too: --to is HELIOSMETA_TO.

Exit codes: 0 ok (ended by a signal), 1 error, 2 usage, 3 no such consumer, 4 another
process has taken the consumer over, changes that it has not had are gone, or its
position is of a cluster that was restored since.`

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv)) }

// run is the whole program, for tests too. It returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer, lookupEnv func(string) (string, bool)) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // the second signal ends the process at once
	root := &cobra.Command{
		Use: "heliosmeta-cdc", Short: "Carry changes to files, webhooks and message brokers", Long: about,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fill(cmd.Flags(), lookupEnv) },
	}
	started := false
	root.AddCommand(runCommand(root.PersistentFlags(), out, errs, &started))
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(errs, "error:", err)
	if _, usage := errors.AsType[*sink.UsageError](err); usage || !started {
		return exitUsage
	}
	return exitCode(err)
}

func exitCode(err error) int {
	if client.Reason(err) == metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED {
		return exitConflict
	}
	switch connect.CodeOf(err) {
	case connect.CodeNotFound:
		return exitNotFound
	case connect.CodeFailedPrecondition, connect.CodeAborted:
		return exitConflict
	}
	return exitError
}
