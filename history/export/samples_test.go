package export_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/export"
	"github.com/heliosdb/metadata/history/historytest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
	serviceStream  = metadatav1.Stream_STREAM_SERVICE
)

var sampleHeader = export.Header{
	ClusterName: "test <&> cluster", Time: time.Date(2026, 4, 5, 6, 7, 8, 9, time.UTC), Build: "v1.2.3",
}

// signedHead is a head of a history as if somebody had signed it.
func signedHead(m *historytest.Memory, revision uint64) *metadatav1.SignedHead {
	digest := m.Digest(revision)
	return &metadatav1.SignedHead{
		Stream: m.Stream, Revision: revision, Digest: digest[:], Time: timestamppb.New(historytest.Start),
		KeyId: []byte("the key."), Signature: bytes.Repeat([]byte{byte(revision)}, 64),
	}
}

// sampleSources are a few changes of each stream: the service stream keeps heads of the
// others.
func sampleSources() []*historytest.Memory {
	schema := historytest.New(schemaStream, historytest.Tables(12, 2))
	topology := historytest.New(topologyStream, historytest.Nodes(9)).Trim(4)
	var kept []*events.Change
	for i, head := range []*metadatav1.SignedHead{signedHead(schema, 5), signedHead(topology, 8), signedHead(schema, 11)} {
		kept = append(kept, historytest.Seal(uint64(i+1), &metadatav1.Event{Kind: &metadatav1.Event_HeadSigned{HeadSigned: &metadatav1.HeadSigned{Head: head}}}))
	}
	return []*historytest.Memory{schema, topology, historytest.New(serviceStream, kept)}
}

func asSources(memories ...*historytest.Memory) []history.Source {
	sources := make([]history.Source, len(memories))
	for i, m := range memories {
		sources[i] = m
	}
	return sources
}

func write(t testing.TB, options export.Options, memories ...*historytest.Memory) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := export.Write(t.Context(), &b, sampleHeader, asSources(memories...), options); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, b []byte) *export.File {
	t.Helper()
	f, err := export.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// verify opens and verifies a file.
func verify(t testing.TB, b []byte) error {
	f, err := export.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Verify(t.Context(), nil)
	return err
}
