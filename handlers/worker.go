package handlers

import (
	"context"
	"time"
)

// NewWorker makes the reference's example of a task that ends well: it works
// for the setting "duration" (20 s by default) and answers
// {"yeah":1234123,"yiya":"yippie"}.
func NewWorker(settings Settings) (Handler, error) {
	conf := struct {
		Duration Duration `json:"duration"`
	}{Duration(20 * time.Second)}
	if err := settings.Decode(&conf); err != nil {
		return nil, err
	}
	return Described(Func(func(ctx context.Context, _ *Request) (Result, error) {
		if err := pause(ctx, time.Duration(conf.Duration)); err != nil {
			return nil, err
		}
		return Result(`{"yeah":1234123,"yiya":"yippie"}`), nil
	}), Description{
		Description: "An example: works for a while and ends well.",
		Usage:       "It takes any payload and does not look at it.",
	}), nil
}
