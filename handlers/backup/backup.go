// Package backup is the reference's example of a task that fails.
package backup

import (
	"context"
	"errors"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// errnr is the error number with which the example fails.
const errnr = 32

var errBackup = errors.New("could not backup!") //nolint:staticcheck // the reference's message

// New returns the handler that works for the setting "duration", 5 s by default, and
// fails with errnr 32.
func New(settings handlers.Settings) (handlers.Handler, error) {
	conf := struct {
		Duration handlers.Duration `json:"duration"`
	}{handlers.Duration(5 * time.Second)}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	return handlers.Described(handlers.Func(func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
		if err := clock.Sleep(ctx, time.Duration(conf.Duration)); err != nil {
			return nil, err
		}
		return nil, handlers.WithCode(errnr, errBackup)
	}), handlers.Description{
		Description: "An example: works for a while and fails with errnr 32.",
		Usage:       "Any payload is valid and ignored.",
	}), nil
}
