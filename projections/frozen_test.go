package projections

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// A file that exists is a promise: its bytes are in somebody's checkpoint.
// -update writes files that are missing, and never touches an existing one.
var update = flag.Bool("update", false, "write frozen bytes that do not exist yet")

func TestFrozenCheckpoints(t *testing.T) {
	frozen(t, "schema", NewSchema(cluster, 1).Fold(
		seal(1, namespaceCreated(7, "shop"), tableCreated(3, "shop", "orders"), tableCreated(4, "", "x"))).Fold(
		seal(2, tableDropped(4), tableAltered(3, "public", "sales"))))
	node := &metadatav1.NodeInfo{NodeId: "n", Epoch: 5, Status: metadatav1.NodeStatus_NODE_STATUS_ONLINE}
	registered := &metadatav1.Event{Kind: &metadatav1.Event_NodeRegistered{NodeRegistered: &metadatav1.NodeRegistered{Node: node}}}
	frozen(t, "topology", NewTopology(cluster, 1).Fold(
		seal(1, registered, shardCreated(1, "", "m"), shardCreated(9, "m", ""))).Fold(
		seal(2, shardChanged(9, "n", ""))))
	frozen(t, "service", NewService(cluster, 1).Fold(
		seal(1, consumerCreated("b", 7), consumerCreated("a", 3), headSigned(1, 40), headSigned(2, 9))).Fold(
		seal(2, headSigned(1, 50), historyTrimmed(2, 8), consumerAcknowledged("b", 20))))
}

func frozen[D Domain[D]](t *testing.T, name string, s *State[D]) {
	t.Helper()
	var lines []string
	for _, r := range records(t, s) {
		lines = append(lines, hex.EncodeToString(r))
	}
	path := filepath.Join("testdata", "v1", name+".hex")
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) && *update {
		text = []byte(strings.Join(lines, "\n") + "\n")
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(text))
	if got := strings.Join(lines, " "); got != strings.Join(want, " ") {
		t.Errorf("%s: the checkpoint changed:\n got %v\nwant %v", name, got, want)
	}
	var decoded [][]byte
	for _, line := range want {
		r, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		decoded = append(decoded, r)
	}
	got, err := s.Import(oneBuffer(decoded))
	if err != nil || got.Hash() != s.Hash() {
		t.Errorf("%s: the frozen checkpoint imports to something else: %v", name, err)
	}
}

// The vector keeps the model hash as it is: members of different builds compare
// it.
func TestModelHashVector(t *testing.T) {
	const want = "e8afad3e565e22879d5fdebdf765ec93c39b0e3209e015c194fcd7fb5215a281"
	s := NewSchema(events.ClusterID{1}, 0).Fold(seal(1, tableCreated(1, "", "x")))
	if hash := s.Hash(); hex.EncodeToString(hash[:]) != want {
		t.Errorf("hash %x, want %s", hash, want)
	}
}
