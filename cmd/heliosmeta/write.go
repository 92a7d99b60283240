package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// writeFlags are common to commands that change something.
type writeFlags struct {
	dryRun    bool
	requestID string
	expected  uint64
}

// addWriteFlags adds what all writes take.
func (s *session) addWriteFlags(c *cobra.Command) {
	c.Flags().BoolVar(&s.writing.dryRun, "dry-run", false, "show what would happen, change nothing")
	c.Flags().StringVar(&s.writing.requestID, "request-id", "", "repeat the write with this id to learn its outcome: it takes effect at most once")
}

// addVersionFlag adds the version that the object has to have.
func (s *session) addVersionFlag(c *cobra.Command, what string) {
	c.Flags().Uint64Var(&s.writing.expected, "expected-version", 0, "refuse unless the "+what+" has this version; 0: any")
}

// writeOptions are what the flags say.
func (s *session) writeOptions() *metadatav1.WriteOptions {
	return &metadatav1.WriteOptions{RequestId: s.writing.requestID, DryRun: s.writing.dryRun}
}

// expectedVersion is nil for any.
func (s *session) expectedVersion() *uint64 {
	if s.writing.expected == 0 {
		return nil
	}
	return new(s.writing.expected)
}

// wrote is an answer to a write.
type wrote interface {
	proto.Message
	GetResult() *metadatav1.WriteResult
}

// reportWrite prints an answer to a write: what the sentence says, or the events
// of a dry run.
func (s *session) reportWrite(answer wrote, format string, args ...any) error {
	result := answer.GetResult()
	err := s.printer().Message(answer, func(r *output.Rows) {
		for _, e := range result.GetEvents() {
			r.Text("%s", describeEvent(e))
		}
		switch {
		case s.writing.dryRun && len(result.GetEvents()) == 0, !result.GetChanged():
			r.Text("nothing to change")
		case !s.writing.dryRun:
			r.Text("%s", fmt.Sprintf(format, args...))
		}
	})
	switch {
	case s.writing.dryRun:
		s.say("dry run: nothing was changed")
	case result.GetDeduplicated():
		s.say("an earlier attempt with this request id had taken effect; this is its answer")
	}
	return err
}
