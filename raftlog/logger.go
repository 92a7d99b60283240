package raftlog

import (
	"context"
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// raftLogger gives raft's own log lines to slog. Fatal panics: ending the process
// is not for a library.
type raftLogger struct{ l *slog.Logger }

var _ raft.Logger = raftLogger{}

func (r raftLogger) log(level slog.Level, f func() string) {
	if r.l.Enabled(context.Background(), level) {
		r.l.Log(context.Background(), level, f())
	}
}

func (r raftLogger) print(level slog.Level, v []any) {
	r.log(level, func() string { return fmt.Sprint(v...) })
}

func (r raftLogger) printf(level slog.Level, format string, v []any) {
	r.log(level, func() string { return fmt.Sprintf(format, v...) })
}

func (r raftLogger) Debug(v ...any)              { r.print(slog.LevelDebug, v) }
func (r raftLogger) Debugf(f string, v ...any)   { r.printf(slog.LevelDebug, f, v) }
func (r raftLogger) Info(v ...any)               { r.print(slog.LevelDebug, v) }
func (r raftLogger) Infof(f string, v ...any)    { r.printf(slog.LevelDebug, f, v) }
func (r raftLogger) Warning(v ...any)            { r.print(slog.LevelWarn, v) }
func (r raftLogger) Warningf(f string, v ...any) { r.printf(slog.LevelWarn, f, v) }
func (r raftLogger) Error(v ...any)              { r.print(slog.LevelError, v) }
func (r raftLogger) Errorf(f string, v ...any)   { r.printf(slog.LevelError, f, v) }
func (r raftLogger) Fatal(v ...any)              { r.Panic(v...) }
func (r raftLogger) Fatalf(f string, v ...any)   { r.Panicf(f, v...) }

func (r raftLogger) Panic(v ...any) {
	r.Error(v...)
	panic(fmt.Sprint(v...))
}

func (r raftLogger) Panicf(f string, v ...any) {
	r.Errorf(f, v...)
	panic(fmt.Sprintf(f, v...))
}

func progressState(s tracker.StateType) string {
	switch s {
	case tracker.StateReplicate:
		return "replicate"
	case tracker.StateSnapshot:
		return "snapshot"
	}
	return "probe"
}
