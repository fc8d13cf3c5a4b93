package clock_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

func TestSleep(t *testing.T) {
	if err := clock.Sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := clock.Sleep(ctx, time.Hour); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause of the context's end", err)
	}
}

func TestAround(t *testing.T) {
	for range 1000 {
		if d := clock.Around(100); d < 75 || d > 125 {
			t.Fatalf("got %d, want 75 to 125", d)
		}
	}
	if d := clock.Around(0); d != 0 {
		t.Errorf("got %d, want 0", d)
	}
}

func TestSeconds(t *testing.T) {
	for n, want := range map[float64]time.Duration{0: 0, 0.25: 250 * time.Millisecond, 1e300: math.MaxInt64 / 2} {
		if got := clock.Seconds(n); got != want {
			t.Errorf("Seconds(%g) = %s, want %s", n, got, want)
		}
	}
}
