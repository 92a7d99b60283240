package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

// listTables reads all pages; between runs after each page.
func listAll(t *testing.T, client metadatav1connect.MetadataServiceClient, size uint32, between func()) (names []string, pages int) {
	t.Helper()
	request := &metadatav1.ListTablesRequest{PageSize: size}
	for {
		answer := must(client.ListTables(t.Context(), request))(t)
		for _, table := range answer.GetTables() {
			names = append(names, table.GetNamespace()+"."+table.GetName())
		}
		pages++
		if answer.GetNextPageToken() == "" {
			return names, pages
		}
		request.PageToken = answer.GetNextPageToken()
		between()
	}
}

// All pages show the revision of the first, whatever is written in between.
func TestPagesShowOneRevision(t *testing.T) {
	for _, client := range []struct {
		name string
		o    connect.ClientOption
	}{{"binary", connect.WithGRPC()}, {"json", connect.WithProtoJSON()}} {
		t.Run(client.name, func(t *testing.T) {
			w := start(t, Options{})
			rpc := w.rpc(client.o)
			must(rpc.CreateNamespace(t.Context(), &metadatav1.CreateNamespaceRequest{
				Namespace: &metadatav1.Namespace{Name: "alpha"},
			}))(t)
			var want []string
			for i := range 7 {
				r := createTable(fmt.Sprintf("t%d", i))
				r.Table.Namespace = []string{"alpha", "public"}[i%2]
				want = append(want, r.Table.Namespace+"."+r.Table.Name)
				must(rpc.CreateTable(t.Context(), r))(t)
			}
			slices.Sort(want)
			n := 0
			got, pages := listAll(t, rpc, 2, func() {
				n++
				must(rpc.CreateTable(t.Context(), createTable(fmt.Sprintf("new%d", n))))(t)
				must(rpc.DropTable(t.Context(), &metadatav1.DropTableRequest{Table: &metadatav1.TableRef{
					Namespace: []string{"alpha", "public"}[(n-1)%2], Name: fmt.Sprintf("t%d", n-1),
				}}))(t)
			})
			if !slices.Equal(got, want) || pages != 4 {
				t.Fatalf("%d pages list %q, want %q", pages, got, want)
			}
		})
	}
}

func TestListsOfOneNamespace(t *testing.T) {
	w := start(t, Options{})
	rpc := w.rpc()
	for _, namespace := range []string{"a", "ab", "b"} {
		must(rpc.CreateNamespace(t.Context(), &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: namespace}}))(t)
		for i := range 3 {
			r := createTable(fmt.Sprintf("t%d", i))
			r.Table.Namespace = namespace
			must(rpc.CreateTable(t.Context(), r))(t)
		}
	}
	request := &metadatav1.ListTablesRequest{Namespace: "a", PageSize: 2}
	first := must(rpc.ListTables(t.Context(), request))(t)
	request.PageToken = first.GetNextPageToken()
	second := must(rpc.ListTables(t.Context(), request))(t)
	if len(first.GetTables()) != 2 || len(second.GetTables()) != 1 || second.GetNextPageToken() != "" {
		t.Fatalf("namespace a has pages of %d and %d", len(first.GetTables()), len(second.GetTables()))
	}
	if got := second.GetTables()[0]; got.GetNamespace() != "a" || got.GetName() != "t2" {
		t.Fatalf("the last table is %s.%s", got.GetNamespace(), got.GetName())
	}
	spaces := &metadatav1.ListNamespacesRequest{PageSize: 3}
	one := must(rpc.ListNamespaces(t.Context(), spaces))(t)
	spaces.PageToken = one.GetNextPageToken()
	two := must(rpc.ListNamespaces(t.Context(), spaces))(t)
	if len(one.GetNamespaces()) != 3 || len(two.GetNamespaces()) != 1 || two.GetNamespaces()[0].GetName() != "public" {
		t.Fatalf("the namespaces come as %v and %v", one, two)
	}
	request.Namespace = "b"
	_, err := rpc.ListTables(t.Context(), request)
	wantFields(t, wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD", "another list"), "page_token")
}

// topologyWorld has 5 nodes and shards [0,1) ... [8,9) without [4,5), all on s0,
// the even ones mirrored on s1.
func topologyWorld(t *testing.T) (*world, metadatav1connect.MetadataServiceClient) {
	w := start(t, Options{})
	rpc := w.rpc()
	for i := range 3 {
		must(rpc.RegisterNode(t.Context(), registerNode(fmt.Sprintf("s%d", i), metadatav1.NodeType_NODE_TYPE_STORAGE)))(t)
	}
	for i := range 2 {
		must(rpc.RegisterNode(t.Context(), registerNode(fmt.Sprintf("c%d", i), metadatav1.NodeType_NODE_TYPE_COMPUTE)))(t)
	}
	for i := range 9 {
		if i == 4 {
			continue
		}
		put := putShard(fmt.Sprint(i), fmt.Sprint(i+1), "s0")
		if i%2 == 0 {
			put.Changes[0].GetPut().Shard.MirrorNode = "s1"
		}
		must(rpc.UpdateShardMap(t.Context(), put))(t)
	}
	return w, rpc
}

