package commands_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const (
	invalidField = metadatav1.ErrorReason_ERROR_REASON_INVALID_FIELD
	limitReached = metadatav1.ErrorReason_ERROR_REASON_LIMIT_REACHED
)

// wide returns a table with n columns whose comments have so many bytes each.
func wide(name string, n, comment int) *metadatav1.TableSchema {
	t := &metadatav1.TableSchema{Name: name}
	for i := range n {
		t.Columns = append(t.Columns, &metadatav1.ColumnSchema{
			Name:     fmt.Sprintf("c%d", i),
			DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64},
			Comment:  strings.Repeat("x", comment),
		})
	}
	return t
}

func addColumns(from, n int) *metadatav1.AlterTableRequest {
	c := &metadatav1.AlterTableRequest{Table: &metadatav1.TableRef{Name: "wide"}}
	for i := range n {
		c.Alterations = append(c.Alterations, &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{
			AddColumn: &metadatav1.AddColumn{Column: &metadatav1.ColumnSchema{
				Name:     fmt.Sprintf("c%d", from+i),
				DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64},
			}},
		}})
	}
	return c
}

// manyTables returns a batch of n large tables.
func manyTables(n int) *metadatav1.ApplyBatchRequest {
	b := new(metadatav1.ApplyBatchRequest)
	for i := range n {
		b.Commands = append(b.Commands, wrap(&metadatav1.CreateTableRequest{Table: wide(fmt.Sprintf("t%d", i), 100, 4000)}))
	}
	return b
}

func pairs(n, key, value int) map[string]string {
	m := make(map[string]string)
	for i := range n {
		m[fmt.Sprintf("%0*d", key, i)] = strings.Repeat("v", value)
	}
	return m
}

func TestLimits(t *testing.T) {
	w := newWorld()
	set := func(cmd proto.Message) {
		t.Helper()
		d, err := w.try(t, commands.Env{Now: start}, cmd)
		if err != nil {
			t.Fatal(err)
		}
		w.fold(d.Change)
	}
	set(&metadatav1.CreateTableRequest{Table: wide("wide", commands.MaxColumns-1, 0)})
	set(registerStorage("n"))
	set(putShards(&metadatav1.KeyRange{}))

	namespace := func(n *metadatav1.Namespace) proto.Message {
		return &metadatav1.CreateNamespaceRequest{Namespace: n}
	}
	for _, c := range []struct {
		name   string
		cmd    proto.Message
		reason metadatav1.ErrorReason
		say    string
	}{
		{"5,000 columns", &metadatav1.CreateTableRequest{Table: wide("t", 5000, 0)}, invalidField, "table.columns: 5000 were given; 1 to 1600 are allowed"},
		{"1,601 columns by alteration", addColumns(5000, 2), limitReached, `table "wide" (id 1) would have 1601 columns; at most 1600`},
		{"1,601 alterations", addColumns(5000, 1601), invalidField, "alterations: 1601 were given"},
		{"table of more than 1 MiB", &metadatav1.CreateTableRequest{Table: wide("t", 300, 4000)}, limitReached, "at most 1048576 are allowed"},
		{"comment", &metadatav1.CreateTableRequest{Table: wide("t", 1, 4097)}, invalidField, "table.columns[0].comment: the text has 4097 bytes; at most 4096"},
		{"primary key", &metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Name: "t", Columns: wide("", 1, 0).Columns, PrimaryKey: make([]string, 33)}}, invalidField, "table.primary_key: 33 columns were given"},
		{"65 properties", namespace(&metadatav1.Namespace{Name: "a", Properties: pairs(65, 1, 1)}), invalidField, "namespace.properties: 65 pairs were given; at most 64"},
		{"property key", namespace(&metadatav1.Namespace{Name: "a", Properties: pairs(1, 257, 1)}), invalidField, "has 257 bytes; at most 256"},
		{"property value", namespace(&metadatav1.Namespace{Name: "a", Properties: pairs(1, 1, 4097)}), invalidField, "has 4097 bytes; at most 4096"},
		{"batch of 10,001", &metadatav1.ApplyBatchRequest{Commands: slices.Repeat([]*metadatav1.Command{wrap(namespace(nil))}, 10_001)}, invalidField, "commands: 10001 were given; at most 10000"},
		{"batch of more than 3 MiB", manyTables(10), limitReached, "commands[7].create_table: the change has"},
		{"dry run of a large batch", dry(manyTables(7)), 0, ""},
		{"dry run that is told in the answer", dry(&metadatav1.CreateTableRequest{Table: wide("t", 200, 4000)}), 0, ""},
		{"dry run of a large map", dry(putShards(manyRanges(250)...)), limitReached, "the answer would have"},
		{"10,001 steps", putShards(slices.Repeat([]*metadatav1.KeyRange{{}}, 10_001)...), invalidField, "changes: 10001 were given"},
		{"long key", putShards(&metadatav1.KeyRange{Start: make([]byte, 4097)}), invalidField, "changes[0].put.shard.key_range: a key has 4097 bytes; at most 4096"},
		{"long split key", split(make([]byte, 4097)), invalidField, "split_keys[0]: the key has 4097 bytes"},
		{"1,001 split keys", split(make([][]byte, 1001)...), invalidField, "split_keys: 1001 were given"},
		{"address", &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{NodeId: "n", Addr: strings.Repeat("a", 263)}}, invalidField, "node.addr: the address has 263 bytes"},
		{"node id", &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{NodeId: strings.Repeat("a", 129)}}, invalidField, "node.node_id: the node id has 129 bytes"},
		{"invalid UTF-8", namespace(&metadatav1.Namespace{Name: "a", Comment: "\xff"}), invalidField, "the command cannot be encoded"},
		{"not a command", &metadatav1.GetTableRequest{}, invalidField, "heliosdb.metadata.v1.GetTableRequest is not a command"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := w.try(t, commands.Env{Now: start}, c.cmd)
			if c.reason == 0 {
				if err != nil || len(resultOf(d.Reply).Events) == 0 {
					t.Fatalf("got %v, want it to work", err)
				}
				return
			}
			if !failure.Is(err, c.reason) || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("got %v\nwant %v: %s", err, c.reason, c.say)
			}
		})
	}
}

