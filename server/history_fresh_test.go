package server

import (
	"context"
	"testing"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// freshReads are all reads of history that can be asked to be fresh.
var freshReads = map[string]func(*metadatav1.ReadOptions) asker{
	"ReadChanges": func(o *metadatav1.ReadOptions) asker {
		return read(&metadatav1.ReadChangesRequest{Selection: ofSchema(), Read: o})
	},
	"StreamChanges": func(o *metadatav1.ReadOptions) asker {
		return streamed(&metadatav1.StreamChangesRequest{Selection: ofSchema(), Read: o})
	},
	"StreamBase": func(o *metadatav1.ReadOptions) asker {
		return based(&metadatav1.StreamBaseRequest{Stream: schemaStream, Read: o})
	},
	"GetTableAsOf": func(o *metadatav1.ReadOptions) asker {
		return fetched(&metadatav1.GetTableAsOfRequest{Table: tableNamed("c"), Read: o})
	},
	"ListTablesAsOf": func(o *metadatav1.ReadOptions) asker {
		return listed(&metadatav1.ListTablesAsOfRequest{At: atRevision(2), Read: o})
	},
	"GetTopologyAsOf": func(o *metadatav1.ReadOptions) asker {
		return func(ctx context.Context, h historian) error {
			_, err := h.GetTopologyAsOf(ctx, &metadatav1.GetTopologyAsOfRequest{Read: o})
			return err
		}
	},
	"DiffRevisions": func(o *metadatav1.ReadOptions) asker {
		return compared(&metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: atRevision(1), Read: o})
	},
	"ObjectLog": func(o *metadatav1.ReadOptions) asker {
		return logOf(&metadatav1.ObjectLogRequest{Object: objectNamed("c"), Read: o})
	},
	"GetHead": func(o *metadatav1.ReadOptions) asker {
		return func(ctx context.Context, h historian) error {
			_, err := h.GetHead(ctx, &metadatav1.GetHeadRequest{Stream: topologyStream, Read: o})
			return err
		}
	},
	"ListSignedHeads": func(o *metadatav1.ReadOptions) asker {
		return func(ctx context.Context, h historian) error {
			_, err := h.ListSignedHeads(ctx, &metadatav1.ListSignedHeadsRequest{Stream: schemaStream, Read: o})
			return err
		}
	},
}

// A member that is cut off does not pass what it has for what there is, unless it is asked for
// what it has.
func TestHistoryIsAsFreshAsAsked(t *testing.T) {
	w := lived(t)
	w.member.cutOff.Store(true)
	foreign := &metadatav1.ReadOptions{
		Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: &metadatav1.Position{ClusterId: "another"},
	}
	for name, call := range freshReads {
		for protocol, client := range historians(w) {
			if err := call(local)(t.Context(), client); err != nil {
				t.Errorf("%s, %s: what the member has: %v", name, protocol, err)
			}
			wantFailure(t, call(nil)(t.Context(), client), connect.CodeUnavailable, "NO_LEADER")
			if name != "ListSignedHeads" { // positions do not cover the stream that it reads
				wantFailure(t, call(foreign)(t.Context(), client), connect.CodeFailedPrecondition, "FOREIGN_POSITION")
			}
		}
	}
}

// Later pages are of the first one's revision: nobody has to be asked for what is newest.
func TestLaterPagesOfHistoryAskNobody(t *testing.T) {
	w := lived(t)
	client := historians(w)["grpc"]
	changes := &metadatav1.ReadChangesRequest{Selection: ofSchema(), PageSize: 1}
	changes.PageToken = must(client.ReadChanges(t.Context(), changes))(t).GetNextPageToken()
	tables := &metadatav1.ListTablesAsOfRequest{At: atRevision(2), PageSize: 1}
	tables.PageToken = must(client.ListTablesAsOf(t.Context(), tables))(t).GetNextPageToken()
	topology := &metadatav1.GetTopologyAsOfRequest{PageSize: 1}
	topology.PageToken = must(client.GetTopologyAsOf(t.Context(), topology))(t).GetNextPageToken()
	diff := &metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: atRevision(1), PageSize: 1}
	diff.PageToken = must(client.DiffRevisions(t.Context(), diff))(t).GetNextPageToken()
	log := &metadatav1.ObjectLogRequest{Object: objectNamed("c"), PageSize: 1}
	log.PageToken = must(client.ObjectLog(t.Context(), log))(t).GetNextPageToken()
	w.member.cutOff.Store(true)
	must(client.ReadChanges(t.Context(), changes))(t)
	must(client.ListTablesAsOf(t.Context(), tables))(t)
	must(client.GetTopologyAsOf(t.Context(), topology))(t)
	must(client.DiffRevisions(t.Context(), diff))(t)
	must(client.ObjectLog(t.Context(), log))(t)
}
