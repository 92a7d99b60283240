package main

import (
	"encoding/json"
	"fmt"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// printEntry prints a change of a log.
func (s *session) printEntry(e entry) error {
	if s.format != output.Table && e.object != nil {
		return s.printer().Line(e.object)
	}
	if s.format != output.Table {
		text, err := output.Encode(e.change)
		if err != nil {
			return err
		}
		return s.printer().ValueLine(struct {
			Stream string          `json:"stream"`
			Change json.RawMessage `json:"change"`
		}{streamName(e.stream), text}, nil)
	}
	return s.printer().Rows(func(r *output.Rows) {
		r.Text("%s", changeHead(e.info()))
		events := e.change.GetEvents()
		if e.object != nil {
			events = e.object.GetEvents()
		}
		for _, event := range events {
			r.Text("    %s", describeEvent(event))
		}
		if e.object != nil {
			diffLines(r, "      ", e.object.GetDiff())
		}
	})
}

// changeHead is who changed something and when, on one line.
func changeHead(c *metadatav1.ChangeInfo) string {
	head := fmt.Sprintf("%s %d %s", streamName(c.GetStream()), c.GetRevision(), showTime(c.GetTime()))
	if c.GetActor() != "" {
		head += " by " + c.GetActor()
	}
	if c.GetRequestId() != "" {
		head += " (request " + c.GetRequestId() + ")"
	}
	return head
}

// bookkeeping are fields that follow from which change it is: people are not shown them.
var bookkeeping = map[string]bool{
	"version": true, "createdRevision": true, "createTime": true, "updatedRevision": true, "updateTime": true, "registeredRevision": true,
}

// diffLines has a line for each field that differs.
func diffLines(r *output.Rows, indent string, d *metadatav1.ObjectDiff) {
	for _, f := range d.GetFields() {
		switch {
		case bookkeeping[f.GetPath()]:
		case f.GetBefore() == "":
			r.Text("%s+ %s: %s", indent, f.GetPath(), f.GetAfter())
		case f.GetAfter() == "":
			r.Text("%s- %s: %s", indent, f.GetPath(), f.GetBefore())
		default:
			r.Text("%s~ %s: %s -> %s", indent, f.GetPath(), f.GetBefore(), f.GetAfter())
		}
	}
}

// diffKinds are how an object differs, as people read it.
var diffKinds = map[metadatav1.DiffKind]string{
	metadatav1.DiffKind_DIFF_KIND_ADDED:   "added",
	metadatav1.DiffKind_DIFF_KIND_REMOVED: "removed",
	metadatav1.DiffKind_DIFF_KIND_CHANGED: "changed",
}

// objectDiffRows is how an object differs.
func objectDiffRows(r *output.Rows, d *metadatav1.ObjectDiff) {
	how, known := diffKinds[d.GetDiff()]
	if !known {
		how = "made and removed again"
	}
	r.Text("%s %s %s", objectKindName(d.GetKind()), d.GetName(), how)
	diffLines(r, "  ", d)
}
