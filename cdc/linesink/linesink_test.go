package linesink

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/heliosdb/metadata/cdc/record"
	"github.com/heliosdb/metadata/cdc/sink"
)

func TestEachRecordIsALine(t *testing.T) {
	var out bytes.Buffer
	n, err := New(&out).Send(t.Context(), []record.Record{{JSON: []byte(`{"id":"a"}`)}, {JSON: []byte(`{"id":"b"}`)}})
	if err != nil || n != 2 || out.String() != "{\"id\":\"a\"}\n{\"id\":\"b\"}\n" {
		t.Fatalf("%d, %v, %q", n, err, &out)
	}
}

func TestAReaderThatIsGoneBreaksIt(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	n, err := New(w).Send(t.Context(), []record.Record{{JSON: []byte(`{}`)}})
	if _, broken := errors.AsType[*sink.BrokenError](err); n != 0 || !broken {
		t.Fatalf("%d, %v", n, err)
	}
}
