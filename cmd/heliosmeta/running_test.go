package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/heliosdb/metadata/raftlog/pebblestore"
)

// A supervisor starts the next process while the system still takes the killed one apart.
func TestAMemberWaitsForADirectoryThatIsBeingLeft(t *testing.T) {
	dir := t.TempDir()
	left, err := pebblestore.Open(dir, pebblestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	time.AfterFunc(directoryPatience/10, func() { closed <- left.Close() })

	p := &process{flags: &serveFlags{data: dir}, log: slog.New(slog.DiscardHandler)}
	store, err := p.openStore()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
