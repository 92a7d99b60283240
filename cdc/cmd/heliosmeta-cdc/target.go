package main

import (
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/heliosdb/metadata/cdc/filesink"
	"github.com/heliosdb/metadata/cdc/jetstream"
	"github.com/heliosdb/metadata/cdc/linesink"
	"github.com/heliosdb/metadata/cdc/sink"
	"github.com/heliosdb/metadata/cdc/webhook"
)

// open returns the sink that --to names, and that name without secrets.
func (o *options) open(stdout io.Writer, log *slog.Logger) (to sink.Sink, name string, err error) {
	kind, rest, _ := strings.Cut(o.to, ":")
	switch kind {
	case "":
		return nil, "", sink.Usage("where to? name a target with --to: stdout, file:DIR, webhook+https://HOST/PATH or nats://HOST:PORT")
	case "stdout":
		return linesink.New(stdout), kind, nil
	case "file":
		if rest == "" {
			return nil, "", sink.Usage("--to file: names no directory; write file:DIR")
		}
		to, err = filesink.Open(filesink.Options{Dir: rest, MaxBytes: o.fileMaxBytes, MaxAge: o.fileMaxAge, Now: time.Now, Log: log})
		return to, o.to, err
	case "webhook+http", "webhook+https":
		return o.openWebhook(strings.TrimPrefix(o.to, "webhook+"))
	case "nats", "tls":
		to, err = jetstream.New(jetstream.Options{
			URL: o.to, Prefix: o.natsPrefix, Stream: o.natsStream, Create: o.natsCreate, Replicas: o.natsReplicas, Credentials: o.natsCredentials, Log: log,
		})
		return to, "nats " + o.natsPrefix + ".>", err
	}
	return nil, "", sink.Usage("there is no target %q; there are stdout, file:DIR, webhook+https://HOST/PATH and nats://HOST:PORT", kind)
}

func (o *options) openWebhook(address string) (sink.Sink, string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", sink.Usage("--to: the webhook's address cannot be parsed; write webhook+https://HOST/PATH")
	}
	header, err := o.header()
	if err != nil {
		return nil, "", err
	}
	to, err := webhook.New(webhook.Options{URL: u, Header: header, Timeout: o.webhookTimeout, Events: o.webhookEvents})
	return to, "webhook " + u.Redacted(), err
}
