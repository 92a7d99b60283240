package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/internal/fakefeed"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// heliosmeta runs one command line against a service and returns its exit code, stdout and
// stderr.
func heliosmeta(t *testing.T, feed *fakefeed.Service, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	s := newSession(strings.NewReader(""), &stdout, &stderr, func(string) (string, bool) { return "", false })
	code = s.execute(t.Context(), append([]string{"--endpoints", feed.Addr()}, args...))
	return code, stdout.String(), stderr.String()
}

func TestConsumers(t *testing.T) {
	feed, err := fakefeed.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	feed.Append(metadatav1.Stream_STREAM_SCHEMA, 12)
	feed.Append(metadatav1.Stream_STREAM_TOPOLOGY, 4)
	for _, step := range []struct {
		args string
		code int
		out  string // all of stdout
		errs string // a part of stderr
	}{
		{"list", 0, "CONSUMER  POSITION  LAG  ACKNOWLEDGED  EPOCH  OWNER  FILTER  DESCRIPTION\n", ""},
		{"create audit --from beginning --description Everything", 0, "created consumer audit (at 0:0, epoch 0)\n", ""},
		{"create audit", exitConflict, "", `consumer "audit" exists`},
		{"create index --kind table,namespace --stream schema -n shop", 0, "created consumer index (at 12:4, epoch 0)\n", ""},
		{"create late --from 11:3 --table t --node n --shard 7", 0, "created consumer late (at 11:3, epoch 0)\n", ""},
		{"create x --from newest", exitUsage, "", `--from: position "newest"`},
		{"create x --stream service", exitUsage, "", `there is no stream "service"`},
		{"list", 0, `CONSUMER  POSITION  LAG   ACKNOWLEDGED          EPOCH  OWNER  FILTER                                             DESCRIPTION
audit     0:0       12:4  1970-01-01T00:01:00Z  0      -      -                                                  Everything
index     12:4      0:0   1970-01-01T00:01:00Z  0      -      stream=schema kind=table,namespace namespace=shop  -
late      11:3      1:1   1970-01-01T00:01:00Z  0      -      table=t node=n shard=7                             -
`, ""},
		{"get late -o json", 0, `"schema_changes": "1"`, ""},
		{"delete late", 0, "deleted consumer late (at 11:3, epoch 0)\n", ""},
		{"get late", exitNotFound, "", `there is no consumer "late"`},
		{"delete late", exitNotFound, "", `there is no consumer "late"`},
	} {
		code, out, errs := heliosmeta(t, feed, append([]string{"consumer"}, strings.Fields(step.args)...)...)
		sameOut := out == step.out
		if strings.Contains(step.args, "json") {
			sameOut = strings.Contains(out, step.out)
		}
		if code != step.code || !sameOut || !strings.Contains(errs, step.errs) {
			t.Errorf("%s: exit code %d\n%s%s", step.args, code, out, errs)
		}
	}
	feed.Trim(metadatav1.Stream_STREAM_SCHEMA, 5)
	if _, out, _ := heliosmeta(t, feed, "consumer", "get", "audit"); !strings.Contains(out, "12:4 (some are trimmed)") {
		t.Errorf("what is trimmed is not shown:\n%s", out)
	}
}
