// Package webhook is the sink that posts records to an HTTP address, as batches of
// CloudEvents 1.0 in JSON (application/cloudevents-batch+json), one event for each change:
//
//	id       the change's id, the same each time it is posted
//	source   urn:heliosdb:metadata:CLUSTER
//	type     com.heliosdb.metadata.KIND, such as com.heliosdb.metadata.tableCreated
//	subject  the object, such as table/public.users, if the change is about a single one
//	time     when the change was decided
//	data     the record
//
// An answer of 2xx says that all events of the request are taken, for good. 400, 409, 413
// and 422 are about the events, and reject them. Any other 4xx is not, such as 401 of a
// token that has expired, 404 of an address that moved and 415 of one that takes no batches: like 5xx, no answer in time and
// no connection it asks for another attempt. Redirects are not followed: an event that was
// posted elsewhere is lost.
//
// A Sink belongs to one goroutine.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

const (
	// DefaultTimeout is how long an answer may take.
	DefaultTimeout = 10 * time.Second
	// DefaultEvents is how many events a request has at most.
	DefaultEvents = 100
	// MaxEvents bounds Options.Events.
	MaxEvents = 1000
	// maxBodyBytes bounds a request of several events.
	maxBodyBytes = 1 << 20
	// maxReasonBytes is how much of an answer is kept to say why events are rejected, and
	// maxAnswerBytes how much is read so that its connection can be used again.
	maxReasonBytes = 512
	maxAnswerBytes = 64 << 10

	contentType = "application/cloudevents-batch+json; charset=utf-8"
	// EventType is before the kind in the type of an event.
	EventType = "com.heliosdb.metadata."
	// EventSource is before the cluster in the source of an event.
	EventSource = "urn:heliosdb:metadata:"
)

// Options configure a Sink.
type Options struct {
	// URL is where to post. A user and password in it are sent as basic authentication.
	URL *url.URL
	// Header is sent along, such as Authorization.
	Header http.Header
	// Timeout is how long an answer may take; 0: DefaultTimeout.
	Timeout time.Duration
	// Events is how many events a request has at most; 0: DefaultEvents.
	Events int
}

// Sink posts to an address.
type Sink struct {
	options Options
	client  *http.Client
}

// New returns a sink. It does not connect.
func New(o Options) (*Sink, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Events == 0 {
		o.Events = DefaultEvents
	}
	switch {
	case o.URL == nil || o.URL.Scheme != "http" && o.URL.Scheme != "https" || o.URL.Host == "":
		return nil, sink.Usage("webhook %v: write http://HOST/PATH or https://HOST/PATH", o.URL)
	case o.Timeout < 0:
		return nil, sink.Usage("webhook: a timeout of %v; use one above 0", o.Timeout)
	case o.Events < 1 || o.Events > MaxEvents:
		return nil, sink.Usage("webhook: %d events in a request; use 1 to %d", o.Events, MaxEvents)
	}
	return &Sink{o, &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
			TLSHandshakeTimeout: o.Timeout,
			ForceAttemptHTTP2:   true,
			IdleConnTimeout:     time.Minute,
		},
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// event is a CloudEvent.
type event struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// Send implements [sink.Sink].
func (s *Sink) Send(ctx context.Context, records []record.Record) (int, error) {
	body, n, err := batch(records[:min(len(records), s.options.Events)])
	if err != nil {
		return 0, &sink.BrokenError{Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.URL.String(), bytes.NewReader(body))
	if err != nil {
		return 0, &sink.BrokenError{Err: err}
	}
	for name, values := range s.options.Header {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", contentType)
	response, err := s.client.Do(request)
	if err != nil {
		return 0, withoutAddress(err)
	}
	defer func() { _ = response.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxReasonBytes)) // the status is what counts
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswerBytes)
	if err := judge(response, said, n); err != nil {
		return 0, err
	}
	return n, nil
}

// batch encodes as many records as fit into one request, at least one.
func batch(records []record.Record) (body []byte, n int, err error) {
	var all bytes.Buffer
	all.WriteByte('[')
	for i, r := range records {
		text, err := json.Marshal(event{
			SpecVersion: "1.0", ID: r.ID, Source: EventSource + r.Cluster, Type: EventType + r.Kind, Subject: r.Subject,
			Time: r.Time.Format(time.RFC3339Nano), DataContentType: "application/json", Data: r.JSON,
		})
		if err != nil {
			return nil, 0, err
		}
		if i > 0 {
			if all.Len()+len(text)+2 > maxBodyBytes {
				records = records[:i]
				break
			}
			all.WriteByte(',')
		}
		all.Write(text)
	}
	all.WriteByte(']')
	return all.Bytes(), len(records), nil
}

var (
	// rejections are the answers that say something about the events.
	rejections = []int{
		http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
	}
	// misdirections are the answers that say something about how the events were sent, which
	// somebody has to mend.
	misdirections = []int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone,
		http.StatusUnsupportedMediaType,
	}
)

// judge returns what an answer means for the events of its request; nil: they are taken.
func judge(response *http.Response, said []byte, events int) error {
	status := response.StatusCode
	err := fmt.Errorf("the webhook answers %s: %q", response.Status, said)
	switch {
	case status >= 200 && status < 300:
		return nil
	case slices.Contains(rejections, status):
		return &sink.RejectedError{Records: events, Reason: err.Error()}
	case slices.Contains(misdirections, status):
		return fmt.Errorf("%w; it does not take events here, or not with these credentials: see to the address and the header", err)
	case status >= 400:
		return &sink.BusyError{After: retryAfter(response.Header), Err: err}
	}
	return &sink.BrokenError{Err: fmt.Errorf("%w; redirects are not followed: name the address that takes the events (%q)",
		err, response.Header.Get("Location"))}
}

// retryAfter reads for how many seconds the webhook wants no attempt; 0: it does not say.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// withoutAddress leaves the address out of an error: it may have a password.
func withoutAddress(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("the webhook does not answer: %w", e.Err)
	}
	return err
}

// Close implements [sink.Sink].
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
