package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func atTime(t time.Time) *metadatav1.HistoryPoint {
	return &metadatav1.HistoryPoint{Point: &metadatav1.HistoryPoint_Time{Time: timestamppb.New(t)}}
}

// asker makes one call and returns how it ended.
type asker func(context.Context, historian) error

func ask[Q, A any](call func(historian) func(context.Context, *Q) (*A, error), request *Q) asker {
	return func(ctx context.Context, h historian) error {
		_, err := call(h)(ctx, request)
		return err
	}
}

func read(r *metadatav1.ReadChangesRequest) asker {
	return ask(func(h historian) func(context.Context, *metadatav1.ReadChangesRequest) (*metadatav1.ReadChangesResponse, error) {
		return h.ReadChanges
	}, r)
}

func streamed(r *metadatav1.StreamChangesRequest) asker {
	return func(ctx context.Context, h historian) error {
		_, err := collect(h.StreamChanges(ctx, r))
		return err
	}
}

func compared(r *metadatav1.DiffRevisionsRequest) asker {
	return ask(func(h historian) func(context.Context, *metadatav1.DiffRevisionsRequest) (*metadatav1.DiffRevisionsResponse, error) {
		return h.DiffRevisions
	}, r)
}

func logOf(r *metadatav1.ObjectLogRequest) asker {
	return ask(func(h historian) func(context.Context, *metadatav1.ObjectLogRequest) (*metadatav1.ObjectLogResponse, error) {
		return h.ObjectLog
	}, r)
}

func listed(r *metadatav1.ListTablesAsOfRequest) asker {
	return ask(func(h historian) func(context.Context, *metadatav1.ListTablesAsOfRequest) (*metadatav1.ListTablesAsOfResponse, error) {
		return h.ListTablesAsOf
	}, r)
}

func fetched(r *metadatav1.GetTableAsOfRequest) asker {
	return ask(func(h historian) func(context.Context, *metadatav1.GetTableAsOfRequest) (*metadatav1.GetTableAsOfResponse, error) {
		return h.GetTableAsOf
	}, r)
}

// selection is a selection of schema changes.
func selection(first, last uint64) *metadatav1.ChangeSelection {
	return &metadatav1.ChangeSelection{Stream: schemaStream, FirstRevision: first, LastRevision: last}
}

func tableNamed(name string) *metadatav1.TableRef { return &metadatav1.TableRef{Name: name} }

func objectNamed(name string) *metadatav1.ObjectRef {
	return &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: tableNamed(name)}}
}

func TestHistoryRefusesBadRequests(t *testing.T) {
	w := lived(t)
	many := make([]string, 1025)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	now := time.Now()
	between := func(since, until time.Time) *metadatav1.ChangeSelection {
		return &metadatav1.ChangeSelection{Stream: schemaStream, Since: timestamppb.New(since), Until: timestamppb.New(until)}
	}
	for field, call := range map[string]asker{
		"selection":               read(&metadatav1.ReadChangesRequest{}),
		"selection.stream":        read(&metadatav1.ReadChangesRequest{Selection: &metadatav1.ChangeSelection{}}),
		"selection.last_revision": read(&metadatav1.ReadChangesRequest{Selection: selection(4, 2)}),
		"selection.until":         read(&metadatav1.ReadChangesRequest{Selection: between(now, now)}),
		"selection.since":         read(&metadatav1.ReadChangesRequest{Selection: &metadatav1.ChangeSelection{Stream: schemaStream, Since: &timestamppb.Timestamp{Nanos: -1}}}),
		"selection.filter.tables": read(&metadatav1.ReadChangesRequest{Selection: &metadatav1.ChangeSelection{Stream: schemaStream, Filter: &metadatav1.Filter{Tables: many}}}),
		"selection.actor":         read(&metadatav1.ReadChangesRequest{Selection: &metadatav1.ChangeSelection{Stream: schemaStream, Actor: strings.Repeat("a", 257)}}),
		"page_size":               read(&metadatav1.ReadChangesRequest{Selection: selection(0, 0), PageSize: 1001}),
		"page_token":              read(&metadatav1.ReadChangesRequest{Selection: selection(0, 0), PageToken: "nonsense"}),
		"originals": streamed(&metadatav1.StreamChangesRequest{Originals: true, Selection: &metadatav1.ChangeSelection{
			Stream: schemaStream, Filter: &metadatav1.Filter{Tables: []string{"a"}},
		}}),
		"follow":        streamed(&metadatav1.StreamChangesRequest{Follow: true, Selection: selection(0, 4)}),
		"from":          compared(&metadatav1.DiffRevisionsRequest{Stream: schemaStream}),
		"from.point":    compared(&metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: &metadatav1.HistoryPoint{}}),
		"to":            compared(&metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: atRevision(3), To: atRevision(2)}),
		"last_revision": logOf(&metadatav1.ObjectLogRequest{Object: objectNamed("a"), FirstRevision: 3, LastRevision: 2}),
		"object.object": logOf(&metadatav1.ObjectLogRequest{Object: &metadatav1.ObjectRef{}}),
		"table":         fetched(&metadatav1.GetTableAsOfRequest{Table: &metadatav1.TableRef{}}),
	} {
		for protocol, client := range historians(w) {
			if protocol == "json" && field == "selection.since" {
				continue // its JSON cannot be written
			}
			err := wantFailure(t, call(t.Context(), client), connect.CodeInvalidArgument, "INVALID_FIELD")
			if fields := fieldsOf(err); len(fields) != 1 || fields[0] != field {
				t.Errorf("%s: the error %v blames %q, want %q", protocol, err, fields, field)
			}
		}
	}
}

