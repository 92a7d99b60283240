// Package record is a change as it leaves the service: one JSON object that says all of
// it, with an id that names it for ever. It is pure.
//
//	{"id":"CLUSTER/0/schema/12","cluster":"CLUSTER","recoveryEpoch":0,"stream":"schema","revision":12,
//	 "time":"2026-01-02T03:04:05.678Z","actor":"ada","requestId":"...","events":[{"tableCreated":{...}}]}
//
// Events are in the contract's own JSON form. A change of which the consumer's filter has
// left events out has "partial":true besides. Fields that are empty are left out, but for
// those of the id and the events.
//
// It refuses what it does not understand all of: a change of a newer service would lose
// what this build has no field for.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Mixed is the kind of a change whose events are of several kinds.
const Mixed = "mixed"

// Record is a change and how it is written. It is immutable.
type Record struct {
	ID      string
	Cluster string
	Stream  string // "schema" or "topology"
	Time    time.Time
	// Kind is what happened, named as in the events' JSON, such as "tableCreated"; Mixed if
	// several kinds of things did.
	Kind string
	// Subject is the object that it happened to, such as "table/public.users"; empty if
	// there are several.
	Subject string
	// JSON is the change on one line, without the line's end.
	JSON []byte
}

// line is the form of Record.JSON.
type line struct {
	ID            string            `json:"id"`
	Cluster       string            `json:"cluster"`
	RecoveryEpoch uint64            `json:"recoveryEpoch"`
	Stream        string            `json:"stream"`
	Revision      uint64            `json:"revision"`
	Time          string            `json:"time"`
	Actor         string            `json:"actor,omitempty"`
	RequestID     string            `json:"requestId,omitempty"`
	Partial       bool              `json:"partial,omitempty"`
	Events        []json.RawMessage `json:"events"`
}

// Of returns the record of a delivery. It fails for changes that need a newer build.
func Of(d client.Delivery) (Record, error) {
	change := d.Change
	if change.GetFeatureLevel() > events.FeatureLevel {
		return Record{}, fmt.Errorf("change %s is of feature level %d, this program knows up to %d: update heliosmeta-cdc",
			d.ID(), change.GetFeatureLevel(), events.FeatureLevel)
	}
	r := Record{ID: d.ID(), Cluster: d.ClusterID, Stream: events.StreamName(d.Stream), Time: change.GetTime().AsTime()}
	l := line{
		ID: r.ID, Cluster: r.Cluster, RecoveryEpoch: d.RecoveryEpoch, Stream: r.Stream, Revision: change.GetRevision(),
		Time: r.Time.Format(time.RFC3339Nano), Actor: change.GetActor(), RequestID: change.GetRequestId(), Partial: change.GetPartial(),
		Events: []json.RawMessage{},
	}
	for i, event := range change.GetEvents() {
		kind := kindOf(event)
		if kind == "" {
			return Record{}, fmt.Errorf("change %s has an event of a kind that this program does not know: update heliosmeta-cdc", r.ID)
		}
		text, err := protojson.Marshal(event)
		if err != nil {
			return Record{}, fmt.Errorf("change %s cannot be written as JSON: %w", r.ID, err)
		}
		l.Events = append(l.Events, text)
		subject := subjectOf(event)
		if i == 0 {
			r.Kind, r.Subject = kind, subject
		}
		if r.Kind != kind {
			r.Kind = Mixed
		}
		if r.Subject != subject {
			r.Subject = ""
		}
	}
	var err error
	r.JSON, err = encode(l)
	return r, err
}

// encode writes JSON on one line. What protojson varies on purpose, its spaces, is gone
// from it.
func encode(l line) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(l); err != nil {
		return nil, fmt.Errorf("change %s cannot be written as JSON: %w", l.ID, err)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// kindOf is the name of an event's kind in its JSON; empty if this build has none for it.
func kindOf(e *metadatav1.Event) string {
	m := e.ProtoReflect()
	kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	if kind == nil {
		return ""
	}
	return kind.JSONName()
}

// subjectOf names the object that an event is about: of a shard that was split its parent,
// of shards that were joined the new one.
func subjectOf(e *metadatav1.Event) string {
	if split := e.GetShardSplit(); split != nil {
		return fmt.Sprint("shard/", split.GetParent().GetShardId())
	}
	m := e.ProtoReflect()
	fact := m.Get(m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))).Message()
	object := fact.Descriptor().Fields().ByNumber(1) // by contract
	if object == nil || object.Message() == nil || object.IsList() {
		return ""
	}
	switch o := fact.Get(object).Message().Interface().(type) {
	case *metadatav1.Namespace:
		return "namespace/" + o.GetName()
	case *metadatav1.TableSchema:
		return "table/" + o.GetNamespace() + "." + o.GetName()
	case *metadatav1.NodeInfo:
		return "node/" + o.GetNodeId()
	case *metadatav1.ShardInfo:
		return fmt.Sprint("shard/", o.GetShardId())
	}
	return ""
}
