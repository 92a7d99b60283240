package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func startFeed(t *testing.T, configure func(*fakefeed.Service)) (*fakefeed.Service, *Client) {
	t.Helper()
	feed, err := fakefeed.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	if configure != nil {
		configure(feed)
	}
	return feed, newClient(t, feed.Addr())
}

var errEnough = errors.New("enough")

// fromTheBeginning creates consumers that begin with the first change.
func fromTheBeginning() ConsumeOptions {
	return ConsumeOptions{Create: true, Start: new(metadatav1.Position), AckInterval: 10 * time.Millisecond}
}

// catcher gathers what a consumer is handed.
type catcher struct {
	mu   sync.Mutex
	ids  []string
	last map[metadatav1.Stream]uint64
}

func newCatcher() *catcher { return &catcher{last: make(map[metadatav1.Stream]uint64)} }

// take notes a batch and fails if a stream has a gap.
func (c *catcher) take(batch []Delivery) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range batch {
		if revision := d.Change.GetRevision(); revision > c.last[d.Stream]+1 {
			return fmt.Errorf("change %d of %v came behind %d", revision, d.Stream, c.last[d.Stream])
		}
		c.last[d.Stream] = max(c.last[d.Stream], d.Change.GetRevision())
		c.ids = append(c.ids, d.ID())
	}
	return nil
}

func (c *catcher) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ids)
}

// until returns a handle that ends with errEnough when so many changes have come.
func (c *catcher) until(n int) Handler {
	return func(_ context.Context, batch []Delivery) error {
		if err := c.take(batch); err != nil {
			return err
		}
		if c.count() >= n {
			return errEnough
		}
		return nil
	}
}

func TestConsumeDeliversInOrderAndAcknowledges(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 10)
	feed.Append(topologyStream, 5)
	got := newCatcher()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := fromTheBeginning()
	opts.Owner, opts.Description, opts.BatchChanges = "host/1", "for a test", 4
	var told []*metadatav1.Position
	opts.Acknowledged = func(p *metadatav1.Position) {
		told = append(told, p)
		if p.GetSchemaRevision() == 10 && p.GetTopologyRevision() == 5 {
			cancel()
		}
	}
	err := c.Consume(ctx, "audit", opts, func(ctx context.Context, batch []Delivery) error {
		if len(batch) > 4 {
			return fmt.Errorf("a batch of %d", len(batch))
		}
		return got.take(batch)
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(got.ids) != 15 || got.ids[0] != fakefeed.ClusterID+"/1/schema/1" {
		t.Fatalf("got %v", got.ids)
	}
	consumer := feed.Consumer("audit")
	if consumer.GetOwner() != "host/1" || consumer.GetDescription() != "for a test" || consumer.GetEpoch() != 1 {
		t.Errorf("the consumer is %v", consumer)
	}
	if first := told[0]; first.GetSchemaRevision() != 0 || first.GetClusterId() != fakefeed.ClusterID {
		t.Errorf("it began at %v", first)
	}
}

func TestConsumeGoesOnWhereItWas(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 10)
	opts := fromTheBeginning()
	opts.BatchChanges, opts.AckInterval = 1, time.Hour // it is acknowledged at the end only
	got := newCatcher()
	if err := c.Consume(soon(t), "audit", opts, got.until(4)); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if at := feed.Consumer("audit").GetPosition().GetSchemaRevision(); at != 3 {
		t.Fatalf("three batches were carried out, the fourth was not; %d is acknowledged", at)
	}
	if err := c.Consume(soon(t), "audit", ConsumeOptions{}, got.until(11)); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if want := []string{"/schema/4", "/schema/4", "/schema/5"}; !strings.HasSuffix(got.ids[3], want[0]) || !strings.HasSuffix(got.ids[4], want[1]) || !strings.HasSuffix(got.ids[5], want[2]) {
		t.Fatalf("got %v", got.ids)
	}
}

// What breaks or fails on the way changes nothing of what is delivered.
func TestConsumeWhateverBreaks(t *testing.T) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	chance := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n) == 0
	}
	feed, c := startFeed(t, func(s *fakefeed.Service) {
		s.Broken = func() bool { return chance(4) }
		s.Fail = func(string) error {
			if chance(3) {
				return fakefeed.Refusal(connect.CodeUnavailable, noLeader, "no leader")
			}
			return nil
		}
	})
	feed.Append(schemaStream, 200)
	feed.Append(topologyStream, 100)
	got := newCatcher()
	complete := func() bool { return got.last[schemaStream] == 200 && got.last[topologyStream] == 100 }
	for !complete() {
		opts := fromTheBeginning()
		opts.BatchChanges, opts.AckChanges = 7, 10
		enough := got.until(got.count() + 1 + rand.IntN(60))
		err := c.Consume(soon(t), "audit", opts, func(ctx context.Context, batch []Delivery) error {
			if err := enough(ctx, batch); err != nil || !complete() {
				return err
			}
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
	}
	if c.Stats().Reconnects == 0 {
		t.Fatal("nothing broke")
	}
}

func TestConsumeIsFencedOff(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 1)
	other := false
	err := c.Consume(soon(t), "audit", fromTheBeginning(), func(ctx context.Context, _ []Delivery) error {
		if !other {
			other = true
			if _, err := c.OpenConsumer(ctx, &metadatav1.OpenConsumerRequest{Name: "audit"}); err != nil {
				return err
			}
		}
		return nil
	})
	fenced, ok := errors.AsType[*FencedError](err)
	if !ok || fenced.Consumer != "audit" || fenced.Epoch != 1 || Reason(err) != metadatav1.ErrorReason_ERROR_REASON_CONSUMER_FENCED {
		t.Fatalf("got %v", err)
	}
	if at := feed.Consumer("audit").GetPosition().GetSchemaRevision(); at != 0 {
		t.Fatalf("%d is acknowledged", at)
	}
}