func TestHistoryRefusesTheFuture(t *testing.T) {
	w := lived(t)
	for name, call := range map[string]asker{
		"first":    read(&metadatav1.ReadChangesRequest{Selection: selection(6, 0)}),
		"last":     read(&metadatav1.ReadChangesRequest{Selection: selection(1, 5)}),
		"streamed": streamed(&metadatav1.StreamChangesRequest{Selection: selection(6, 0), Follow: true}),
		"listed":   listed(&metadatav1.ListTablesAsOfRequest{At: atRevision(5)}),
		"compared": compared(&metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: atRevision(1), To: atRevision(5)}),
		"log":      logOf(&metadatav1.ObjectLogRequest{Object: objectNamed("a"), LastRevision: 5}),
	} {
		for _, client := range historians(w) {
			err := wantFailure(t, call(t.Context(), client), connect.CodeOutOfRange, "FUTURE_REVISION")
			if newest := detail[*errdetails.ErrorInfo](err).GetMetadata()["newest_revision"]; newest != "4" {
				t.Errorf("%s: the newest revision is %q", name, newest)
			}
		}
	}
	// Right behind the newest change there is nothing yet, which is no mistake.
	answer, err := historians(w)["connect"].ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{Selection: selection(5, 0)})
	if err != nil || len(answer.GetChanges()) != 0 || answer.GetNextPageToken() != "" {
		t.Errorf("behind the newest change: %v, %v", answer, err)
	}
	// Nor is there anything right behind the last one that was asked for.
	for protocol, client := range historians(w) {
		for _, c := range []*metadatav1.ChangeSelection{selection(5, 4), selection(3, 2)} {
			answer, err := client.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{Selection: c})
			if err != nil || len(answer.GetChanges()) != 0 || answer.GetNextPageToken() != "" {
				t.Errorf("%s: behind the last one of %v: %v, %v", protocol, c, answer, err)
			}
			for _, originals := range []bool{false, true} {
				all, err := collect(client.StreamChanges(t.Context(), &metadatav1.StreamChangesRequest{Selection: c, Originals: originals}))
				if err != nil || len(all) != 1 || len(all[0].GetChanges())+len(all[0].GetOriginals()) != 0 || all[0].GetLookedAtRevision() != c.GetLastRevision() {
					t.Errorf("%s: behind the last one of %v: streamed %v, %v", protocol, c, all, err)
				}
			}
		}
	}
}

// trim has the fake's cluster forget what comes before a revision.
func (w *world) trim(oldest uint64) {
	w.t.Helper()
	digest := must(w.member.pasts[0].Digest(w.t.Context(), oldest-1))(w.t)
	must(w.member.Write(w.t.Context(), &metadatav1.TrimHistory{Floor: &metadatav1.HistoryFloor{
		Stream: schemaStream, OldestRevision: oldest, PreviousDigest: digest[:], OldestTime: timestamppb.Now(),
	}}, "test"))(w.t)
}

