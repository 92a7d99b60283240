package commands_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// TestStories runs the scenarios in testdata. Each directive is a command; its
// output is the events that it caused, or why it was rejected. Beside the
// commands there are:
//
//	batch / apply      gather the commands between them and carry them out as one
//	message type=T     a request in prototext, for what the short forms cannot say
//	clock 10s          set the leader's clock, from the beginning
//	newest S T         set the schema and topology revisions that the leader has
//	show               print all models
//
// All commands take request=ID, known=REVISION and dry-run.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{world: newWorld()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := s.run(t, d)
			s.check(t)
			return out
		})
	})
}

type story struct {
	*world
	batch  *metadatav1.ApplyBatchRequest // being gathered
	newest *metadatav1.Position
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "clock":
		offset, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		s.now = start.Add(offset)
		return ""
	case "newest":
		s.newest = &metadatav1.Position{SchemaRevision: number(t, d, d.CmdArgs[0].Key), TopologyRevision: number(t, d, d.CmdArgs[1].Key)}
		return ""
	case "show":
		return s.describe()
	case "batch":
		s.batch = new(metadatav1.ApplyBatchRequest)
		return ""
	case "apply":
		batch := s.batch
		s.batch = nil
		return s.decide(t, d, batch)
	}
	cmd := parseCommand(t, d)
	if s.batch == nil {
		return s.decide(t, d, cmd)
	}
	s.batch.Commands = append(s.batch.Commands, wrap(cmd))
	return ""
}

// wrap puts a command into an element of a batch.
func wrap(cmd proto.Message) *metadatav1.Command {
	c := new(metadatav1.Command)
	if cmd == nil {
		return c
	}
	fields := c.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message().FullName() == cmd.ProtoReflect().Descriptor().FullName() {
			c.ProtoReflect().Set(f, protoreflect.ValueOfMessage(cmd.ProtoReflect()))
		}
	}
	return c
}

func (s *story) decide(t *testing.T, d *datadriven.TestData, cmd proto.Message) string {
	env := commands.Env{Now: s.now, Actor: "tester", Newest: s.newest}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "request":
			env.RequestID = a.Vals[0]
		case "known":
			env.KnownRevision = number(t, d, a.Vals[0])
		case "dry-run":
			setDryRun(cmd)
		}
	}
	decision, err := s.try(t, env, cmd)
	if err != nil {
		return describeError(err)
	}
	s.fold(decision.Change)
	return describeDecision(decision)
}

// setDryRun asks for a dry run in a command's write options.
func setDryRun(cmd proto.Message) {
	m := cmd.ProtoReflect()
	options := m.Mutable(m.Descriptor().Fields().ByName("write")).Message()
	options.Set(options.Descriptor().Fields().ByName("dry_run"), protoreflect.ValueOfBool(true))
}

func describeError(err error) string {
	e := failure.As(err)
	if e == nil {
		return "NOT A FAILURE: " + err.Error()
	}
	return strings.TrimPrefix(e.Reason.String(), "ERROR_REASON_") + ": " + e.Message
}

func describeDecision(d commands.Decision) string {
	var b strings.Builder
	result := resultOf(d.Reply)
	switch {
	case d.Deduplicated:
		fmt.Fprintf(&b, "answered before, at %s\n", describePosition(result.Position))
	case d.Change != nil:
		fmt.Fprintf(&b, "change %d\n", d.Change.Revision())
		for _, e := range d.Change.Events() {
			fmt.Fprintf(&b, "  %s\n", describeEvent(e.Message()))
		}
	case result.Changed:
		b.WriteString("would change\n")
		for _, e := range result.Events {
			fmt.Fprintf(&b, "  %s\n", describeEvent(e))
		}
	default:
		b.WriteString("nothing changes\n")
	}
	b.WriteString(describeReply(d.Reply))
	return b.String()
}

// resultOf returns the part that all answers have.
func resultOf(reply proto.Message) *metadatav1.WriteResult {
	if r, ok := reply.(interface {
		GetResult() *metadatav1.WriteResult
	}); ok {
		return r.GetResult()
	}
	return reply.(*metadatav1.WriteResult)
}

func describePosition(p *metadatav1.Position) string {
	switch {
	case p.GetSchemaRevision() > 0:
		return fmt.Sprintf("schema %d", p.GetSchemaRevision())
	case p.GetTopologyRevision() > 0:
		return fmt.Sprintf("topology %d", p.GetTopologyRevision())
	}
	return "a position without revisions"
}

