package handlers

import (
	"context"
	"fmt"
	"math"
	"time"
)

// NewSleep makes the handler that sleeps for the payload's "seconds", a number
// of 0 and more, tells each second how far it is, and answers with what it
// slept: {"seconds":0.5}. It has no settings.
func NewSleep(settings Settings) (Handler, error) {
	if err := settings.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return Described(Typed(sleep), Description{
		Description: "Sleeps for some seconds, and tells how far it is.",
		Usage:       `Give "seconds", a number of 0 and more. It answers with what it slept.`,
		Schema: Result(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",` +
			`"properties":{"seconds":{"type":"number","minimum":0,"maximum":4611686018,"description":"how long to sleep"}},` +
			`"required":["seconds"],"additionalProperties":false}`),
		Example: Result(`{"seconds":10}`),
	}), nil
}

type sleepPayload struct {
	Seconds *float64 `json:"seconds"`
}

func sleep(ctx context.Context, req *Request, payload sleepPayload) (*sleepPayload, error) {
	const such = `give a number of 0 and more, such as {"seconds": 0.5}`
	if payload.Seconds == nil {
		return nil, Permanent(fmt.Errorf(`the payload has no "seconds": %s`, such))
	}
	if seconds := *payload.Seconds; seconds < 0 || seconds > math.MaxInt64/float64(time.Second)/2 {
		return nil, Permanent(fmt.Errorf(`"seconds" is %v: %s`, seconds, such))
	}
	if err := pauseAndTell(ctx, req, time.Duration(*payload.Seconds*float64(time.Second))); err != nil {
		return nil, err
	}
	return &payload, nil
}

// pauseAndTell is a pause that shows its progress in seconds: every second, or
// a thousand times where it is longer than that.
func pauseAndTell(ctx context.Context, req *Request, d time.Duration) error {
	total := int64(math.Ceil(d.Seconds()))
	step := max(time.Second, d/1000)
	start := time.Now()
	for past := time.Duration(0); past < d; past = time.Since(start) {
		req.Progress(int64(past/time.Second), total, "sleeping")
		if err := pause(ctx, min(step, d-past)); err != nil {
			return err
		}
	}
	req.Progress(total, total, "sleeping")
	return nil
}

// pause waits for d, or until ctx ends, whose cause it then gives.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
