package fleetsize_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/fleetsize"
)

type endpoints struct {
	n, calls int
	since    time.Time
	err      error
}

func (e *endpoints) CountSeen(_ context.Context, since time.Time) (int, error) {
	e.calls++
	e.since = since
	return e.n, e.err
}

func TestStretch(t *testing.T) {
	now := time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)
	e := &endpoints{}
	c := fleetsize.New(e, func() time.Time { return now })
	want := func(stretched time.Duration) {
		t.Helper()
		if got := c.Stretch(time.Minute); got != stretched {
			t.Errorf("%d endpoints: %s, want %s", e.n, got, stretched)
		}
	}
	want(time.Minute) // unknown yet
	for _, step := range []struct {
		n    int
		want time.Duration
	}{
		{0, time.Minute},
		{100, time.Minute},
		{400, 2 * time.Minute},
		{10_000, 10 * time.Minute},
		{8100, 9 * time.Minute},
		{81, 0}, // few are back after an outage
	} {
		e.n = step.n
		if err := c.Count(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if step.n == 81 {
			if got := c.Stretch(time.Minute); got < 8*time.Minute || got >= 9*time.Minute {
				t.Errorf("after an outage: %s", got)
			}
			continue
		}
		want(step.want)
	}
	if !e.since.Equal(now.Add(-15 * time.Minute)) {
		t.Errorf("counted those seen since %s", e.since)
	}
}

// It counts as often as it is asked to, and keeps the number after an error.
func TestCount(t *testing.T) {
	e := &endpoints{n: 400}
	c := fleetsize.New(e, time.Now)
	for range 3 {
		if err := c.Count(t.Context(), time.Hour); err != nil || e.calls != 1 {
			t.Errorf("%d calls, %v", e.calls, err)
		}
	}
	e.err = errors.New("away")
	if err := c.Count(t.Context(), 0); !errors.Is(err, e.err) || c.Stretch(time.Minute) != 2*time.Minute {
		t.Errorf("%v, %s", err, c.Stretch(time.Minute))
	}
}
