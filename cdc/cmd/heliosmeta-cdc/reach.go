package main

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

const (
	// reachEvery is between two questions whether the service can be reached.
	reachEvery = 2 * time.Second
	// reachPatience is how long an answer may take before people are told that there is none.
	reachPatience = 3 * time.Second
)

// reach tells people when the service cannot be used, and when it can be again. The client tries on
// without a word, and a consumer without changes looks the same.
type reach struct {
	ask       func(context.Context) error // something of which the consumer needs the answer
	endpoints []string
	log       *slog.Logger
}

// watch asks again and again until the context ends.
func (r *reach) watch(ctx context.Context) {
	var away time.Time // since when there is no answer; zero: there is
	ticker := time.NewTicker(reachEvery)
	defer ticker.Stop()
	for {
		began := time.Now()
		err := r.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && away.IsZero():
			away = began
			r.log.Warn("the service cannot be used; trying on until it can", "endpoints", strings.Join(r.endpoints, ","), "error", err)
		case err == nil && !away.IsZero():
			r.log.Info("the service can be used again", "after", time.Since(away).Round(time.Second))
			away = time.Time{}
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (r *reach) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	return r.ask(ctx)
}
