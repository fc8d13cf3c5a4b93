// Package worker is the reference's example of a task that succeeds.
package worker

import (
	"context"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// New returns the handler that works for the setting "duration", 20 s by default,
// and returns {"yeah":1234123,"yiya":"yippie"}.
func New(settings handlers.Settings) (handlers.Handler, error) {
	conf := struct {
		Duration handlers.Duration `json:"duration"`
	}{handlers.Duration(20 * time.Second)}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	return handlers.Described(handlers.Func(func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
		if err := clock.Sleep(ctx, time.Duration(conf.Duration)); err != nil {
			return nil, err
		}
		return handlers.Result(`{"yeah":1234123,"yiya":"yippie"}`), nil
	}), handlers.Description{
		Description: "An example: works for a while and succeeds.",
		Usage:       "Any payload is valid and ignored.",
	}), nil
}
