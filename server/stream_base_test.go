package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func based(r *metadatav1.StreamBaseRequest) asker {
	return func(ctx context.Context, h historian) error {
		_, err := collect(h.StreamBase(ctx, r))
		return err
	}
}

// importBase returns the state that messages of a base hold.
func importBase(t *testing.T, genesis *projections.Schema, all []*metadatav1.StreamBaseResponse) *projections.Schema {
	t.Helper()
	state, err := genesis.Import(projections.Records(func(yield func([]byte, error) bool) {
		for _, m := range all {
			if !yield(m.GetChunk(), nil) {
				return
			}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func joined(all []*metadatav1.StreamBaseResponse) (b []byte) {
	for _, m := range all {
		b = append(b, m.GetChunk()...)
	}
	return b
}

// The base of a stream is the model right before its oldest change, as a checkpoint.
func TestStreamBase(t *testing.T) {
	w := lived(t)
	genesis := projections.NewSchema(testCluster, 1)
	want := must(w.member.SchemaAt(t.Context(), 2))(t)
	for protocol, client := range historians(w) {
		whole, err := collect(client.StreamBase(t.Context(), &metadatav1.StreamBaseRequest{Stream: schemaStream}))
		if err != nil {
			t.Fatal(err)
		}
		if got := importBase(t, genesis, whole); got.Head != genesis.Head || whole[0].GetRevision() != 0 {
			t.Errorf("%s: the base of a whole history is at %+v", protocol, got.Head)
		}
	}
	w.trim(3)
	for protocol, client := range historians(w) {
		for _, first := range []uint64{0, 3} {
			all, err := collect(client.StreamBase(t.Context(), &metadatav1.StreamBaseRequest{Stream: schemaStream, FirstRevision: first}))
			if err != nil {
				t.Fatal(err)
			}
			got, hash := importBase(t, genesis, all), sha256.Sum256(joined(all))
			if got.Head != want.Head || got.Hash() != want.Hash() || hash != want.Hash() {
				t.Errorf("%s: it is the model at %+v, want %+v", protocol, got.Head, want.Head)
			}
			begin, end := all[0], all[len(all)-1]
			if begin.GetRevision() != 2 || !bytes.Equal(begin.GetDigest(), want.Head.Digest[:]) || begin.GetCheckpointFormat() != projections.CheckpointFormat {
				t.Errorf("%s: it begins with %v", protocol, begin)
			}
			if !bytes.Equal(end.GetModelHash(), hash[:]) {
				t.Errorf("%s: the model hash is %x, that of the chunks %x", protocol, end.GetModelHash(), hash)
			}
		}
		for _, first := range []uint64{1, 2} {
			_, err := collect(client.StreamBase(t.Context(), &metadatav1.StreamBaseRequest{Stream: schemaStream, FirstRevision: first}))
			wantFailure(t, err, connect.CodeOutOfRange, "HISTORY_TRIMMED")
		}
		_, err := collect(client.StreamBase(t.Context(), &metadatav1.StreamBaseRequest{Stream: schemaStream, FirstRevision: 1000}))
		wantFailure(t, err, connect.CodeOutOfRange, "FUTURE_REVISION")
		_, err = collect(client.StreamBase(t.Context(), &metadatav1.StreamBaseRequest{}))
		wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD")
	}
}

// A large base comes in messages that every client takes, and goes on where a stream broke off.
func TestStreamBaseInChunks(t *testing.T) {
	w := start(t, Options{})
	for i := range 40 {
		r := createTable(fmt.Sprint("t", i))
		r.Table.Columns[0].Comment = string(bytes.Repeat([]byte("comment "), 4000/8))
		for c := range 20 {
			column := &metadatav1.ColumnSchema{Name: fmt.Sprint("more", c), DataType: r.Table.Columns[0].DataType, Comment: r.Table.Columns[0].Comment}
			r.Table.Columns = append(r.Table.Columns, column)
		}
		must(w.rpc().CreateTable(t.Context(), r))(t)
	}
	want := w.member.schema.Load()
	for protocol, client := range historians(w) {
		request := &metadatav1.StreamBaseRequest{Stream: schemaStream, FirstRevision: want.Head.Revision + 1}
		all, err := collect(client.StreamBase(t.Context(), request))
		if err != nil {
			t.Fatal(err)
		}
		whole := joined(all)
		if len(all) < 3 || sha256.Sum256(whole) != want.Hash() {
			t.Errorf("%s: %d messages with %d bytes", protocol, len(all), len(whole))
		}
		for _, m := range all {
			if len(m.GetChunk()) > baseChunkBytes {
				t.Errorf("%s: a chunk has %d bytes", protocol, len(m.GetChunk()))
			}
		}
		for _, offset := range []int{1, baseChunkBytes, baseChunkBytes + 7, len(whole), len(whole) + 1} {
			request.Offset = uint64(offset)
			rest, err := collect(client.StreamBase(t.Context(), request))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(joined(rest), whole[min(offset, len(whole)):]) {
				t.Errorf("%s: from byte %d on there are %d bytes, of %d", protocol, offset, len(joined(rest)), len(whole))
			}
			if hash := want.Hash(); !bytes.Equal(rest[len(rest)-1].GetModelHash(), hash[:]) || rest[0].GetRevision() != want.Head.Revision {
				t.Errorf("%s: from byte %d on another model is named", protocol, offset)
			}
		}
	}
}
