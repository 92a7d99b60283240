package server

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"

	"connectrpc.com/connect"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// FuzzToken goes on with lists at any token: any text, and what a client could make
// who knows the format and its checksum. The answer is a page, or it blames the token.
func FuzzToken(f *testing.F) {
	member := newFake()
	server, err := New(member, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = server.Stop(context.Background()) })
	s := service{server}
	for _, name := range []string{"a", "b"} {
		if _, err := s.CreateTable(f.Context(), createTable(name)); err != nil {
			f.Fatal(err)
		}
	}
	page, err := s.ListTables(f.Context(), &metadatav1.ListTablesRequest{PageSize: 1})
	if err != nil || page.GetNextPageToken() == "" {
		f.Fatalf("no token: %v, %v", page, err)
	}
	given, err := parseToken(page.GetNextPageToken(), listTables, filterOf(f, page.GetNextPageToken()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page.GetNextPageToken(), byte(listTables), given.epoch, given.revision, given.cursor)
	f.Add("", byte(listShards), uint64(1), uint64(1)<<63, []byte("\xff\xff"))
	f.Add("!", byte(getTopology), uint64(0), uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, text string, rpc byte, epoch, revision uint64, cursor []byte) {
		forged := *given
		forged.rpc, forged.epoch, forged.revision, forged.cursor = listing(rpc), epoch, revision, cursor
		for _, token := range []string{text, forged.encode()} {
			ctx := t.Context()
			_, err1 := s.ListTables(ctx, &metadatav1.ListTablesRequest{PageSize: 1, PageToken: token})
			_, err2 := s.ListNamespaces(ctx, &metadatav1.ListNamespacesRequest{PageToken: token})
			_, err3 := s.ListNodes(ctx, &metadatav1.ListNodesRequest{PageToken: token})
			_, err4 := s.ListShards(ctx, &metadatav1.ListShardsRequest{PageToken: token})
			_, err5 := s.GetTopology(ctx, &metadatav1.GetTopologyRequest{PageToken: token})
			for i, err := range []error{err1, err2, err3, err4, err5} {
				if own := (*connect.Error)(nil); err != nil && failure.As(err) == nil && !errors.As(err, &own) {
					t.Fatalf("list %d at token %q: %v", i, token, err)
				}
			}
		}
	})
}

// filterOf is the filter that a token was given for.
func filterOf(f *testing.F, text string) (filter [filterBytes]byte) {
	f.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		f.Fatal(err)
	}
	copy(filter[:], raw[2+clusterBytes:])
	return filter
}
