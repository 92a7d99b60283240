package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// FencedError says that another process has opened a consumer since this one did. This one
// has to stop; what it has carried out and not acknowledged, the other one is sent too.
type FencedError struct {
	Consumer string
	Epoch    uint64 // with which this process had opened it
	cause    error
}

// Error says so.
func (e *FencedError) Error() string {
	return fmt.Sprintf("client: another process has opened consumer %q since this one did (with epoch %d); only one can have it", e.Consumer, e.Epoch)
}

// Unwrap returns the service's answer.
func (e *FencedError) Unwrap() error { return e.cause }

// TrimmedError says that changes which a consumer has not had are gone.
type TrimmedError struct {
	Position *metadatav1.Position // up to where it has had them
	Stream   metadatav1.Stream    // of which some are gone
	Oldest   uint64               // the oldest revision that is left
	cause    error
}

// Error names the stream and the revisions.
func (e *TrimmedError) Error() string {
	return "client: " + e.cause.Error() + "; to go on without what is lost, delete the consumer or its position, and begin it anew"
}

// Unwrap returns the service's answer.
func (e *TrimmedError) Unwrap() error { return e.cause }

// asTrimmed returns err, or what it means for a consumer at a position.
func asTrimmed(err error, p *metadatav1.Position) error {
	if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED {
		return err
	}
	says := ErrorValues(err)
	oldest, _ := strconv.ParseUint(says["oldest_revision"], 10, 64) // 0: the service does not say
	return &TrimmedError{Position: p, Stream: metadatav1.Stream(metadatav1.Stream_value[says["stream"]]), Oldest: oldest, cause: err}
}

// namedConsumer is a consumer whose position the service keeps.
type namedConsumer struct {
	client  *Client
	name    string
	options ConsumeOptions
	epoch   uint64
}

func (n *namedConsumer) open(ctx context.Context) (*metadatav1.Position, *metadatav1.Filter, error) {
	if n.options.Create {
		if err := n.ensure(ctx); err != nil {
			return nil, nil, err
		}
	}
	// One request id for all attempts: one that arrives late must not fence off the others.
	request := &metadatav1.OpenConsumerRequest{
		Name: n.name, Owner: n.options.Owner, Write: &metadatav1.WriteOptions{RequestId: newID()},
	}
	res, err := persist(ctx, n.client.OpenConsumer, request)
	if err != nil {
		return nil, nil, err
	}
	n.epoch = res.GetConsumer().GetEpoch()
	n.client.log.Info("consumer opened", "consumer", n.name, "epoch", n.epoch, "position", res.GetConsumer().GetPosition())
	return res.GetConsumer().GetPosition(), res.GetConsumer().GetFilter(), nil
}

// ensure creates the consumer if there is none, and refuses one with another filter.
func (n *namedConsumer) ensure(ctx context.Context) error {
	newest := &metadatav1.ReadOptions{Consistency: linearizable} // whatever the client's other reads ask for
	for {
		res, err := persist(ctx, n.client.GetConsumer, &metadatav1.GetConsumerRequest{Name: n.name, Read: newest})
		if err == nil {
			if !sameFilter(res.GetConsumer().GetFilter(), n.options.Filter) {
				return fmt.Errorf("client: consumer %q has the filter {%v}, not {%v}; leave the filter out, take another name, or delete the consumer",
					n.name, res.GetConsumer().GetFilter(), n.options.Filter)
			}
			return nil
		}
		if !IsNotFound(err) {
			return err
		}
		_, err = persist(ctx, n.client.CreateConsumer, &metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{
			Name: n.name, Filter: n.options.Filter, Description: n.options.Description, Position: n.options.Start,
		}, FromOldest: n.options.FromOldest})
		if !IsAlreadyExists(err) {
			return err
		}
	}
}

func (n *namedConsumer) acknowledge(ctx context.Context, p *metadatav1.Position) (later bool, err error) {
	_, err = n.client.AcknowledgeConsumer(ctx, &metadatav1.AcknowledgeConsumerRequest{Name: n.name, Epoch: n.epoch, Position: p})
	if Reason(err) == metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED {
		return false, &FencedError{Consumer: n.name, Epoch: n.epoch, cause: err}
	}
	_, later = retryable(err)
	return later || errors.Is(err, context.DeadlineExceeded), err
}

// persist makes a call until the service answers or the context ends.
func persist[Q, A any](ctx context.Context, call func(context.Context, Q) (A, error), request Q) (A, error) {
	for pause := newBackoff(); ; {
		res, err := call(ctx, request)
		if err == nil {
			return res, nil
		}
		wait, again := retryable(err)
		if !again || !sleep(ctx, max(wait, pause.NextBackOff())) {
			return res, causeOf(ctx, err)
		}
	}
}

// sameFilter reports whether two filters select the same because they name the same.
func sameFilter(a, b *metadatav1.Filter) bool {
	return proto.Equal(sortedFilter(a), sortedFilter(b))
}

func sortedFilter(f *metadatav1.Filter) *metadatav1.Filter {
	return &metadatav1.Filter{
		Streams: slices.Compact(slices.Sorted(slices.Values(f.GetStreams()))),
		Kinds:   slices.Compact(slices.Sorted(slices.Values(f.GetKinds()))),

		Namespaces: slices.Compact(slices.Sorted(slices.Values(f.GetNamespaces()))),
		Tables:     slices.Compact(slices.Sorted(slices.Values(f.GetTables()))),
		Nodes:      slices.Compact(slices.Sorted(slices.Values(f.GetNodes()))),
		Shards:     slices.Compact(slices.Sorted(slices.Values(f.GetShards()))),
	}
}
