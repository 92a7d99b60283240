package config

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// settings are flags of several kinds.
type settings struct {
	id    uint64
	tick  time.Duration
	data  string
	peers string
	cors  []string
	loud  bool
}

func flagsOf(s *settings) *pflag.FlagSet {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Uint64Var(&s.id, "node-id", 1, "")
	flags.DurationVar(&s.tick, "tick-interval", 100*time.Millisecond, "")
	flags.StringVar(&s.data, "data", "./here", "")
	flags.StringVar(&s.peers, "peers", "", "")
	flags.StringSliceVar(&s.cors, "cors-origins", nil, "")
	flags.BoolVar(&s.loud, "loud", false, "")
	flags.String("config", "", "")
	return flags
}

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

var keys = map[string]string{"data": "storage_path", "config": ""}

func TestPrecedence(t *testing.T) {
	file := "storage_path: /from/file\ntick_interval: 1s # slow\nloud: true\n"
	for _, c := range []struct {
		name string
		args []string
		env  []string
		file string
		want settings
	}{
		{"defaults", nil, nil, "", settings{id: 1, tick: 100 * time.Millisecond, data: "./here"}},
		{"file", nil, nil, file, settings{id: 1, tick: time.Second, data: "/from/file", loud: true}},
		{"environment over file", nil, []string{"HELIOSMETA_DATA", "/from/env", "HELIOSMETA_NODE_ID", "7"}, file,
			settings{id: 7, tick: time.Second, data: "/from/env", loud: true}},
		{"flag over all", []string{"--data=/from/flag", "--loud=false"}, []string{"HELIOSMETA_DATA", "/from/env"}, file,
			settings{id: 1, tick: time.Second, data: "/from/flag"}},
		{"flag with its default over all", []string{"--data=./here"}, []string{"HELIOSMETA_DATA", "/from/env"}, file,
			settings{id: 1, tick: time.Second, data: "./here", loud: true}},
		{"empty environment variable counts", nil, []string{"HELIOSMETA_DATA", ""}, file,
			settings{id: 1, tick: time.Second, loud: true}},
		{"lists and pairs", nil, nil, "peers:\n  1: a:1\n  2: b:2\ncors_origins: [x, y]\n",
			settings{id: 1, tick: 100 * time.Millisecond, data: "./here", peers: "1=a:1,2=b:2", cors: []string{"x", "y"}}},
		{"a variable of somebody else", nil, []string{"HELIOSMETA_PORT", "tcp://10.0.0.1"}, "# nothing\n",
			settings{id: 1, tick: 100 * time.Millisecond, data: "./here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got settings
			flags := flagsOf(&got)
			if err := flags.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			if err := Fill(flags, Source{LookupEnv: env(c.env...), FileName: "f.yaml", FileText: []byte(c.file), Keys: keys}); err != nil {
				t.Fatal(err)
			}
			if strings.Join(got.cors, " ") != strings.Join(c.want.cors, " ") {
				t.Errorf("origins are %q, want %q", got.cors, c.want.cors)
			}
			got.cors, c.want.cors = nil, nil
			if got.id != c.want.id || got.tick != c.want.tick || got.data != c.want.data || got.peers != c.want.peers || got.loud != c.want.loud {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestStrictness(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", "node_id: 1\nnodeid: 2\n", `f.yaml:2: unknown key "nodeid"; there are cors_origins, loud, node_id, peers, storage_path, tick_interval`},
		{"a flag's name where the key is another", "data: /x\n", `f.yaml:1: unknown key "data"`},
		{"no key of the file's", "config: other.yaml\n", `f.yaml:1: unknown key "config"`},
		{"twice", "node_id: 1\nloud: true\nnode_id: 2\n", `f.yaml:3: `},
		{"twice in two documents", "node_id: 1\n---\nnode_id: 2\n", `f.yaml:3: key "node_id" is given twice`},
		{"wrong kind", "loud: true\nnode_id: one\n", `f.yaml:2: "one" is not right for --node-id: `},
		{"no value", "node_id:\n", `f.yaml:1: key "node_id": the value is missing`},
		{"no pairs", "- node_id\n", `f.yaml:1: write pairs`},
		{"no YAML", "node_id: 1\nloud: [true\n", `f.yaml:2: `},
		{"too large", strings.Repeat("#", MaxFileBytes+1), "at most 1048576"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Fill(flagsOf(new(settings)), Source{LookupEnv: env(), FileName: "f.yaml", FileText: []byte(c.file), Keys: keys})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the message is more than a sentence: %v", err)
			}
		})
	}
	err := Fill(flagsOf(new(settings)), Source{LookupEnv: env("HELIOSMETA_TICK_INTERVAL", "fast"), Keys: keys})
	if want := `environment variable HELIOSMETA_TICK_INTERVAL: "fast" is not right for --tick-interval: `; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// FuzzFill takes any file, variable and argument. What is wrong is one sentence that
// names its origin; what is taken is taken again when it is given as arguments.
func FuzzFill(f *testing.F) {
	f.Add([]byte("node_id: 7\nstorage_path: /x\ntick_interval: 1s # slow\nloud: true\n"), "HELIOSMETA_DATA", "/env", "--loud=false")
	f.Add([]byte("peers:\n  1: a:1\n  2: b:2\ncors_origins: [x, y]\n"), "HELIOSMETA_NODE_ID", "3", "--node-id=2")
	f.Add([]byte("node_id: 1\n---\nnode_id: 2\n"), "HELIOSMETA_TICK_INTERVAL", "fast", "")
	f.Add([]byte("a: &a [*a]\nnode_id: *a\n"), "", "", "--")
	f.Add([]byte("{\"node_id\": 1, \"cors_origins\": {\"a\": [1, {\"b\": null}]}}"), "HELIOSMETA_LOUD", "", "--cors-origins=")
	f.Add([]byte("? [node_id]\n: 1\n<<: {loud: true}\n"), "HELIOSMETA_", "x", "-x")
	f.Fuzz(func(t *testing.T, file []byte, name, value, argument string) {
		var got settings
		flags := flagsOf(&got)
		if flags.Parse([]string{argument}) != nil {
			return
		}
		err := Fill(flags, Source{LookupEnv: env(name, value), FileName: "f.yaml", FileText: file, Keys: keys})
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "f.yaml:") && !strings.HasPrefix(line, "environment variable "+name) {
				t.Fatalf("the error names no origin: %q", err)
			}
		}
	})
}
