package main

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/moment"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/past"
	"github.com/heliosdb/metadata/history/objects"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// logFlags are what `history log` is told.
type logFlags struct {
	table, namespace, node, actor string
	shard                         uint64
	since, until                  string
	streams                       []string
	limit                         int
	follow                        bool
}

func (s *session) historyLogCommand(where *pastFlags) *cobra.Command {
	f := new(logFlags)
	c := &cobra.Command{
		Use: "log [OBJECT...]", Short: "List changes, newest first: who, when and what",
		Long: `List changes, newest first: who, when and what.

With objects it lists what happened to them, field by field, also if they are gone. An
object is ` + objectUsage + `.
Without, it lists all changes of schema and topology, or those that the filters select.

With -o json each change is one line: {"stream", "change"}, or of an object an
ObjectChange of the contract. Where the list ends because older changes are not kept, that
is said, and with -o json in a last line {"stream", "kept_from"} for each such stream. With -f the newest ones are printed oldest first, and then
those that come, until Ctrl-C or until --limit of them have come; a table is followed when its name changes, too.`,
		Example: `  heliosmeta history log shop.orders shard/7 --limit 20
  heliosmeta history log --namespace shop --actor deploy --since 3d
  heliosmeta history log --stream topology -f
  heliosmeta history log node/storage-1 --file audit.export -o json`,
		ValidArgsFunction: s.completeTables,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withPast(where, func(p past.Past) error { return s.historyLog(cmd.Context(), p, f, args) })
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.table, "table", "", "only changes of this table, [NAMESPACE.]NAME")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "only changes of this namespace and its tables")
	flags.StringVar(&f.node, "node", "", "only changes of this node and the shards on it")
	flags.Uint64Var(&f.shard, "shard", 0, "only changes of this shard, by id")
	flags.StringVar(&f.since, "since", "", "only what was decided then or later: "+moment.TimeUsage)
	flags.StringVar(&f.until, "until", "", "only what was decided before then")
	flags.IntVar(&f.limit, "limit", 0, "at most so many changes; 0: all")
	flags.BoolVarP(&f.follow, "follow", "f", false, "wait for more")
	flags.StringVar(&f.actor, "actor", "", "only what this actor asked for, exactly")
	addStreamFlag(c, &f.streams, "only these streams: schema, topology, service")
	_ = c.RegisterFlagCompletionFunc("table", s.completeTables)
	_ = c.RegisterFlagCompletionFunc("namespace", s.completeNamespaces)
	_ = c.RegisterFlagCompletionFunc("node", s.completeNodeFlag)
	return c
}

// entry is a change as a log lists it: a change of a stream, or what it made of an object.
type entry struct {
	stream metadatav1.Stream
	change *metadatav1.Change
	object *metadatav1.ObjectChange
}

func (e entry) info() *metadatav1.ChangeInfo {
	if e.object != nil {
		return e.object.GetChange()
	}
	return &metadatav1.ChangeInfo{
		Stream: e.stream, Revision: e.change.GetRevision(), Time: e.change.GetTime(), Actor: e.change.GetActor(), RequestId: e.change.GetRequestId(),
	}
}

// newer reports whether an entry comes before another one when the newest come first.
func newer(a, b entry) bool {
	x, y := a.info(), b.info()
	if x.GetStream() == y.GetStream() {
		return x.GetRevision() > y.GetRevision()
	}
	return x.GetTime().AsTime().After(y.GetTime().AsTime())
}

// historyLog prints what the flags select.
func (s *session) historyLog(ctx context.Context, p past.Past, f *logFlags, args []string) error {
	query, err := f.query(args, time.Now())
	if err != nil {
		return err
	}
	if f.follow {
		return s.followLog(ctx, p, f, query)
	}
	count := 0
	for e, err := range past.Merge(newer, query.sequences(ctx, p)) {
		if err != nil {
			return err
		}
		if err := s.printEntry(e); err != nil {
			return err
		}
		if count++; count == f.limit {
			return nil
		}
	}
	if count == 0 {
		s.say("no change matches")
	}
	return s.sayKept(ctx, p, query)
}

// query is what a log lists: selections of changes, or objects.
type query struct {
	selections   []*metadatav1.ChangeSelection
	objects      []*metadatav1.ObjectRef
	since, until *timestamppb.Timestamp
	actor        string
}

