package commands_test

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/keytext"
	"github.com/heliosdb/metadata/internal/sqltype"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// parseCommand reads the short form of a command.
func parseCommand(t *testing.T, d *datadriven.TestData) proto.Message {
	get := func(key string) string { return arg(d, key) }
	num := func(key string) uint64 { return number(t, d, get(key)) }
	switch d.Cmd {
	case "message":
		return parseMessage(t, d)
	case "create-namespace":
		return &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: get("name"), Comment: get("comment")}}
	case "drop-namespace":
		return &metadatav1.DropNamespaceRequest{Name: get("name"), ExpectedVersion: version(t, d, get("version"))}
	case "create-table":
		return &metadatav1.CreateTableRequest{Table: parseTable(t, d)}
	case "alter-table":
		c := &metadatav1.AlterTableRequest{Table: parseRef(t, d), ExpectedVersion: version(t, d, get("version"))}
		for line := range strings.Lines(d.Input) {
			c.Alterations = append(c.Alterations, parseAlteration(t, d, strings.TrimSpace(line)))
		}
		return c
	case "drop-table":
		return &metadatav1.DropTableRequest{Table: parseRef(t, d), ExpectedVersion: version(t, d, get("version"))}
	case "register":
		n := &metadatav1.NodeInfo{NodeId: get("id"), Addr: get("addr"), Incarnation: get("incarnation"),
			NodeType: metadatav1.NodeType(metadatav1.NodeType_value["NODE_TYPE_"+get("type")])}
		if zone := get("zone"); zone != "" {
			n.Labels = map[string]string{"zone": zone}
		}
		return &metadatav1.RegisterNodeRequest{Node: n}
	case "unregister":
		return &metadatav1.UnregisterNodeRequest{NodeId: get("id"), ExpectedEpoch: num("epoch")}
	case "drain":
		return &metadatav1.DrainNodeRequest{NodeId: get("id"), ExpectedEpoch: num("epoch"), Cancel: d.HasArg("cancel")}
	case "expire":
		return &metadatav1.ExpireNodeLease{NodeId: get("id"), Epoch: num("epoch")}
	case "revive":
		return &metadatav1.ReviveNode{NodeId: get("id"), Epoch: num("epoch")}
	case "create-consumer", "open", "acknowledge", "delete-consumer", "sign", "trim":
		return parseServiceCommand(t, d)
	case "shards":
		c := new(metadatav1.UpdateShardMapRequest)
		for line := range strings.Lines(d.Input) {
			c.Changes = append(c.Changes, parseShardStep(t, d, strings.TrimSpace(line)))
		}
		return c
	}
	d.Fatalf(t, "there is no directive %q", d.Cmd)
	return nil
}

func parseRef(t *testing.T, d *datadriven.TestData) *metadatav1.TableRef {
	return &metadatav1.TableRef{TableId: number(t, d, arg(d, "id")), Namespace: arg(d, "namespace"), Name: arg(d, "name")}
}

// parseTable reads a table whose columns are the lines of the input.
func parseTable(t *testing.T, d *datadriven.TestData) *metadatav1.TableSchema {
	table := &metadatav1.TableSchema{
		TableId:   number(t, d, arg(d, "id")),
		Namespace: arg(d, "namespace"),
		Name:      arg(d, "name"),
		Comment:   arg(d, "comment"),
	}
	if key := arg(d, "key"); key != "" {
		table.PrimaryKey = strings.Split(key, ",")
	}
	for line := range strings.Lines(d.Input) {
		table.Columns = append(table.Columns, parseColumn(t, d, strings.TrimSpace(line)))
	}
	return table
}

// parseColumn reads "name TYPE [NOT NULL] [id=N] [default=TEXT] [toast=S]".
func parseColumn(t *testing.T, d *datadriven.TestData, line string) *metadatav1.ColumnSchema {
	name, rest, _ := strings.Cut(line, " ")
	c := &metadatav1.ColumnSchema{Name: strings.Trim(name, `"`), Nullable: true}
	rest, options := cutOptions(rest)
	for key, value := range options {
		switch key {
		case "id":
			c.ColumnId = uint32(number(t, d, value))
		case "default":
			c.Default = new(value)
		case "toast":
			c.ToastStrategy = parseToast(value)
		default:
			d.Fatalf(t, "a column takes no %q", key)
		}
	}
	if cut, ok := strings.CutSuffix(rest, " NOT NULL"); ok {
		rest, c.Nullable = cut, false
	}
	c.DataType = parseType(t, d, rest)
	return c
}

// parseType reads a type. What no text can say has names of its own here.
func parseType(t *testing.T, d *datadriven.TestData, text string) *metadatav1.DataType {
	switch text {
	case "DECIMAL(0, 5)":
		return &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_DECIMAL, Scale: 5}
	case "DECIMAL(5, 6)":
		return &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_DECIMAL, Precision: 5, Scale: 6}
	case "VECTOR(0)":
		return &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_VECTOR}
	case "MONEY":
		return &metadatav1.DataType{Kind: 99}
	case "":
		return nil
	}
	typ, err := sqltype.Parse(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return typ
}

func parseToast(name string) metadatav1.ToastStrategy {
	return metadatav1.ToastStrategy(metadatav1.ToastStrategy_value["TOAST_STRATEGY_"+name])
}

