package pebblestore

import (
	"fmt"
	"log/slog"
)

// pebbleLogger passes Pebble's log lines on. Fatalf must not return: Pebble goes on
// as if nothing had happened otherwise.
type pebbleLogger struct {
	l     *slog.Logger
	fatal func(error)
}

func (p pebbleLogger) Infof(f string, args ...any)  { p.l.Debug(fmt.Sprintf(f, args...)) }
func (p pebbleLogger) Errorf(f string, args ...any) { p.l.Error(fmt.Sprintf(f, args...)) }
func (p pebbleLogger) Fatalf(f string, args ...any) {
	p.fatal(fmt.Errorf("pebblestore: "+f, args...))
}