func dry(cmd proto.Message) proto.Message {
	setDryRun(cmd)
	return cmd
}

func putShards(ranges ...*metadatav1.KeyRange) *metadatav1.UpdateShardMapRequest {
	c := new(metadatav1.UpdateShardMapRequest)
	for _, r := range ranges {
		c.Changes = append(c.Changes, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{
			Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{KeyRange: r, PrimaryNode: "n"}},
		}})
	}
	if len(ranges) > 1 {
		// Room for them: the shard that holds everything goes first.
		c.Changes = append([]*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{ShardId: 1}}}}, c.Changes[:len(c.Changes)-1]...)
	}
	return c
}

// manyRanges returns n ranges with very long keys.
func manyRanges(n int) []*metadatav1.KeyRange {
	longKey := func(i int) []byte { return fmt.Appendf(nil, "%04000d", i) }
	var ranges []*metadatav1.KeyRange
	for i := range n {
		ranges = append(ranges, &metadatav1.KeyRange{Start: longKey(i), End: longKey(i + 1)})
	}
	return ranges
}

func split(keys ...[]byte) *metadatav1.UpdateShardMapRequest {
	return &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Split{
		Split: &metadatav1.SplitShard{ShardId: 1, SplitKeys: keys},
	}}}}
}

// TestHolesAreBounded makes more and longer holes than an answer can list.
func TestHolesAreBounded(t *testing.T) {
	w := newWorld()
	register := registerStorage("n")
	d, err := w.try(t, commands.Env{Now: start}, register)
	if err != nil {
		t.Fatal(err)
	}
	w.fold(d.Change)
	var ranges []*metadatav1.KeyRange
	for i, r := range manyRanges(100) {
		if i%2 == 0 {
			ranges = append(ranges, r)
		}
	}
	cmd := putShards(ranges...)
	cmd.Changes = cmd.Changes[1:] // there is nothing to delete here
	if d, err = w.try(t, commands.Env{Now: start}, cmd); err != nil {
		t.Fatal(err)
	}
	size := 0
	holes := d.Reply.(*metadatav1.UpdateShardMapResponse).Holes
	for _, h := range holes {
		size += proto.Size(h)
	}
	if len(holes) == 0 || size > commands.MaxListedHoleBytes || size < commands.MaxListedHoleBytes/2 {
		t.Errorf("%d holes of %d bytes are listed", len(holes), size)
	}
}

