package workload

import (
	"context"

	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// subscribe creates tables while Subscribers hear of them, each on a stream of its own.
type subscribe struct {
	*base
	made int64 // tables by runs before this one
}

func (w *subscribe) Prepare(ctx context.Context) error { return w.openNamespace(ctx) }

func (w *subscribe) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	w.Say("opening %d subscriptions", w.Subscribers)
	f := FanOut{Listeners: w.Subscribers, Listen: w.listen, Kind: Kind}
	made := w.made
	f.Write = func(ctx context.Context, client int, n int64) error {
		_, err := w.caller(client).CreateTable(ctx, &metadatav1.CreateTableRequest{Table: Table(w.id, made+n)})
		return err
	}
	report, err := f.Run(ctx, w.kinds(plan))
	w.made += remembered // a run makes fewer
	return report, err
}

// listen subscribes to the schema as it changes from now on.
func (w *subscribe) listen(ctx context.Context, listener int, ready func(), heard func(int64)) error {
	frames, err := w.caller(listener).Frames(ctx, &metadatav1.SubscribeRequest{
		Start:  &metadatav1.SubscribeRequest_Latest{Latest: true},
		Filter: &metadatav1.Filter{Streams: []metadatav1.Stream{schema}},
	})
	if err != nil {
		return err
	}
	made := w.made
	for {
		frame, err := frames.Receive()
		if err != nil {
			return err
		}
		ready() // the first frame says where the subscription begins
		_, changes := frame.Changes()
		for _, change := range changes {
			err := created(change, func(namespace, name []byte) {
				if string(namespace) == w.id {
					heard(TableNumber(string(name)) - made)
				}
			})
			if err != nil {
				return err
			}
		}
	}
}