// A target that hangs, or asks to be left alone, does not keep a consumer from learning
// that another process has it now: what it is in the middle of ends, and nothing of it
// follows what the other one delivers.
func TestConsumeIsFencedOffInTheMiddleOfABatch(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 1)
	err := c.Consume(soon(t), "audit", fromTheBeginning(), func(ctx context.Context, _ []Delivery) error {
		if _, err := c.OpenConsumer(ctx, &metadatav1.OpenConsumerRequest{Name: "audit"}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Second):
			return errors.New("it was not told")
		}
	})
	if _, fenced := errors.AsType[*FencedError](err); !fenced {
		t.Fatalf("got %v", err)
	}
	if at := feed.Consumer("audit").GetPosition().GetSchemaRevision(); at != 0 {
		t.Fatalf("%d is acknowledged", at)
	}
}

// So too while there is nothing to carry out.
func TestConsumeIsFencedOffWhileNothingHappens(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 1)
	opts, opened := fromTheBeginning(), sync.OnceFunc(func() {
		if _, err := c.OpenConsumer(t.Context(), &metadatav1.OpenConsumerRequest{Name: "audit"}); err != nil {
			t.Error(err)
		}
	})
	opts.Acknowledged = func(p *metadatav1.Position) {
		if p.GetSchemaRevision() == 1 {
			go opened()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := c.Consume(ctx, "audit", opts, func(context.Context, []Delivery) error { return nil })
	if _, fenced := errors.AsType[*FencedError](err); !fenced {
		t.Fatalf("got %v", err)
	}
}

func TestConsumeNamesTrimmedHistory(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(topologyStream, 10)
	passed := &metadatav1.Consumer{Name: "audit", Position: new(metadatav1.Position)}
	if _, err := c.CreateConsumer(t.Context(), &metadatav1.CreateConsumerRequest{Consumer: passed}); err != nil {
		t.Fatal(err)
	}
	feed.Trim(topologyStream, 4)
	err := c.Consume(soon(t), "audit", fromTheBeginning(), func(context.Context, []Delivery) error { return errors.New("delivered") })
	trimmed, ok := errors.AsType[*TrimmedError](err)
	if !ok || trimmed.Oldest != 4 || trimmed.Stream != topologyStream || trimmed.Position.GetTopologyRevision() != 0 {
		t.Fatalf("got %v", err)
	}
}

// Who wants all that is kept need not know where that begins; who wants what was trimmed is
// refused.
func TestConsumeFromTheOldest(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 5)
	feed.Append(topologyStream, 10)
	feed.Trim(topologyStream, 9)
	named := func(opts ConsumeOptions, handle Handler) error {
		opts.Create = true
		return c.Consume(soon(t), "audit", opts, handle)
	}
	own := func(opts ConsumeOptions, handle Handler) error {
		return c.ConsumeFrom(soon(t), PositionFile(filepath.Join(t.TempDir(), "position.json")), opts, handle)
	}
	for what, consume := range map[string]func(ConsumeOptions, Handler) error{"named": named, "own": own} {
		got := newCatcher()
		got.last[topologyStream] = 8
		if err := consume(ConsumeOptions{FromOldest: true}, got.until(7)); !errors.Is(err, errEnough) {
			t.Fatalf("%s: %v", what, err)
		}
		first := slices.ContainsFunc(got.ids, func(id string) bool { return strings.HasSuffix(id, "/topology/9") })
		if !first || slices.ContainsFunc(got.ids, func(id string) bool { return strings.HasSuffix(id, "/topology/8") }) {
			t.Errorf("%s: got %v", what, got.ids)
		}
		if err := consume(ConsumeOptions{FromOldest: true, Start: new(metadatav1.Position)}, nil); err == nil || !strings.Contains(err.Error(), "both Start and FromOldest") {
			t.Errorf("%s: %v", what, err)
		}
	}
	opts := ConsumeOptions{Create: true, Start: new(metadatav1.Position)}
	if err := c.Consume(soon(t), "late", opts, nil); Reason(err) != metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED || ErrorValues(err)["oldest_revision"] != "9" {
		t.Errorf("what was trimmed: %v", err)
	}
}

