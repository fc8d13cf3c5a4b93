package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// NewSleep makes the handler that sleeps for the payload's "seconds", a number
// of 0 and more, and answers with what it slept: {"seconds":0.5}. It has no
// settings.
func NewSleep(settings Settings) (Handler, error) {
	if err := settings.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	return Func(sleep), nil
}

func sleep(ctx context.Context, req *Request) (Result, error) {
	var payload struct {
		Seconds *float64 `json:"seconds"`
	}
	dec := json.NewDecoder(bytes.NewReader(req.Payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&payload); err != nil {
		return nil, Permanent(fmt.Errorf(`the payload must be an object such as {"seconds": 0.5}: %w`, err))
	}
	if payload.Seconds == nil {
		return nil, Permanent(fmt.Errorf(`the payload has no "seconds": give a number of 0 and more, such as {"seconds": 0.5}`))
	}
	seconds := *payload.Seconds
	if seconds < 0 || seconds > math.MaxInt64/float64(time.Second)/2 {
		return nil, Permanent(fmt.Errorf(`"seconds" is %v: give a number of 0 and more, such as {"seconds": 0.5}`, seconds))
	}
	if err := pause(ctx, time.Duration(seconds*float64(time.Second))); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]float64{"seconds": seconds})
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
