package export_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
)

// FuzzFile takes any bytes for a file. What verifies can be written again, with all its
// changes, and verifies then too.
func FuzzFile(f *testing.F) {
	sample := damageSample(f)
	f.Add(sample)
	f.Add(sample[:len(sample)/2])
	f.Add(writeSources(f, basedSources()...))
	f.Add(write(f, export.Options{}, historytest.New(schemaStream, nil)))
	f.Fuzz(func(t *testing.T, file []byte) {
		opened, err := export.Read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			wantTyped(t, err)
			return
		}
		defer opened.Close()
		if _, err := opened.Verify(t.Context(), nil); err != nil {
			wantTyped(t, err)
			return
		}
		var again bytes.Buffer
		trailer, err := export.Write(t.Context(), &again, opened.Header(), opened.Sources(), export.Options{SignedHeads: opened.Trailer().SignedHeads})
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		for i, end := range trailer.Streams {
			if was := opened.Trailer().Streams[i]; end.Digest != was.Digest || end.Changes != was.Changes {
				t.Fatalf("%+v was written as %+v", was, end)
			}
		}
		if err := verify(t, again.Bytes()); err != nil {
			t.Fatalf("what was written again: %v", err)
		}
	})
}

func wantTyped(t *testing.T, err error) {
	t.Helper()
	_, damaged := errors.AsType[*export.DamagedError](err)
	_, unsupported := errors.AsType[*events.UnsupportedError](err)
	if !damaged && !unsupported {
		t.Fatalf("untyped error %v", err)
	}
}