func TestConsumeNeverGoesOnInAnotherEpoch(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 1)
	err := c.Consume(soon(t), "audit", fromTheBeginning(), func(context.Context, []Delivery) error {
		feed.Restore()
		return nil
	})
	if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_FOREIGN_POSITION {
		t.Fatalf("got %v", err)
	}
}

func TestConsumeWaitsForAMemberThatLags(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 2)
	opts := fromTheBeginning()
	opts.Start.SchemaRevision = 5
	got := newCatcher()
	got.last[schemaStream] = 5
	time.AfterFunc(50*time.Millisecond, func() { feed.Append(schemaStream, 5) })
	if err := c.Consume(soon(t), "audit", opts, got.until(2)); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	c.patience.future = 0
	opts.Start.SchemaRevision = 50
	if err := c.Consume(soon(t), "ahead", opts, got.until(1)); Reason(err) != metadatav1.ErrorReason_ERROR_REASON_FUTURE_REVISION {
		t.Fatalf("got %v", err)
	}
}

func TestConsumeRefusesAnotherFilter(t *testing.T) {
	_, c := startFeed(t, nil)
	never := func(context.Context, []Delivery) error { return errors.New("delivered") }
	topologyOnly := &metadatav1.Consumer{Name: "audit", Filter: &metadatav1.Filter{
		Streams: []metadatav1.Stream{topologyStream}, Nodes: []string{"b", "a"},
	}}
	if _, err := c.CreateConsumer(t.Context(), &metadatav1.CreateConsumerRequest{Consumer: topologyOnly}); err != nil {
		t.Fatal(err)
	}
	err := c.Consume(soon(t), "audit", fromTheBeginning(), never)
	if err == nil || !strings.Contains(err.Error(), "filter") {
		t.Fatalf("got %v", err)
	}
	opts := fromTheBeginning()
	opts.Filter = &metadatav1.Filter{Streams: []metadatav1.Stream{topologyStream}, Nodes: []string{"a", "b"}}
	ctx, cancel := context.WithCancel(t.Context())
	opts.Acknowledged = func(*metadatav1.Position) { cancel() }
	if err := c.Consume(ctx, "audit", opts, never); !errors.Is(err, context.Canceled) {
		t.Fatalf("the same filter in another order: %v", err)
	}
	if err := c.Consume(soon(t), "nobody", ConsumeOptions{}, never); !IsNotFound(err) {
		t.Fatalf("a consumer that nobody created: %v", err)
	}
	if err := c.Consume(soon(t), "audit", ConsumeOptions{BatchChanges: -1}, never); err == nil {
		t.Fatal("batches of -1")
	}
}

func TestConsumeEndsWithTheClient(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 1)
	err := c.Consume(soon(t), "audit", fromTheBeginning(), func(context.Context, []Delivery) error {
		go c.Close()
		return nil
	})
	if !errors.Is(err, errClientClosed) {
		t.Fatal(err)
	}
}

// An attempt to open that was not answered and takes effect late must not fence off the
// one that was: they carry one request id.
func TestOpeningIsOneRequest(t *testing.T) {
	var ids []string
	f, c := startFakes(t, 1, fails(connect.CodeUnavailable, lostWrite), fails(connect.CodeUnavailable, noLeader),
		replies(&metadatav1.OpenConsumerResponse{Consumer: &metadatav1.Consumer{Epoch: 3, Position: &metadatav1.Position{ClusterId: "c"}}}))
	n := &namedConsumer{client: c, name: "audit"}
	if _, _, err := n.open(t.Context()); err != nil || n.epoch != 3 {
		t.Fatalf("epoch %d, %v", n.epoch, err)
	}
	for _, call := range f.writes() {
		ids = append(ids, call.request.(*metadatav1.OpenConsumerRequest).GetWrite().GetRequestId())
	}
	if len(ids) != 3 || ids[0] == "" || len(slices.Compact(ids)) != 1 {
		t.Fatalf("the request ids are %q", ids)
	}
}

func TestAcknowledgementsDoNotHoldUpDeliveries(t *testing.T) {
	hold := make(chan struct{})
	var asked atomic.Int32
	feed, c := startFeed(t, func(s *fakefeed.Service) {
		s.Fail = func(method string) error {
			if method == "AcknowledgeConsumer" && asked.Add(1) == 1 {
				<-hold
			}
			return nil
		}
	})
	feed.Append(schemaStream, 30)
	got := newCatcher()
	opts := fromTheBeginning()
	opts.BatchChanges, opts.AckChanges = 1, 1
	err := c.Consume(soon(t), "audit", opts, func(ctx context.Context, batch []Delivery) error {
		if err := got.take(batch); err != nil {
			return err
		}
		if got.count() == 30 {
			close(hold)
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || feed.Consumer("audit").GetPosition().GetSchemaRevision() != 29 {
		t.Fatalf("%v, acknowledged %v", err, feed.Consumer("audit").GetPosition())
	}
	if n := asked.Load(); n > 3 {
		t.Fatalf("%d acknowledgements; what gathers while one is under way goes into one", n)
	}
}
