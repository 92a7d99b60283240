package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/check"
	"github.com/heliosdb/metadata/cmd/heliosmeta/internal/output"
	"github.com/heliosdb/metadata/raftlog"
)

func (s *session) checkCommand() *cobra.Command {
	data := defaultData
	c := &cobra.Command{
		Use: "check", Short: "Verify a stopped member's files from end to end",
		Long: `Verify a stopped member's files from end to end: checksums, the log against what was
promised, the history's digest chain, the checkpoints and the models in them.

It changes nothing. A warning is about what cannot be told from damage, such as a log that ends
in the middle of a write, as it does after a crash, or about damage that a start does not
need or repairs: an older checkpoint, one of two copies. The exit code is 0 if the directory is sound, 1 if it is damaged,
3 if nothing is stored there, 4 if the member is in quarantine, 5 if it is running.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return s.check(data) },
	}
	c.Flags().StringVar(&data, "data", data, "directory of the member's data")
	return c
}

// checkCodes are the exit codes of what a check finds.
var checkCodes = map[check.Verdict]int{
	check.Sound: exitOK, check.Damaged: exitError, check.Blank: exitNotFound, check.Quarantine: exitConflict,
}

func (s *session) check(dir string) error {
	report, err := check.Run(dir)
	if inUse, ok := errors.AsType[*raftlog.InUseError](err); ok {
		s.sayError(fmt.Errorf("data directory %s is in use by another process: stop the member to check it", inUse.Path))
		return &toldError{exitUnavailable}
	}
	if err != nil {
		return err
	}
	if err := s.printer().Value(report, func(r *output.Rows) { checkRows(r, report) }); err != nil {
		return err
	}
	if code := checkCodes[report.Verdict]; code != exitOK {
		s.sayError(errors.New(report.Summary()))
		return &toldError{code}
	}
	s.say("%s", report.Summary())
	return nil
}

func checkRows(r *output.Rows, report *check.Report) {
	if report.Member != 0 {
		r.Text("member %d of cluster %q (id %s)", report.Member, report.ClusterName, report.ClusterID)
	}
	if len(report.Parts) == 0 {
		return
	}
	r.Row("PART", "STREAM", "FOUND", "HOLDS")
	for _, p := range report.Parts {
		found := "sound"
		switch {
		case p.Name == "mark":
			found = "read" // of the directory it says the opposite
		case p.Problem != "":
			found = "DAMAGED"
		case p.Warning != "":
			found = "warning"
		}
		r.Row(p.Name, p.Stream, found, p.Holds)
	}
	for _, p := range report.Parts {
		if text := cmp.Or(p.Problem, p.Warning); text != "" {
			r.Text("%s: %s", strings.TrimSpace(p.Name+" "+p.Stream), text)
		}
	}
	if report.NotCovered != "" {
		r.Text("not covered: %s", report.NotCovered)
	}
}
