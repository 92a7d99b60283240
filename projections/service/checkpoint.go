package service

import (
	"errors"
	"fmt"

	"github.com/heliosdb/metadata/projections/internal/fold"
	"google.golang.org/protobuf/encoding/protowire"
)

// Export yields the records of a checkpoint: consumers by name, signed heads by stream
// and revision, floors by stream. Equal models yield equal bytes. A record is valid
// until yield returns. It stops at the first error, which it returns.
func (m *Model) Export(yield func(record []byte) error) error {
	var buf []byte
	write := func(num protowire.Number, raw string) error {
		buf = fold.AppendRecord(buf[:0], num, raw)
		return yield(buf)
	}
	for c := range m.consumers.All() {
		if err := write(fold.RecordConsumer, c.raw); err != nil {
			return err
		}
	}
	for p := range m.pasts.All() {
		for _, h := range p.heads {
			if err := write(fold.RecordSignedHead, h.raw); err != nil {
				return err
			}
		}
	}
	for p := range m.pasts.All() {
		if p.floor.OldestRevision() == 0 {
			continue
		}
		if err := write(fold.RecordHistoryFloor, p.floor.raw); err != nil {
			return err
		}
	}
	return nil
}

// Restorer returns a restorer of models from what Export yields. The model that
// it is called on does not matter.
func (m *Model) Restorer() fold.Restorer[*Model] { return &restorer{New().Draft()} }

// restorer has the records mean what events about the same objects do.
type restorer struct{ d *Draft }

func (r *restorer) Restore(record []byte) error {
	num, _, value, err := fold.SplitRecord(record)
	if err != nil {
		return err
	}
	var why string
	switch num {
	case fold.RecordConsumer:
		why = r.d.addConsumer(value)
	case fold.RecordSignedHead:
		why = r.d.addSignedHead(value)
	case fold.RecordHistoryFloor:
		why = r.d.raiseFloor(value)
	default:
		why = fmt.Sprintf("record %d does not belong to the service stream", num)
	}
	if why != "" {
		return errors.New("a checkpoint is damaged: " + why)
	}
	return nil
}

func (r *restorer) Done() (*Model, error) { return r.d.Freeze(), nil }
