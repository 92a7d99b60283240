package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
	"github.com/heliosdb/metadata/client"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func runCommand(global *pflag.FlagSet, stdout, stderr io.Writer, started *bool) *cobra.Command {
	o := new(options)
	o.addGlobal(global)
	c := &cobra.Command{
		Use: "run --consumer NAME --to TARGET", Short: "Carry changes to a target until it is ended",
		Long: `Carry changes to a target until it is ended.

It takes the consumer over from whoever has it, and goes on behind what was acknowledged.
While the service or the target is away it waits. It ends when another process takes the
consumer over, when changes that it has not had are gone, and when the target rejects a
change for good and no --dead-letters are named.

Targets:
  stdout                       a JSON line for each change
  file:DIR                     JSON lines in files of DIR, synced before they are acknowledged
  webhook+https://HOST/PATH    batches of CloudEvents 1.0
  nats://HOST:PORT             messages of NATS JetStream`,
		Example: `  heliosmeta cdc run --consumer audit --create --from beginning --to file:/var/lib/audit
  heliosmeta cdc run --consumer index --create --kind table --to webhook+https://index.example/changes \
      --dead-letters /var/lib/index/rejected.jsonl --metrics 127.0.0.1:9105
  heliosmeta cdc run --consumer bus --create --to nats://127.0.0.1:4222 --nats-stream METADATA --nats-create-stream`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			consume, err := o.consume()
			if err != nil {
				return err
			}
			*started = true
			return o.run(cmd.Context(), consume, stdout, slog.New(slog.NewTextHandler(stderr, nil)))
		},
	}
	o.addTo(c)
	return c
}

func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// run carries changes until the context ends, which is no error, or something else does.
func (o *options) run(ctx context.Context, opts client.ConsumeOptions, stdout io.Writer, log *slog.Logger) (err error) {
	to, target, err := o.open(stdout, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	courier := &sink.Courier{Sink: to, Log: log, DeadInARow: o.deadInARow}
	if o.deadLetters != "" {
		if courier.DeadLetters, err = sink.OpenDeadLetters(o.deadLetters, target, time.Now, log); err != nil {
			return fmt.Errorf("--dead-letters: %w", err)
		}
		defer func() { err = errors.Join(err, courier.DeadLetters.Close()) }()
	}
	c, err := o.connect(log)
	if err != nil {
		return err
	}
	defer c.Close()
	stop, err := o.serveMetrics(c, courier, &opts)
	if err != nil {
		return err
	}
	defer stop()
	defer o.watchReach(ctx, c, log)()
	log.Info("carrying changes", "consumer", cmp.Or(o.consumer, o.positionFile), "to", target)
	handle := func(ctx context.Context, batch []client.Delivery) error { return deliver(ctx, courier, batch) }
	if o.positionFile != "" {
		err = c.ConsumeFrom(ctx, client.PositionFile(o.positionFile), opts, handle)
	} else {
		err = c.Consume(ctx, o.consumer, opts, handle)
	}
	switch {
	case ctx.Err() != nil && ended(err):
		return nil // a signal is how one ends it
	case client.IsNotFound(err) && !opts.Create:
		return fmt.Errorf("%w; with --create it is created", err)
	}
	return err
}

// watchReach tells people when the service cannot be used, until stop is called.
func (o *options) watchReach(ctx context.Context, c *client.Client, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	r := &reach{endpoints: o.endpoints, log: log, ask: func(ctx context.Context) error { return o.answers(ctx, c) }}
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// answers reports whether the service does what the consumer needs: one with a name has its position
// there, which takes a leader; one with a position file is content with any member.
func (o *options) answers(ctx context.Context, c *client.Client) error {
	if o.consumer == "" {
		_, err := c.Status(ctx, &metadatav1.StatusRequest{})
		return err
	}
	_, err := c.GetConsumer(ctx, &metadatav1.GetConsumerRequest{Name: o.consumer})
	if client.IsNotFound(err) {
		return nil
	}
	return err
}

// ended reports whether an error says no more than that the work was to end.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled
}

// deliver carries a batch of changes out.
func deliver(ctx context.Context, courier *sink.Courier, batch []client.Delivery) error {
	records := make([]record.Record, len(batch))
	for i, d := range batch {
		var err error
		if records[i], err = record.Of(d); err != nil {
			return err
		}
	}
	return courier.Deliver(ctx, records)
}

func (o *options) connect(log *slog.Logger) (*client.Client, error) {
	config, err := o.tls.Load(o.endpoints)
	if err != nil {
		return nil, err
	}
	if err := o.token.Check(); err != nil {
		return nil, err
	}
	return client.New(client.Options{Endpoints: o.endpoints, Timeout: o.timeout, TLS: config, Actor: o.actor, Token: o.token.Token(), Logger: log})
}

// serveMetrics shows metrics, if that is asked for, until stop is called.
func (o *options) serveMetrics(c *client.Client, courier *sink.Courier, opts *client.ConsumeOptions) (stop func(), err error) {
	registry := prometheus.NewRegistry()
	courier.Metrics = sink.NewMetrics(registry)
	lag := newLag(c, o.consumer, opts.Filter)
	opts.Acknowledged = lag.acknowledged
	registry.MustRegister(lag, c.Collector())
	if o.metrics == "" {
		return func() {}, nil
	}
	return listen(o.metrics, registry)
}
