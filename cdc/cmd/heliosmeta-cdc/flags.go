package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/cdc/filesink"
	"github.com/heliosdb/metadata/cdc/jetstream"
	"github.com/heliosdb/metadata/cdc/sink"
	"github.com/heliosdb/metadata/cdc/webhook"
	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/client/consume"
	"github.com/heliosdb/metadata/internal/filterflags"
	"github.com/heliosdb/metadata/internal/positiontext"
	"github.com/heliosdb/metadata/internal/tlsfiles"
	"github.com/heliosdb/metadata/internal/tokenfile"
)

// options are the command line.
type options struct {
	endpoints []string
	actor     string
	timeout   time.Duration
	tls       tlsfiles.Files
	token     tokenfile.File

	consumer, positionFile   string
	create                   bool
	from, description, owner string
	filter                   filterflags.Flags
	batch, ackChanges        int
	ackInterval              time.Duration

	to, deadLetters, metrics string
	fileMaxBytes             int64
	fileMaxAge               time.Duration
	webhookTimeout           time.Duration
	webhookEvents            int
	webhookHeader            []string
	natsPrefix, natsStream   string
	natsCreate               bool
	natsReplicas             int
	natsCredentials          string
	deadInARow               int
}

// addGlobal adds the flags that heliosmeta has too, so that they may stand before the verb.
func (o *options) addGlobal(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.endpoints, "endpoints", []string{"127.0.0.1:9000"}, "API addresses of members: HOST:PORT or https://HOST:PORT, separated by commas")
	flags.StringVar(&o.actor, "actor", "heliosmeta-cdc", "who is said to be asking, for the history")
	flags.DurationVar(&o.timeout, "timeout", client.DefaultTimeout, "how long one call may take; the program goes on trying")
	o.tls.AddTo(flags)
	o.token.AddTo(flags)
}

// addTo adds the flags of run.
func (o *options) addTo(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&o.to, "to", "", "where changes go: stdout, file:DIR, webhook+https://HOST/PATH or nats://HOST:PORT")
	flags.StringVar(&o.consumer, "consumer", "", "name of the consumer, whose position the service keeps")
	flags.StringVar(&o.positionFile, "position-file", "", "file to keep the position and the filter in, instead of a consumer of the service")
	flags.BoolVar(&o.create, "create", false, "create the consumer if there is none of the name")
	flags.StringVar(&o.from, "from", "latest", "where it begins if it is new: latest, beginning or SCHEMA:TOPOLOGY")
	flags.StringVar(&o.description, "description", "", "what the consumer is for, if it is created")
	flags.StringVar(&o.owner, "owner", defaultOwner(), "who has the consumer, for people")
	flags.IntVar(&o.batch, "batch", consume.DefaultBatchChanges, "how many changes are delivered together, at most")
	flags.IntVar(&o.ackChanges, "ack-changes", consume.DefaultAckChanges, "acknowledge after so many changes")
	flags.DurationVar(&o.ackInterval, "ack-interval", consume.DefaultAckInterval, "acknowledge so long after a delivery")
	flags.StringVar(&o.deadLetters, "dead-letters", "", "file for changes that the target rejects for good; without it such a change ends the program")
	flags.IntVar(&o.deadInARow, "dead-letters-in-a-row", sink.DefaultDeadInARow, "end when so many changes in a row were rejected: it is not about them")
	flags.StringVar(&o.metrics, "metrics", "", "HOST:PORT to show metrics for Prometheus on, at /metrics; empty: nowhere")
	flags.Int64Var(&o.fileMaxBytes, "file-max-bytes", filesink.DefaultMaxBytes, "file: size at which a file is complete and the next one begins")
	flags.DurationVar(&o.fileMaxAge, "file-max-age", 0, "file: age, from when this process opened it, at which a file is complete; 0: any")
	flags.DurationVar(&o.webhookTimeout, "webhook-timeout", webhook.DefaultTimeout, "webhook: how long an answer may take")
	flags.IntVar(&o.webhookEvents, "webhook-events", webhook.DefaultEvents, "webhook: events in a request, at most")
	flags.StringArrayVar(&o.webhookHeader, "webhook-header", nil, "webhook: a header line to send, such as \"Authorization: Bearer ...\"; may be given several times")
	flags.StringVar(&o.natsPrefix, "nats-prefix", jetstream.DefaultPrefix, "nats: subjects are PREFIX.STREAM.KIND")
	flags.StringVar(&o.natsStream, "nats-stream", "", "nats: the JetStream stream that has to take the messages; empty: whichever does")
	flags.BoolVar(&o.natsCreate, "nats-create-stream", false, "nats: create the stream if there is none")
	flags.IntVar(&o.natsReplicas, "nats-replicas", 0, "nats: on how many servers the stream that is created is kept; 0: one")
	flags.StringVar(&o.natsCredentials, "nats-credentials", "", "nats: file of credentials")
	o.filter.AddTo(c)
	_ = c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"latest", "beginning"}, cobra.ShellCompDirectiveNoFileComp))
}

// consume is what the flags say of the consumer.
func (o *options) consume() (opts client.ConsumeOptions, err error) {
	switch {
	case o.consumer == "" && o.positionFile == "":
		return opts, errors.New("who keeps the position? name a consumer with --consumer, or a file with --position-file")
	case o.consumer != "" && o.positionFile != "":
		return opts, errors.New("--consumer and --position-file exclude each other")
	case o.positionFile != "" && (o.create || o.description != ""):
		return opts, errors.New("--create and --description are for a consumer of the service, and with --position-file there is none; leave them out")
	}
	if o.deadInARow < 1 {
		return opts, fmt.Errorf("--dead-letters-in-a-row %d; use at least 1", o.deadInARow)
	}
	opts = client.ConsumeOptions{
		Create: o.create, Description: o.description, Owner: o.owner,
		BatchChanges: o.batch, AckChanges: o.ackChanges, AckInterval: o.ackInterval,
	}
	if _, err := consume.New(nil, consume.Options{BatchChanges: o.batch, AckChanges: o.ackChanges, AckInterval: o.ackInterval}); err != nil {
		return opts, err
	}
	if opts.Filter, err = o.filter.Filter(); err != nil {
		return opts, err
	}
	if o.consumer != "" && !o.create && proto.Size(opts.Filter) > 0 {
		return opts, errors.New("a consumer that exists has its own filter; leave yours out, or add --create: then it has to be the consumer's")
	}
	if opts.Start, opts.FromOldest, err = positiontext.ParseStart(o.from); err != nil {
		return opts, fmt.Errorf("--from: %w", err)
	}
	return opts, nil
}

// header is what --webhook-header says.
func (o *options) header() (http.Header, error) {
	header := make(http.Header)
	for i, line := range o.webhookHeader {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			// The line may hold a secret, so it is not repeated.
			return nil, sink.Usage("--webhook-header, the %d. one: write \"Name: value\"", i+1)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, nil
}

// fill sets the flags that the command line did not set and the environment has.
func fill(flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) error {
	var failures []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "HELIOSMETA_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := lookupEnv(name)
		if f.Changed || f.Name == "help" || !ok {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failures = append(failures, fmt.Errorf("environment variable %s is not right for --%s: %w", name, f.Name, err))
		}
	})
	return errors.Join(failures...)
}