func TestTopologyPages(t *testing.T) {
	_, rpc := topologyWorld(t)
	for _, size := range []uint32{1, 2, 3, 5, 12, 100} {
		request := &metadatav1.GetTopologyRequest{PageSize: size}
		var objects []string
		var holes int
		for {
			answer := must(rpc.GetTopology(t.Context(), request))(t)
			for _, n := range answer.GetTopology().GetNodes() {
				objects = append(objects, n.GetNodeId())
			}
			for _, s := range answer.GetTopology().GetShards() {
				objects = append(objects, string(s.GetKeyRange().GetStart()))
			}
			if n := len(answer.GetTopology().GetHoles()); n > 0 && request.GetPageToken() != "" {
				t.Fatal("a later page repeats the holes")
			} else {
				holes += n
			}
			if request.PageToken = answer.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		if got := strings.Join(objects, " "); got != "c0 c1 s0 s1 s2 0 1 2 3 5 6 7 8" || holes != 3 {
			t.Fatalf("in pages of %d: %s, %d holes", size, got, holes)
		}
	}
}

func TestShardAndNodeLists(t *testing.T) {
	_, rpc := topologyWorld(t)
	for _, c := range []struct {
		node, from, to, want string
	}{
		{"", "", "", "0 1 2 3 5 6 7 8"},
		{"", "15", "6", "1 2 3 5"},
		{"", "45", "", "5 6 7 8"},
		{"s1", "", "", "0 2 6 8"},
		{"s1", "2z", "8", "2 6"},
		{"s2", "", "", ""},
	} {
		for _, size := range []uint32{1, 3, 0} {
			request := &metadatav1.ListShardsRequest{PageSize: size, NodeId: c.node, KeyRange: &metadatav1.KeyRange{
				Start: []byte(c.from), End: []byte(c.to),
			}}
			var got []string
			for {
				answer := must(rpc.ListShards(t.Context(), request))(t)
				for _, s := range answer.GetShards() {
					got = append(got, string(s.GetKeyRange().GetStart()))
				}
				if request.PageToken = answer.GetNextPageToken(); request.PageToken == "" {
					break
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Fatalf("%+v in pages of %d: %q", c, size, got)
			}
		}
	}
	nodes := must(rpc.ListNodes(t.Context(), &metadatav1.ListNodesRequest{
		NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, PageSize: 2,
	}))(t)
	more := must(rpc.ListNodes(t.Context(), &metadatav1.ListNodesRequest{
		NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE, PageSize: 2, PageToken: nodes.GetNextPageToken(),
	}))(t)
	if len(nodes.GetNodes()) != 2 || len(more.GetNodes()) != 1 || more.GetNodes()[0].GetNodeId() != "s2" {
		t.Fatalf("storage nodes come as %v and %v", nodes, more)
	}
	node := must(rpc.GetNode(t.Context(), &metadatav1.GetNodeRequest{NodeId: "c1"}))(t)
	if node.GetNode().GetEpoch() == 0 || node.GetPosition().GetTopologyRevision() == 0 || node.GetPosition().GetSchemaRevision() != 0 {
		t.Fatalf("node c1 is %v", node)
	}
	shard := must(rpc.GetShard(t.Context(), &metadatav1.GetShardRequest{Shard: &metadatav1.GetShardRequest_Key{Key: []byte("35")}}))(t)
	if got := string(shard.GetShard().GetKeyRange().GetStart()); got != "3" {
		t.Fatalf("key 35 is in the shard from %s", got)
	}
}

func TestOldPagesExpire(t *testing.T) {
	clock := newManual()
	w := start(t, Options{Now: clock.Now, Limits: Limits{Pages: 2, PageTTL: time.Minute}})
	rpc := w.rpc()
	for i := range 3 {
		must(rpc.CreateTable(t.Context(), createTable(fmt.Sprintf("t%d", i))))(t)
	}
	firstPage := func() *metadatav1.ListTablesRequest {
		answer := must(rpc.ListTables(t.Context(), &metadatav1.ListTablesRequest{PageSize: 1}))(t)
		return &metadatav1.ListTablesRequest{PageSize: 1, PageToken: answer.GetNextPageToken()}
	}
	grow := func(name string) { must(rpc.CreateTable(t.Context(), createTable(name)))(t) }

	request := firstPage()
	clock.pass(2 * time.Minute)
	must(rpc.ListTables(t.Context(), request))(t) // the newest revision needs no pin
	grow("u0")
	must(rpc.ListTables(t.Context(), request))(t) // the page before renewed it
	clock.pass(2 * time.Minute)
	_, err := rpc.ListTables(t.Context(), request)
	wantFailure(t, err, connect.CodeAborted, "PAGE_REVISION_GONE", "revision 3")

	crowded := firstPage()
	for i := range 2 {
		grow(fmt.Sprintf("v%d", i))
		firstPage()
	}
	grow("v9")
	_, err = rpc.ListTables(t.Context(), crowded)
	wantFailure(t, err, connect.CodeAborted, "PAGE_REVISION_GONE")
}

// A page ends before it grows too large to send, in JSON too.
func TestPagesAreBoundedInBytes(t *testing.T) {
	w := start(t, Options{})
	rpc := w.rpc()
	for i := range 70 {
		r := createTable(fmt.Sprintf("t%02d", i))
		for c := range 8 {
			r.Table.Columns = append(r.Table.Columns, &metadatav1.ColumnSchema{
				Name: fmt.Sprintf("c%d", c), DataType: r.Table.Columns[0].DataType,
				Comment: strings.Repeat("\n", 4000), // two bytes each in JSON
			})
		}
		must(rpc.CreateTable(t.Context(), r))(t)
	}
	binary := must(rpc.ListTables(t.Context(), &metadatav1.ListTablesRequest{PageSize: 1000}))(t)
	if size := proto.Size(binary); size > MessageMaxBytes || size < pageBytes/2 || binary.GetNextPageToken() == "" {
		t.Fatalf("a page of %d tables has %d bytes", len(binary.GetTables()), size)
	}
	names, pages := listAll(t, w.rpc(connect.WithProtoJSON(), connect.WithReadMaxBytes(MessageMaxBytes)), 1000, func() {})
	if len(names) != 70 || pages < 2 {
		t.Fatalf("JSON lists %d tables in %d pages", len(names), pages)
	}
}

func TestTokensComeBackAndNothingElseDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := token{
			rpc: listShards, cluster: events.ClusterID{9}, epoch: rapid.Uint64().Draw(t, "epoch"),
			revision: rapid.Uint64().Draw(t, "revision"), filter: filterHash([]byte("x")),
			cursor: rapid.SliceOfN(rapid.Byte(), 0, 4096).Draw(t, "cursor"),
		}
		text := in.encode()
		if len(text) > 8192 {
			t.Fatalf("the token has %d bytes, the contract takes 8,192", len(text))
		}
		out, err := parseToken(text, in.rpc, in.filter)
		if err != nil || out.epoch != in.epoch || out.revision != in.revision || out.cluster != in.cluster ||
			string(out.cursor) != string(in.cursor) {
			t.Fatalf("%+v came back as %+v, %v", in, out, err)
		}
		if _, err := parseToken(text, listNodes, in.filter); err == nil {
			t.Fatal("another rpc takes the token")
		}
		if _, err := parseToken(text, in.rpc, filterHash([]byte("y"))); err == nil {
			t.Fatal("another filter takes the token")
		}
		raw, _ := base64.RawURLEncoding.DecodeString(text)
		raw[rapid.IntRange(0, len(raw)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := parseToken(base64.RawURLEncoding.EncodeToString(raw), in.rpc, in.filter); err == nil {
			t.Fatal("a damaged token is taken")
		}
		if _, err := parseToken(text[:rapid.IntRange(1, len(text)-1).Draw(t, "cut")], in.rpc, in.filter); err == nil {
			t.Fatal("half a token is taken")
		}
	})
}

func TestForeignTokens(t *testing.T) {
	w := start(t, Options{})
	for what, change := range map[string]func(*token){
		"cluster":        func(k *token) { k.cluster[0]++ },
		"recovery epoch": func(k *token) { k.epoch++ },
	} {
		k := token{rpc: listTables, cluster: testCluster, epoch: 1, filter: filterHash([]byte(""))}
		change(&k)
		_, err := w.rpc().ListTables(t.Context(), &metadatav1.ListTablesRequest{PageToken: k.encode()})
		if err == nil {
			t.Fatalf("a token of another %s is taken", what)
		}
		wantFailure(t, err, connect.CodeAborted, "PAGE_REVISION_GONE", "list again")
	}
}

func TestConditionalGet(t *testing.T) {
	w := start(t, Options{})
	rpc := w.rpc()
	must(rpc.CreateTable(t.Context(), createTable("orders")))(t)
	path := w.url + metadatav1connect.MetadataServiceGetTableProcedure +
		`?connect=v1&encoding=json&message=%7B%22table%22%3A%7B%22name%22%3A%22orders%22%7D%7D`
	get := func(known string) (int, http.Header) {
		request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))(t)
		request.Header.Set("If-None-Match", known)
		response, err := w.http1().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body(t, response)
		return response.StatusCode, response.Header
	}
	status, header := get("")
	tag := header.Values("Etag")
	if status != http.StatusOK || len(tag) != 1 || header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("a GET answers %d with %v", status, header)
	}
	for _, known := range []string{tag[0], `"other", ` + tag[0], "*"} {
		status, header := get(known)
		if status != http.StatusNotModified || header.Get("Etag") != tag[0] || header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("known as %s, a GET answers %d with %v", known, status, header)
		}
	}
	must(rpc.CreateTable(t.Context(), createTable("more")))(t)
	if status, header := get(tag[0]); status != http.StatusOK || header.Get("Etag") == tag[0] {
		t.Fatalf("after a change, a GET answers %d with %v", status, header)
	}
	post, err := w.post("application/json", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	body(t, post)
	if post.Header.Get("Etag") != "" {
		t.Fatal("a POST has an ETag")
	}
}
