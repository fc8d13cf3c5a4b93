package hold_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/hold"
	"github.com/taskerhq/tasker/internal/wire"
)

// fake is a database with one answer, and a broker that keeps the hints.
type fake struct {
	endpoints []string
	scheduled *time.Time
	resumed   bool
	err       error
	sent      [][]string
	commands  []string
}

func (f *fake) Hold(context.Context, tasker.HoldRequest) (tasker.HoldOutcome, error) {
	return tasker.HoldOutcome{TaskID: 7, Endpoints: f.endpoints}, f.err
}

func (f *fake) Resume(context.Context, tasker.HoldSubject) (tasker.EndedHold, bool, error) {
	return tasker.EndedHold{Endpoints: f.endpoints, Scheduled: f.scheduled}, f.resumed, f.err
}

func (f *fake) EndHolds(context.Context, int) ([]tasker.EndedHold, error) {
	return []tasker.EndedHold{{Endpoints: f.endpoints, Scheduled: f.scheduled}}, f.err
}

func (f *fake) SendControl(_ context.Context, endpoints []string, body []byte) error {
	hint, err := wire.DecodeControl(body)
	f.sent, f.commands = append(f.sent, endpoints), append(f.commands, hint.Command)
	return errors.Join(err, errors.New("the broker is down"))
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, "e"+strconv.Itoa(i))
	}
	return names
}

// The endpoints that a hold is about get a hint, few by name and many by one for all;
// the answer does not depend on it. A task that is SCHEDULED is expected to start.
func TestHints(t *testing.T) {
	start := time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)
	for name, test := range map[string]struct {
		fake  fake
		do    func(h *hold.Holder) error
		named int // endpoints in the hint; -1 means that there is no hint
	}{
		"hold":            {fake{endpoints: many(2)}, holdOne, 2},
		"hold many":       {fake{endpoints: many(101)}, holdOne, 0},
		"hold in vain":    {fake{endpoints: many(2), err: errors.New("down")}, holdOne, -1},
		"resume":          {fake{endpoints: many(100), resumed: true, scheduled: &start}, resumeOne, 100},
		"resume nothing":  {fake{endpoints: many(2)}, resumeOne, -1},
		"without targets": {fake{resumed: true, scheduled: &start}, resumeOne, -1},
		"end":             {fake{endpoints: many(3), scheduled: &start}, func(h *hold.Holder) error { return h.EndOver(t.Context()) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := test.fake
			var expected []time.Time
			h := hold.New(&f, &f, func(at time.Time) { expected = append(expected, at) }, slog.New(slog.DiscardHandler))
			if err := test.do(h); !errors.Is(err, f.err) {
				t.Errorf("the error is %v", err)
			}
			switch {
			case test.named < 0 && len(f.sent) > 0, test.named >= 0 && (len(f.sent) != 1 || len(f.sent[0]) != test.named):
				t.Errorf("hints to %v", f.sent)
			case test.named >= 0 && !slices.Equal(f.commands, []string{wire.CommandHold}):
				t.Errorf("hints about %v", f.commands)
			}
			if f.scheduled != nil && !slices.Equal(expected, []time.Time{start}) {
				t.Errorf("expected to start at %v", expected)
			}
		})
	}
}

func holdOne(h *hold.Holder) error {
	_, err := h.Hold(context.Background(), tasker.HoldRequest{})
	return err
}

func resumeOne(h *hold.Holder) error {
	_, err := h.Resume(context.Background(), tasker.HoldSubject{})
	return err
}