// cutOptions takes the words with "=" in them off the text.
func cutOptions(text string) (rest string, options map[string]string) {
	options = make(map[string]string)
	var words []string
	for word := range strings.FieldsSeq(text) {
		if key, value, ok := strings.Cut(word, "="); ok {
			options[key] = value
		} else {
			words = append(words, word)
		}
	}
	return strings.Join(words, " "), options
}

// parseAlteration reads one step of an alter-table.
func parseAlteration(t *testing.T, d *datadriven.TestData, line string) *metadatav1.TableAlteration {
	verb, rest, _ := strings.Cut(line, " ")
	first, second, _ := strings.Cut(rest, " ")
	switch verb {
	case "add":
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{Column: parseColumn(t, d, rest)}}}
	case "drop":
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_DropColumn{DropColumn: &metadatav1.DropColumn{Name: rest}}}
	case "rename":
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameColumn{RenameColumn: &metadatav1.RenameColumn{Name: first, NewName: second}}}
	case "change":
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_ChangeColumn{ChangeColumn: parseChange(t, d, first, second)}}
	case "rename-table":
		namespace, name, _ := strings.Cut(rest, ".")
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameTable{RenameTable: &metadatav1.RenameTable{NewNamespace: namespace, NewName: name}}}
	case "set":
		key, value, _ := strings.Cut(rest, "=")
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetProperties{SetProperties: &metadatav1.SetProperties{Set: map[string]string{key: value}}}}
	case "unset":
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetProperties{SetProperties: &metadatav1.SetProperties{Remove: []string{rest}}}}
	case "comment":
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetComment{SetComment: &metadatav1.SetComment{Comment: rest}}}
	case "nothing":
		return &metadatav1.TableAlteration{}
	}
	d.Fatalf(t, "there is no step %q", verb)
	return nil
}

// parseChange reads "[TYPE] [nullable=B] [default=TEXT] [drop-default=] [toast=S]".
func parseChange(t *testing.T, d *datadriven.TestData, name, text string) *metadatav1.ChangeColumn {
	rest, options := cutOptions(text)
	c := &metadatav1.ChangeColumn{Name: name, DataType: parseType(t, d, rest)}
	for key, value := range options {
		switch key {
		case "nullable":
			c.Nullable = new(value == "true")
		case "default":
			c.Default = new(value)
		case "drop-default":
			c.DropDefault = true
		case "toast":
			c.ToastStrategy = new(parseToast(value))
		default:
			d.Fatalf(t, "a change takes no %q", key)
		}
	}
	return c
}

// parseShardStep reads one of
//
//	put [ID] [START,END) PRIMARY [MIRROR [WITNESS]]
//	delete ID
//	split ID at KEY... [into ID...]
//	merge ID... [into ID]
//	move ID to PRIMARY [MIRROR [WITNESS]]
//
// each with version=N; for merge version=N,N,...
func parseShardStep(t *testing.T, d *datadriven.TestData, line string) *metadatav1.ShardMapChange {
	verb, rest, _ := strings.Cut(line, " ")
	rest, options := cutOptions(rest)
	words := append(strings.Fields(rest), "", "", "", "", "")
	expected := options["version"]
	num := func(text string) uint64 { return number(t, d, text) }
	switch verb {
	case "put":
		s := new(metadatav1.ShardInfo)
		if !strings.HasPrefix(words[0], "[") {
			s.ShardId, words = num(words[0]), words[1:]
		}
		from, to, _ := strings.Cut(strings.Trim(words[0], "[)"), ",")
		s.KeyRange = &metadatav1.KeyRange{Start: storyKey(t, d, from), End: storyKey(t, d, to)}
		s.PrimaryNode, s.MirrorNode, s.WitnessNode = node(words[1]), node(words[2]), node(words[3])
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: s, ExpectedVersion: version(t, d, expected)}}}
	case "delete":
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{ShardId: num(words[0]), ExpectedVersion: version(t, d, expected)}}}
	case "split":
		at, into, _ := strings.Cut(rest, " into ")
		s := &metadatav1.SplitShard{ShardId: num(words[0]), ExpectedVersion: version(t, d, expected)}
		for _, key := range strings.Fields(at)[2:] {
			s.SplitKeys = append(s.SplitKeys, []byte(key))
		}
		for id := range strings.FieldsSeq(into) {
			s.ChildIds = append(s.ChildIds, num(id))
		}
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: s}}
	case "merge":
		parents, into, _ := strings.Cut(rest, " into ")
		s := &metadatav1.MergeShards{ChildId: num(into)}
		for id := range strings.FieldsSeq(parents) {
			s.ShardIds = append(s.ShardIds, num(id))
		}
		for v := range strings.FieldsFuncSeq(expected, func(r rune) bool { return r == ',' }) {
			s.ExpectedVersions = append(s.ExpectedVersions, num(v))
		}
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Merge{Merge: s}}
	case "move":
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{ShardId: num(words[0]),
			PrimaryNode: node(words[2]), MirrorNode: node(words[3]), WitnessNode: node(words[4]), ExpectedVersion: version(t, d, expected)}}}
	case "nothing":
		return &metadatav1.ShardMapChange{}
	}
	d.Fatalf(t, "there is no step %q", verb)
	return nil
}

// storyKey reads a key: text, or hexadecimal digits behind 0x.
func storyKey(t *testing.T, d *datadriven.TestData, text string) []byte {
	bytes, err := keytext.Parse(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return bytes
}

// node reads a node's id; "-" is none.
func node(word string) string { return strings.TrimPrefix(word, "-") }