func TestHistoryThatWasTrimmed(t *testing.T) {
	w := lived(t)
	w.trim(3)
	for name, call := range map[string]asker{
		"read":     read(&metadatav1.ReadChangesRequest{Selection: selection(1, 0)}),
		"newest":   read(&metadatav1.ReadChangesRequest{Selection: selection(2, 2), NewestFirst: true}),
		"streamed": streamed(&metadatav1.StreamChangesRequest{Selection: selection(1, 0), Originals: true}),
		"listed":   listed(&metadatav1.ListTablesAsOfRequest{At: atRevision(1)}),
		"log":      logOf(&metadatav1.ObjectLogRequest{Object: objectNamed("c"), FirstRevision: 1}),
		"time":     listed(&metadatav1.ListTablesAsOfRequest{At: atTime(time.Unix(1, 0))}),
	} {
		for _, client := range historians(w) {
			err := wantFailure(t, call(t.Context(), client), connect.CodeOutOfRange, "HISTORY_TRIMMED")
			if oldest := detail[*errdetails.ErrorInfo](err).GetMetadata()["oldest_revision"]; oldest != "3" {
				t.Errorf("%s: the oldest revision is %q", name, oldest)
			}
		}
	}
	for protocol, client := range historians(w) {
		answer := must(client.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{Selection: selection(0, 0)}))(t)
		if answer.GetOldestRevision() != 3 || len(answer.GetChanges()) != 2 {
			t.Errorf("%s: what is left is %v", protocol, answer)
		}
		all, err := collect(client.StreamChanges(t.Context(), &metadatav1.StreamChangesRequest{Selection: ofSchema(), Originals: true}))
		if err != nil {
			t.Fatal(err)
		}
		digest := events.Digest(all[0].GetPreviousDigest())
		for _, m := range all {
			for _, raw := range m.GetOriginals() {
				digest = digest.Next(raw)
			}
		}
		if digest != w.member.schema.Load().Head.Digest {
			t.Errorf("%s: the rest does not lead to the digest of the stream", protocol)
		}
		head := must(client.GetHead(t.Context(), &metadatav1.GetHeadRequest{Stream: schemaStream}))(t)
		if head.GetFloor().GetOldestRevision() != 3 || head.GetHeldFromRevision() != 3 {
			t.Errorf("%s: the head is %v", protocol, head)
		}
		// What was there before is known as far as what is left shows it.
		log := must(client.ObjectLog(t.Context(), &metadatav1.ObjectLogRequest{Object: objectNamed("c")}))(t)
		if len(log.GetChanges()) != 1 || log.GetNextPageToken() != "" || log.GetChanges()[0].GetDiff().GetDiff() != metadatav1.DiffKind_DIFF_KIND_CHANGED {
			t.Errorf("%s: the log of c is %v", protocol, log)
		}
	}
}

// What the member lacks others have: it says so, and never leaves it out.
func TestHistoryThatTheMemberLacks(t *testing.T) {
	w := lived(t)
	w.member.pasts[0].first = 3
	for _, call := range []asker{
		read(&metadatav1.ReadChangesRequest{Selection: selection(0, 0)}),
		streamed(&metadatav1.StreamChangesRequest{Selection: selection(0, 0)}),
		logOf(&metadatav1.ObjectLogRequest{Object: objectNamed("c"), OldestFirst: true}),
	} {
		for _, client := range historians(w) {
			wantFailure(t, call(t.Context(), client), connect.CodeUnavailable, "HISTORY_GAP", "member 9")
		}
	}
	for protocol, client := range historians(w) {
		r := &metadatav1.ObjectLogRequest{Object: objectNamed("c")}
		page := must(client.ObjectLog(t.Context(), r))(t)
		if len(page.GetChanges()) != 1 || page.GetNextPageToken() == "" {
			t.Errorf("%s: what it has of c is %v", protocol, page)
		}
		r.PageToken = page.GetNextPageToken()
		_, err := client.ObjectLog(t.Context(), r)
		wantFailure(t, err, connect.CodeUnavailable, "HISTORY_GAP", "member 9")
	}
}

