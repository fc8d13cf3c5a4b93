// Package sleep is the handler that waits for as long as the payload says.
package sleep

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// New returns the handler that sleeps for the payload's "seconds", reports its
// progress every second, and returns the payload: {"seconds":0.5}. It has no
// settings.
func New(settings handlers.Settings) (handlers.Handler, error) {
	if err := settings.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return handlers.Described(handlers.Typed(sleep), handlers.Description{
		Description: "Sleeps for some seconds and reports its progress.",
		Usage:       `"seconds" is a number, not negative. The result is the payload.`,
		Schema: handlers.Result(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",` +
			`"properties":{"seconds":{"type":"number","minimum":0,"maximum":4611686018,"description":"how long to sleep"}},` +
			`"required":["seconds"],"additionalProperties":false}`),
		Example: handlers.Result(`{"seconds":10}`),
	}), nil
}

type payload struct {
	Seconds *float64 `json:"seconds"`
}

func sleep(ctx context.Context, req *handlers.Request, p payload) (*payload, error) {
	const want = `must be a number that is not negative, such as {"seconds": 0.5}`
	if p.Seconds == nil {
		return nil, handlers.Permanent(fmt.Errorf(`missing "seconds": %s`, want))
	}
	if *p.Seconds < 0 || *p.Seconds > clock.MaxSeconds {
		return nil, handlers.Permanent(fmt.Errorf(`invalid "seconds" %v: %s`, *p.Seconds, want))
	}
	if err := wait(ctx, req, clock.Seconds(*p.Seconds)); err != nil {
		return nil, err
	}
	return &p, nil
}

// wait reports its progress in seconds: every second, but at most about a thousand
// times.
func wait(ctx context.Context, req *handlers.Request, d time.Duration) error {
	total := int64(math.Ceil(d.Seconds()))
	step := max(time.Second, d/1000)
	start := time.Now()
	for past := time.Duration(0); past < d; past = time.Since(start) {
		req.Progress(int64(past/time.Second), total, "sleeping")
		if err := clock.Sleep(ctx, min(step, d-past)); err != nil {
			return err
		}
	}
	req.Progress(total, total, "sleeping")
	return nil
}
