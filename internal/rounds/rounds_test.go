package rounds_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rounds"
	"github.com/taskerhq/tasker/internal/wire"
)

type fake struct {
	outcome tasker.RetryOutcome
	err     error
	sent    []string
}

func (f *fake) RetryTask(context.Context, tasker.RetryRequest) (tasker.RetryOutcome, error) {
	return f.outcome, f.err
}

func (f *fake) SendControl(_ context.Context, endpoints []string, body []byte) error {
	hint, err := wire.DecodeControl(body)
	f.sent = append(f.sent, fmt.Sprintf("%s %d %s %t %v", hint.Command, hint.TaskID, hint.Type, hint.SpreadMS > 0, endpoints))
	return errors.Join(err, errors.New("the broker is away"))
}

// Endpoints with a result look at what waits, and those without for the task. Nobody
// waits for the hint.
func TestHints(t *testing.T) {
	t.Parallel()
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("e%03d", i)
	}
	for name, test := range map[string]struct {
		retried, missing []string
		dryRun           bool
		err              error
		sent             []string
	}{
		"some wait":          {retried: []string{"a", "b"}, sent: []string{"retry 7 backup false [a b]"}},
		"some are missing":   {retried: []string{"a", "b", "c"}, missing: []string{"b"}, sent: []string{"retry 7 backup false [a c]", "receive 7 backup false [b]"}},
		"all are missing":    {retried: []string{"a"}, missing: []string{"a"}, sent: []string{"receive 7 backup false [a]"}},
		"many wait":          {retried: many, sent: []string{"retry 7 backup true []"}},
		"many are missing":   {retried: many, missing: many},
		"a dry run":          {retried: []string{"a"}, dryRun: true},
		"nothing is retried": {err: tasker.Errorf(tasker.Conflict, "nothing to retry")},
	} {
		f := &fake{err: test.err, outcome: tasker.RetryOutcome{
			Task: tasker.Task{ID: 7, Type: "backup"}, Retried: test.retried, Missing: test.missing,
		}}
		request := tasker.RetryRequest{DryRun: test.dryRun}
		_, err := rounds.New(f, f, slog.New(slog.DiscardHandler)).Retry(t.Context(), request)
		if !errors.Is(err, test.err) || !slices.Equal(f.sent, test.sent) {
			t.Errorf("%s: %v, sent %q", name, err, f.sent)
		}
	}
}