func TestHistoryTokensOfSomethingElse(t *testing.T) {
	w := lived(t)
	client := historians(w)["grpc"]
	r := &metadatav1.ListTablesAsOfRequest{At: atRevision(3), PageSize: 1}
	good := must(client.ListTablesAsOf(t.Context(), r))(t).GetNextPageToken()
	wantBad := func(name string, err error) {
		t.Helper()
		failed := wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD")
		if fields := fieldsOf(failed); len(fields) != 1 || fields[0] != "page_token" {
			t.Errorf("%s: %v", name, failed)
		}
	}
	r.PageToken = good[:len(good)-2] + "AA"
	_, err := client.ListTablesAsOf(t.Context(), r)
	wantBad("a damaged token", err)
	r.PageToken, r.At = good, atRevision(2)
	_, err = client.ListTablesAsOf(t.Context(), r)
	wantBad("a token of another revision", err)
	_, err = client.GetTopologyAsOf(t.Context(), &metadatav1.GetTopologyAsOfRequest{At: atRevision(3), PageToken: good})
	wantBad("a token of another rpc", err)
	for rpc, call := range map[listing]asker{
		readChanges:   read(&metadatav1.ReadChangesRequest{Selection: ofSchema(), PageToken: forged(readChanges, 4, filterHash(encodingOf(ofSchema()), []byte{0}), nil)}),
		diffRevisions: compared(&metadatav1.DiffRevisionsRequest{Stream: schemaStream, From: atRevision(1), PageToken: forged(diffRevisions, 4, filterHash([]byte{1}, encodingOf(atRevision(1)), nil, nil), []byte{0xff})}),
		objectLog:     logOf(&metadatav1.ObjectLogRequest{Object: objectNamed("c"), PageToken: forged(objectLog, 4, filterHash(encodingOf(objectNamed("c")), []byte{0, 0, 0}), []byte{9})}),
	} {
		wantBad(fmt.Sprint("a forged token of rpc ", rpc), call(t.Context(), client))
	}
	foreign := &token{rpc: listTablesAsOf, cluster: events.ClusterID{9}, epoch: 1, revision: 3, filter: filterHash(nil, encodingOf(atRevision(3)))}
	_, err = client.ListTablesAsOf(t.Context(), &metadatav1.ListTablesAsOfRequest{At: atRevision(3), PageToken: foreign.encode()})
	wantFailure(t, err, connect.CodeAborted, "PAGE_REVISION_GONE")
	ahead := forged(listTablesAsOf, 9, filterHash(nil, encodingOf(atRevision(9))), nil)
	_, err = client.ListTablesAsOf(t.Context(), &metadatav1.ListTablesAsOfRequest{At: atRevision(9), PageToken: ahead})
	wantFailure(t, err, connect.CodeOutOfRange, "FUTURE_REVISION")
}

// forged is a token of this cluster with a good checksum.
func forged(rpc listing, revision uint64, filter [filterBytes]byte, cursor []byte) string {
	t := &token{rpc: rpc, cluster: testCluster, epoch: 1, revision: revision, filter: filter, cursor: cursor}
	return t.encode()
}

// Long reads of history have places of their own, and end when the server drains.
func TestHistoryStreamsHaveTheirPlaces(t *testing.T) {
	w := start(t, Options{Limits: Limits{HistoryStreams: 1}})
	client := historians(w)["grpc"]
	follow := &metadatav1.StreamChangesRequest{Selection: ofSchema(), Follow: true}
	stream := must(client.StreamChanges(t.Context(), follow))(t)
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	_, err := collect(client.StreamChanges(t.Context(), follow))
	wantFailure(t, err, connect.CodeResourceExhausted, "LIMIT_REACHED", "1 history_streams")
	must(client.ReadChanges(t.Context(), &metadatav1.ReadChangesRequest{Selection: ofSchema()}))(t)
	w.server.Drain()
	for stream.Receive() {
		continue
	}
	wantFailure(t, stream.Err(), connect.CodeUnavailable, "STOPPING")
}