// query reads the flags.
func (f *logFlags) query(args []string, now time.Time) (q query, err error) {
	q.actor = f.actor
	if q.since, err = parseTimeFlag("since", f.since, now); err != nil {
		return q, err
	}
	if q.until, err = parseTimeFlag("until", f.until, now); err != nil {
		return q, err
	}
	if f.limit < 0 {
		return q, usage("--limit %d: give a number of changes, or 0 for all", f.limit)
	}
	filters, err := f.filters()
	if err != nil {
		return q, err
	}
	if len(args) > 0 {
		if len(filters) > 0 || len(f.streams) > 0 {
			return q, usage("name objects, or filter by --table, --namespace, --node, --shard or --stream, not both")
		}
		for _, text := range args {
			ref, err := parseObject(text)
			if err != nil {
				return q, err
			}
			q.objects = append(q.objects, ref)
		}
		return q, nil
	}
	streams, err := parseStreams(f.streams, metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY)
	if err != nil {
		return q, err
	}
	for _, stream := range streams {
		filter := filters[stream]
		if filter == nil && len(filters) > 0 {
			continue
		}
		q.selections = append(q.selections, &metadatav1.ChangeSelection{
			Stream: stream, Since: q.since, Until: q.until, Actor: q.actor, Filter: filter,
		})
	}
	if len(q.selections) == 0 {
		return q, usage("nothing of --stream %s can match the filters", f.streams[0])
	}
	return q, nil
}

// filters are those of the flags, by stream.
func (f *logFlags) filters() (map[metadatav1.Stream]*metadatav1.Filter, error) {
	filters := make(map[metadatav1.Stream]*metadatav1.Filter)
	switch {
	case f.table != "" && f.namespace != "":
		return nil, usage("--table %s and --namespace %s exclude each other; a table is [NAMESPACE.]NAME", f.table, f.namespace)
	case f.table != "":
		table := tableRef(f.table)
		filters[metadatav1.Stream_STREAM_SCHEMA] = &metadatav1.Filter{
			Kinds:      []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_TABLE},
			Namespaces: []string{cmp.Or(table.GetNamespace(), schema.Public)}, Tables: []string{table.GetName()},
		}
	case f.namespace != "":
		filters[metadatav1.Stream_STREAM_SCHEMA] = &metadatav1.Filter{Namespaces: []string{f.namespace}}
	}
	if f.node != "" || f.shard != 0 {
		filter := new(metadatav1.Filter)
		if f.node != "" {
			filter.Nodes = []string{f.node}
		}
		if f.shard != 0 {
			filter.Kinds = []metadatav1.ObjectKind{metadatav1.ObjectKind_OBJECT_KIND_SHARD}
			filter.Shards = []uint64{f.shard}
		}
		filters[metadatav1.Stream_STREAM_TOPOLOGY] = filter
	}
	return filters, nil
}

func parseTimeFlag(flag, text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	t, err := moment.Time(text, now)
	if err != nil {
		return nil, usage("--%s %v", flag, err)
	}
	return timestamppb.New(t), nil
}

// sequences yield what the query lists, each newest first.
func (q query) sequences(ctx context.Context, p past.Past) (all []iter.Seq2[entry, error]) {
	for _, selection := range q.selections {
		all = append(all, entries(p.Changes(ctx, selection, true), func(c *metadatav1.Change) entry {
			return entry{stream: selection.GetStream(), change: c}
		}))
	}
	for _, ref := range q.objects {
		all = append(all, q.within(entries(kept(p.ObjectLog(ctx, ref, 0, 0)), func(c *metadatav1.ObjectChange) entry {
			return entry{stream: objects.StreamOf(ref), object: c}
		})))
	}
	return all
}

// kept yields what a sequence yields, and nothing of an object all of whose changes were trimmed: where
// the list ends is said anyway.
func kept(changes iter.Seq2[*metadatav1.ObjectChange, error]) iter.Seq2[*metadatav1.ObjectChange, error] {
	const trimmed = metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED
	return func(yield func(*metadatav1.ObjectChange, error) bool) {
		for c, err := range changes {
			if failure.Is(err, trimmed) || client.Reason(err) == trimmed {
				return
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// entries turns what a sequence yields into entries.
func entries[V any](all iter.Seq2[V, error], make func(V) entry) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for v, err := range all {
			if err != nil {
				yield(entry{}, err)
				return
			}
			if !yield(make(v), nil) {
				return
			}
		}
	}
}

// within leaves out what does not match the query's times and actor. Times never run
// backwards in a stream, so that it can stop at the first that is too old.
func (q query) within(all iter.Seq2[entry, error]) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for e, err := range all {
			if err != nil {
				yield(entry{}, err)
				return
			}
			info := e.info()
			at := info.GetTime().AsTime()
			if q.since != nil && at.Before(q.since.AsTime()) {
				return
			}
			if q.until != nil && !at.Before(q.until.AsTime()) || q.actor != "" && info.GetActor() != q.actor {
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}