func TestEnvIsChecked(t *testing.T) {
	w := newWorld()
	cmd := &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: "a"}}
	for _, env := range []commands.Env{
		{Actor: "\xff"},
		{Actor: strings.Repeat("a", commands.MaxActorBytes+1)},
		{RequestID: "\xff"},
		{RequestID: strings.Repeat("r", commands.MaxRequestIDBytes+1)},
	} {
		if _, err := w.try(t, env, cmd); !failure.Is(err, invalidField) {
			t.Errorf("%q, %q: got %v", env.Actor, env.RequestID, err)
		}
	}
}

// TestRequestIDOfTheCommandCounts leaves Env's empty, as an embedded caller may.
func TestRequestIDOfTheCommandCounts(t *testing.T) {
	w := newWorld()
	cmd := &metadatav1.CreateNamespaceRequest{
		Namespace: &metadatav1.Namespace{Name: "a"},
		Write:     &metadatav1.WriteOptions{RequestId: "r"},
	}
	d, err := w.try(t, commands.Env{Now: start}, cmd)
	if err != nil {
		t.Fatal(err)
	}
	w.fold(d.Change)
	// Options are not part of what the command says.
	cmd.Write.KnownRevision = 1
	if d, err = w.try(t, commands.Env{Now: start}, cmd); err != nil || !d.Deduplicated {
		t.Errorf("got %v, %v", d, err)
	}
}

// TestTimeIsTheWallClock decides with times that carry a monotonic reading, as a
// leader's clock gives them. The log holds wall time alone, and may not run
// backwards in it.
func TestTimeIsTheWallClock(t *testing.T) {
	w := newWorld()
	early := time.Now()
	later := early.Add(time.Hour) // of the same monotonic clock
	for i, now := range []time.Time{later, early, later.Add(time.Minute)} {
		cmd := &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: fmt.Sprintf("n%d", i)}}
		d, err := w.try(t, commands.Env{Now: now}, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if at := d.Change.Time(); at != at.Round(0) || at.Location() != time.UTC {
			t.Errorf("change %d is stamped %v", i, at)
		}
		w.fold(d.Change)
	}
	if want := later.Add(time.Minute); !w.schema.Head.Time.Equal(want) {
		t.Errorf("the last change is stamped %v, want %v", w.schema.Head.Time, want)
	}
}

// TestWrongStream hands a command to the other stream's decision, which only a
// bug in the caller does.
func TestWrongStream(t *testing.T) {
	w := newWorld()
	if _, err := commands.Topology(w.topology, commands.Env{}, &metadatav1.DropTableRequest{}); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_INTERNAL) {
		t.Errorf("got %v", err)
	}
	if _, err := commands.Service(w.service, commands.Env{}, &metadatav1.DropTableRequest{}); !failure.Is(err, metadatav1.ErrorReason_ERROR_REASON_INTERNAL) {
		t.Errorf("got %v", err)
	}
	if _, err := commands.Schema(w.schema, commands.Env{}, nil); !failure.Is(err, invalidField) {
		t.Errorf("got %v", err)
	}
}

// smuggled is a field that the contract does not know: 1011, varint 42.
var smuggled = []byte{0x98, 0x3f, 0x2a}

func TestUnknownFieldsStayOutOfTheLog(t *testing.T) {
	w := newWorld()
	table := wide("t", 1, 0)
	table.ProtoReflect().SetUnknown(smuggled)
	table.Columns[0].ProtoReflect().SetUnknown(smuggled)
	table.Columns[0].DataType.ProtoReflect().SetUnknown(smuggled)
	d, err := w.try(t, commands.Env{Now: start}, &metadatav1.CreateTableRequest{Table: table})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(d.Change.Raw()), string(smuggled)) {
		t.Error("fields that the contract does not know are logged")
	}
}
