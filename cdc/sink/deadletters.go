package sink

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/heliosdb/metadata/cdc/jsonl"
	"github.com/heliosdb/metadata/cdc/record"
)

// DeadLetters is a file of the changes that a sink will never take, each with the reason,
// as JSON lines:
//
//	{"time":"...","target":"...","reason":"...","change":{...}}
//
// where change is the record. Once the reason is gone, they can be sent by hand.
type DeadLetters struct {
	file   *jsonl.File
	target string
	now    func() time.Time
}

// OpenDeadLetters opens the file of that name, which no other process can have then; target
// says where its changes did not get. The log is told what a crash has left of a line.
func OpenDeadLetters(name, target string, now func() time.Time, log *slog.Logger) (*DeadLetters, error) {
	file, err := jsonl.Open(name, log)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{file, target, now}, nil
}

// Append adds a change. It is on the disk when Append returns.
func (d *DeadLetters) Append(r record.Record, reason string) error {
	text, err := json.Marshal(struct {
		Time   string          `json:"time"`
		Target string          `json:"target"`
		Reason string          `json:"reason"`
		Change json.RawMessage `json:"change"`
	}{d.now().UTC().Format(time.RFC3339Nano), d.target, reason, r.JSON})
	if err != nil {
		return err
	}
	return d.file.Append(append(text, '\n'))
}

// Close closes the file.
func (d *DeadLetters) Close() error { return d.file.Close() }
