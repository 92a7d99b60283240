package main

import (
	"context"
	"slices"
	"time"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/objects"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// keptFrom is where the history of a stream begins; its JSON names are part of the interface.
type keptFrom struct {
	Revision uint64     `json:"revision"`
	Time     *time.Time `json:"time,omitempty"` // of that change, if there is one
}

// sayKept says, behind a list that goes back as far as it can, of which streams the beginning
// is not kept, unless the query did not want it.
func (s *session) sayKept(ctx context.Context, p past.Past, q query) error {
	for _, stream := range q.streams() {
		kept, err := keptOf(ctx, p, stream)
		if err != nil {
			return err
		}
		wanted := q.since == nil || kept.Time == nil || !q.since.AsTime().After(*kept.Time)
		if kept.Revision == 1 || !wanted {
			continue
		}
		at := ""
		if kept.Time != nil {
			at = " (" + kept.Time.Format(time.RFC3339) + ")"
		}
		s.say("the %s stream is kept from revision %d%s on; what was before it is not listed", streamName(stream), kept.Revision, at)
		if s.format == output.Table {
			continue
		}
		if err := s.printer().ValueLine(struct {
			Stream string   `json:"stream"`
			Kept   keptFrom `json:"kept_from"`
		}{streamName(stream), kept}, nil); err != nil {
			return err
		}
	}
	return nil
}

// keptOf returns where the history of a stream begins.
func keptOf(ctx context.Context, p past.Past, stream metadatav1.Stream) (keptFrom, error) {
	source, err := p.Source(ctx, stream)
	if err != nil {
		return keptFrom{}, err
	}
	bounds, err := source.Bounds(ctx)
	kept := keptFrom{Revision: bounds.First}
	if err != nil || bounds.First == 1 || bounds.First > bounds.Last {
		return kept, err
	}
	oldest, err := history.ReadOne(ctx, source, bounds.First)
	if err != nil {
		return kept, err
	}
	at := oldest.Time()
	kept.Time = &at
	return kept, nil
}

// streams are those that the query lists changes of, each once.
func (q query) streams() (all []metadatav1.Stream) {
	for _, selection := range q.selections {
		all = append(all, selection.GetStream())
	}
	for _, ref := range q.objects {
		all = append(all, objects.StreamOf(ref))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
