package raftlog_test

import (
	"strings"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
)

// What another build wrote is not rebuilt from members that run it.
func TestFormatErrorsSayWhatToDo(t *testing.T) {
	old := (&raftlog.FormatError{What: "directory", Have: 1, Know: 3}).Error()
	if !strings.Contains(old, "start anew: stop all members") || strings.Contains(old, "rebuilt") {
		t.Errorf("an older build's: %s", old)
	}
	if newer := (&raftlog.FormatError{What: "directory", Have: 4, Know: 3}).Error(); !strings.Contains(newer, "upgrade this member") {
		t.Errorf("a newer build's: %s", newer)
	}
}
