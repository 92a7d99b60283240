// Package filterflags reads from a command line which changes somebody wants to see. It is
// pure.
package filterflags

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Flags are the flags of a filter. The streams and kinds are those that subscriptions have.
type Flags struct {
	streams, kinds            []string
	namespaces, tables, nodes []string
	shards                    []uint
}

var (
	streams = []string{"schema", "topology"}
	kinds   = []string{"namespace", "table", "node", "shard"}
)

// AddTo adds the flags to a command.
func (f *Flags) AddTo(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.streams, "stream", nil, "only these streams: schema, topology")
	flags.StringSliceVar(&f.kinds, "kind", nil, "only these kinds: namespace, table, node, shard")
	flags.StringSliceVarP(&f.namespaces, "namespace", "n", nil, "only these namespaces and their tables")
	flags.StringSliceVar(&f.tables, "table", nil, "only these tables, without namespace")
	flags.StringSliceVar(&f.nodes, "node", nil, "only these nodes and the shards on them")
	flags.UintSliceVar(&f.shards, "shard", nil, "only these shards, by id")
	_ = c.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions(streams, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
}

// Filter is what the flags say. Without any it selects everything.
func (f *Flags) Filter() (*metadatav1.Filter, error) {
	filter := &metadatav1.Filter{Namespaces: f.namespaces, Tables: f.tables, Nodes: f.nodes}
	for _, name := range f.streams {
		if !slices.Contains(streams, strings.ToLower(name)) {
			return nil, fmt.Errorf("there is no stream %q; there are schema and topology", name)
		}
		filter.Streams = append(filter.Streams, metadatav1.Stream(metadatav1.Stream_value["STREAM_"+strings.ToUpper(name)]))
	}
	for _, name := range f.kinds {
		if !slices.Contains(kinds, strings.ToLower(name)) {
			return nil, fmt.Errorf("there is no kind %q; there are namespace, table, node and shard", name)
		}
		filter.Kinds = append(filter.Kinds, metadatav1.ObjectKind(metadatav1.ObjectKind_value["OBJECT_KIND_"+strings.ToUpper(name)]))
	}
	for _, id := range f.shards {
		filter.Shards = append(filter.Shards, uint64(id))
	}
	return filter, nil
}
