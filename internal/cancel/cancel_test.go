package cancel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/cancel"
	"github.com/taskerhq/tasker/internal/wire"
)

type fake struct {
	outcome   tasker.CancelOutcome
	err       error
	endpoints []string
	hints     []wire.Control
}

func (f *fake) CancelTask(context.Context, tasker.CancelRequest) (tasker.CancelOutcome, error) {
	return f.outcome, f.err
}

func (f *fake) SendControl(_ context.Context, endpoints []string, body []byte) error {
	hint, err := wire.DecodeControl(body)
	f.hints, f.endpoints = append(f.hints, hint), endpoints
	return errors.Join(err, errors.New("the broker is away"))
}

// The endpoints that run the task get a hint, and nobody waits for it.
func TestHints(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("e", i)
	}
	for name, test := range map[string]struct {
		stopping, hinted []string
		err              error
		hints            int
	}{
		"nothing runs":    {nil, nil, nil, 0},
		"some run":        {[]string{"a", "b"}, []string{"a", "b"}, nil, 1},
		"many run":        {many, nil, nil, 1},
		"nothing stopped": {[]string{"a"}, nil, tasker.Errorf(tasker.Conflict, "it has ended"), 0},
	} {
		f := &fake{outcome: tasker.CancelOutcome{Task: tasker.Task{ID: 7}, Stopping: test.stopping}, err: test.err}
		_, err := cancel.New(f, f, slog.New(slog.DiscardHandler)).Cancel(t.Context(), tasker.CancelRequest{})
		if !errors.Is(err, test.err) || len(f.hints) != test.hints || !slices.Equal(f.endpoints, test.hinted) {
			t.Errorf("%s: %v, hints %v to %v", name, err, f.hints, f.endpoints)
		}
		if len(f.hints) > 0 && (f.hints[0].TaskID != 7 || f.hints[0].Command != wire.CommandCancel) {
			t.Errorf("%s: %+v", name, f.hints)
		}
	}
}