// describeReply prints what an answer says beside the objects of its events.
func describeReply(m proto.Message) string {
	var b strings.Builder
	switch r := m.(type) {
	case *metadatav1.UpdateShardMapResponse:
		for _, s := range r.Shards {
			fmt.Fprintf(&b, "left: %d %s\n", s.ShardId, keys(s.KeyRange))
		}
		if len(r.RemovedShardIds) > 0 {
			fmt.Fprintf(&b, "removed: %v\n", r.RemovedShardIds)
		}
		for _, h := range r.Holes {
			fmt.Fprintf(&b, "hole: %s\n", keys(h))
		}
	case *metadatav1.DrainNodeResponse:
		fmt.Fprintf(&b, "node %s, still on shards %v\n", r.Node.NodeId, r.ShardIds)
	case interface{ GetConsumer() *metadatav1.Consumer }:
		return describeConsumer(r.GetConsumer()) + "\n"
	case *metadatav1.RegisterNodeResponse:
		fmt.Fprintf(&b, "node %s has epoch %d\n", r.Node.NodeId, r.Node.Epoch)
	case *metadatav1.ApplyBatchResponse:
		for i, result := range r.Results {
			fmt.Fprintf(&b, "command %d:", i)
			for _, o := range result.Objects {
				fmt.Fprintf(&b, " %s", strings.TrimPrefix(o.Kind.String(), "OBJECT_KIND_"))
				if o.Id != 0 {
					fmt.Fprintf(&b, " %d", o.Id)
				}
				if o.Name != "" {
					fmt.Fprintf(&b, " %s", o.Name)
				}
				fmt.Fprintf(&b, " v%d", o.Version)
				if o.Removed {
					b.WriteString(" removed")
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func describeEvent(e *metadatav1.Event) string {
	kind := e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().ByName("kind"))
	name := string(kind.Message().Name())
	if e.Command > 0 {
		name = fmt.Sprintf("[%d] %s", e.Command, name)
	}
	switch k := e.Kind.(type) {
	case *metadatav1.Event_NamespaceCreated:
		return fmt.Sprintf("%s %s (id %d)", name, k.NamespaceCreated.Namespace.Name, k.NamespaceCreated.Namespace.NamespaceId)
	case *metadatav1.Event_NamespaceDropped:
		return fmt.Sprintf("%s %s", name, k.NamespaceDropped.Namespace.Name)
	case *metadatav1.Event_TableCreated:
		return name + " " + describeTable(k.TableCreated.Table)
	case *metadatav1.Event_TableAltered:
		was := ""
		if k.TableAltered.PreviousName != k.TableAltered.Table.Name || k.TableAltered.PreviousNamespace != k.TableAltered.Table.Namespace {
			was = fmt.Sprintf(" (was %s.%s)", k.TableAltered.PreviousNamespace, k.TableAltered.PreviousName)
		}
		return name + was + " " + describeTable(k.TableAltered.Table)
	case *metadatav1.Event_TableDropped:
		return fmt.Sprintf("%s %s.%s", name, k.TableDropped.Table.Namespace, k.TableDropped.Table.Name)
	case *metadatav1.Event_ShardSplit:
		return fmt.Sprintf("%s %s", name, describeShards(append([]*metadatav1.ShardInfo{k.ShardSplit.Parent}, k.ShardSplit.Children...)...))
	case *metadatav1.Event_ShardsMerged:
		return fmt.Sprintf("%s %s", name, describeShards(append(k.ShardsMerged.Parents[:len(k.ShardsMerged.Parents):len(k.ShardsMerged.Parents)], k.ShardsMerged.Shard)...))
	case *metadatav1.Event_ShardCreated:
		return name + " " + describeShards(k.ShardCreated.Shard)
	case *metadatav1.Event_ShardChanged:
		return name + " " + describeShards(k.ShardChanged.Shard)
	case *metadatav1.Event_ShardMoved:
		return name + " " + describeShards(k.ShardMoved.Shard)
	case *metadatav1.Event_ShardDeleted:
		return name + " " + describeShards(k.ShardDeleted.Shard)
	}
	if n := events.NodeOf(e); n != nil {
		return name + " " + describeNode(n)
	}
	return name + " " + describeOfService(e)
}

func describeTable(t *metadatav1.TableSchema) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.%s (id %d, version %d)", t.Namespace, t.Name, t.TableId, t.Version)
	for _, c := range t.Columns {
		fmt.Fprintf(&b, "\n    %d %s %s", c.ColumnId, c.Name, sqltype.Format(c.DataType))
		if !c.Nullable {
			b.WriteString(" NOT NULL")
		}
		if c.Default != nil {
			fmt.Fprintf(&b, " DEFAULT %s", *c.Default)
		}
		if c.ToastStrategy != 0 {
			fmt.Fprintf(&b, " %s", strings.TrimPrefix(c.ToastStrategy.String(), "TOAST_STRATEGY_"))
		}
		if c.Comment != "" {
			fmt.Fprintf(&b, " -- %s", c.Comment)
		}
	}
	if len(t.PrimaryKey) > 0 {
		fmt.Fprintf(&b, "\n    primary key %v", t.PrimaryKey)
	}
	if len(t.RetiredColumnIds) > 0 {
		fmt.Fprintf(&b, "\n    retired %v", t.RetiredColumnIds)
	}
	if len(t.Properties) > 0 {
		fmt.Fprintf(&b, "\n    properties %v", t.Properties)
	}
	if t.Comment != "" {
		fmt.Fprintf(&b, "\n    comment %s", t.Comment)
	}
	return b.String()
}

func describeNode(n *metadatav1.NodeInfo) string {
	text := fmt.Sprintf("%s %s %s %s epoch %d since %s", n.NodeId, n.Addr,
		strings.TrimPrefix(n.NodeType.String(), "NODE_TYPE_"), strings.TrimPrefix(n.Status.String(), "NODE_STATUS_"),
		n.Epoch, n.StatusTime.AsTime().Sub(start))
	if n.Incarnation != "" {
		text += " incarnation " + n.Incarnation
	}
	if n.Draining {
		text += " draining"
	}
	return text
}

func describeShards(shards ...*metadatav1.ShardInfo) string {
	var parts []string
	for _, s := range shards {
		nodes := s.PrimaryNode
		for _, n := range []string{s.MirrorNode, s.WitnessNode} {
			if n != "" {
				nodes += "," + n
			}
		}
		parts = append(parts, fmt.Sprintf("%d %s on %s epoch %d version %d", s.ShardId, keys(s.KeyRange), nodes, s.Epoch, s.Version))
	}
	return strings.Join(parts, "; ")
}

func keys(r *metadatav1.KeyRange) string {
	return fmt.Sprintf("[%s, %s)", r.GetStart(), r.GetEnd())
}

func (s *story) describe() string {
	var b strings.Builder
	for n := range s.schema.Model.Namespaces("") {
		fmt.Fprintf(&b, "namespace %s (id %d), %d tables\n", n.Name(), n.ID(), s.schema.Model.TablesIn(n.Name()))
	}
	for t := range s.schema.Model.TablesByName("", "") {
		fmt.Fprintf(&b, "table %s\n", describeTable(t.Message()))
	}
	for n := range s.topology.Model.Nodes("") {
		fmt.Fprintf(&b, "node %s\n", describeNode(n.Message()))
	}
	for shard := range s.topology.Model.Shards(nil) {
		fmt.Fprintf(&b, "shard %s\n", describeShards(shard.Message()))
	}
	return b.String() + describeService(s.service.Model)
}

// parseMessage reads a request of any type from prototext.
func parseMessage(t *testing.T, d *datadriven.TestData) proto.Message {
	name := protoreflect.FullName("heliosdb.metadata.v1." + arg(d, "type"))
	typ, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	m := typ.New().Interface()
	if err := prototext.Unmarshal([]byte(d.Input), m); err != nil {
		d.Fatalf(t, "%v", err)
	}
	return m
}

// arg returns an argument's value; "" if it is absent.
func arg(d *datadriven.TestData, key string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return strings.Join(a.Vals, ",")
		}
	}
	return ""
}

func number(t *testing.T, d *datadriven.TestData, text string) uint64 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return n
}

// version returns an expected version; nil if the text is empty.
func version(t *testing.T, d *datadriven.TestData, text string) *uint64 {
	if text == "" {
		return nil
	}
	return new(number(t, d, text))
}
