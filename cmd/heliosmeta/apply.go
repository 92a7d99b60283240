package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"connectrpc.com/connect"
	"github.com/samber/lo"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/document"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/plan"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// readers is how many tables are read at once.
const readers = 8

func (s *session) applyCommand() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use: "apply -f FILE...", Short: "Make what is there as documents describe it",
		Long: `Make what is there as documents describe it.

Documents are YAML or JSON, each a Namespace, Table, Node or Shard (see examples/).
What is missing is created, what differs is altered where that is possible, and what
is not is said on a line that begins with "!". A document is the whole of its object:
columns that it does not have are dropped. Objects without a document are left alone.

The commands of each stream (schema, topology) take effect together or not at all.
The exit code is 1 if something could not be done.`,
		Example: `  heliosmeta apply -f examples/tpch.yaml
  heliosmeta apply --dry-run examples/*.yaml
  generate-schema | heliosmeta apply -f -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			files = append(files, args...)
			if len(files) == 0 {
				return usage("nothing to apply; give -f FILE, or -f - for stdin")
			}
			return s.apply(cmd.Context(), files)
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file of documents, - for stdin; may be given several times")
	c.Flags().BoolVar(&s.writing.dryRun, "dry-run", false, "show the difference, change nothing")
	return c
}

// readDocuments reads files of documents.
func (s *session) readDocuments(files []string) (*document.Set, error) {
	set := new(document.Set)
	for _, name := range files {
		text, err := s.readFile(name)
		if err != nil {
			return nil, err
		}
		if name == "-" {
			name = "stdin"
		}
		if err := set.Decode(name, text); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// readFile reads a little more than is allowed at most, so that what is too large
// is refused without being read whole.
func (s *session) readFile(name string) ([]byte, error) {
	from := s.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	return io.ReadAll(io.LimitReader(from, document.MaxFileBytes+1))
}

func (s *session) apply(ctx context.Context, files []string) error {
	set, err := s.readDocuments(files)
	if err != nil {
		return err
	}
	if set.Empty() {
		return usage("there are no documents in %s", files)
	}
	p, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*plan.Plan, error) {
		have, err := readState(ctx, c, set)
		if err != nil {
			return nil, err
		}
		return plan.Make(set, have)
	})
	if err != nil {
		return err
	}
	if s.format == output.Table {
		// Before the batches: whoever sees one fail wants to know what was in it.
		if err := s.printer().Rows(func(r *output.Rows) {
			for _, line := range p.Lines {
				r.Text("%s", line)
			}
		}); err != nil {
			return err
		}
	}
	done, err := call(ctx, s, func(ctx context.Context, c *client.Client) (*applied, error) { return s.carryOut(ctx, c, p) })
	if err != nil {
		return err
	}
	return s.reportApply(p, done)
}

// applied is what `apply -o json` prints.
type applied struct {
	Lines     []plan.Line     `json:"lines"`
	Unchanged int             `json:"unchanged"`
	DryRun    bool            `json:"dry_run,omitempty"`
	Position  *positionOutput `json:"position,omitempty"`
}

// positionOutput prints a position as its JSON form says.
type positionOutput struct{ *metadatav1.Position }

// MarshalJSON implements json.Marshaler.
func (p positionOutput) MarshalJSON() ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(p.Position)
}

// carryOut sends one batch for each stream. A dry run sends them too: the service
// has the last word on what is allowed.
func (s *session) carryOut(ctx context.Context, c *client.Client, p *plan.Plan) (*applied, error) {
	done := &applied{Lines: p.Lines, Unchanged: p.Unchanged, DryRun: s.writing.dryRun}
	for _, batch := range []struct {
		stream   string
		commands []*metadatav1.Command
	}{{"schema", p.Schema}, {"topology", p.Topology}} {
		if len(batch.commands) == 0 {
			continue
		}
		res, err := c.ApplyBatch(ctx, &metadatav1.ApplyBatchRequest{
			Commands: batch.commands, Write: &metadatav1.WriteOptions{DryRun: s.writing.dryRun},
		})
		if err != nil {
			if done.Position != nil {
				s.say("the schema batch has taken effect (position %s); nothing of the topology has", showPosition(done.Position.Position))
			}
			return nil, &batchError{batch.stream, blamed(batch.commands, err), err}
		}
		done.Position = &positionOutput{res.GetResult().GetPosition()}
	}
	return done, nil
}

// reportApply says how it went.
func (s *session) reportApply(p *plan.Plan, done *applied) error {
	if s.format != output.Table {
		if err := s.printer().Value(done, nil); err != nil {
			return err
		}
	}
	commands := len(p.Schema) + len(p.Topology)
	switch {
	case commands == 0:
		s.say("nothing to change; objects that are as described: %d", p.Unchanged)
	case s.writing.dryRun:
		s.say("dry run: nothing was changed; the service would accept it")
	default:
		s.say("applied; position %s", showPosition(done.Position.Position))
	}
	if n := p.Impossible(); n > 0 {
		return fmt.Errorf("apply cannot remove all differences (%d are left); the lines with ! say why", n)
	}
	return nil
}

// readState reads what the documents are about.
func readState(ctx context.Context, c *client.Client, set *document.Set) (plan.State, error) {
	var have plan.State
	if len(set.Namespaces) > 0 {
		res, err := listNamespaces(ctx, c, nil)
		if err != nil {
			return have, err
		}
		have.Namespaces = lo.KeyBy(res.GetNamespaces(), (*metadatav1.Namespace).GetName)
	}
	if len(set.Nodes) > 0 {
		res, err := listNodes(ctx, c, new(metadatav1.ListNodesRequest))
		if err != nil {
			return have, err
		}
		have.Nodes = lo.KeyBy(res.GetNodes(), (*metadatav1.NodeInfo).GetNodeId)
	}
	if len(set.Shards) > 0 {
		res, err := listShards(ctx, c, new(metadatav1.ListShardsRequest))
		if err != nil {
			return have, err
		}
		have.Shards = res.GetShards()
	}
	tables, err := readTables(ctx, c, set.Tables)
	have.Tables = tables
	return have, err
}

// readTables reads the tables that documents name and that are there.
func readTables(ctx context.Context, c *client.Client, want []*metadatav1.TableSchema) (map[string]*metadatav1.TableSchema, error) {
	found := make([]*metadatav1.TableSchema, len(want))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, t := range want {
		group.Go(func() error {
			res, err := c.GetTable(ctx, &metadatav1.GetTableRequest{
				Table: &metadatav1.TableRef{Namespace: t.GetNamespace(), Name: t.GetName()},
			})
			if connect.CodeOf(err) == connect.CodeNotFound {
				return nil
			}
			found[i] = res.GetTable()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return lo.KeyBy(lo.Compact(found), tableName), nil
}
