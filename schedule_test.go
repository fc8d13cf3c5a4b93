package tasker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

func TestStart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 1, 14, 24, 123456000, time.UTC)
	east := time.FixedZone("", 2*60*60)
	for name, test := range map[string]struct {
		start tasker.Start
		want  time.Time
		text  string
		far   string // the field of the error
	}{
		"at once":  {tasker.Start{}, now, "in 0s", ""},
		"in":       {tasker.Start{In: 90 * time.Minute}, now.Add(90 * time.Minute), "in 1h30m0s", ""},
		"at":       {tasker.Start{At: now.Add(time.Second).In(east)}, now.Add(time.Second), "at 2026-05-06T01:14:25.123456Z", ""},
		"past":     {tasker.Start{At: now.Add(-time.Hour)}, now, "at 2026-05-06T00:14:24.123456Z", ""},
		"too fine": {tasker.Start{At: now.Add(1999)}, now.Add(time.Microsecond), "at 2026-05-06T01:14:24.123457999Z", ""},
		"last":     {tasker.Start{In: tasker.MaxAhead}, now.Add(tasker.MaxAhead), "in 87600h0m0s", ""},
		"too late": {tasker.Start{In: tasker.MaxAhead + 1e6}, now.Add(tasker.MaxAhead + 1e6), "in 87600h0m0.001s", "/in"},
		"too far":  {tasker.Start{At: now.Add(tasker.MaxAhead + 1e9)}, now.Add(tasker.MaxAhead + 1e9), "at 2036-05-03T01:14:25.123456Z", "/start_time"},
	} {
		got := test.start.Time(now)
		if !got.Equal(test.want) || got.Location() != time.UTC || test.start.String() != test.text {
			t.Errorf("%s: %s, %q, want %s, %q", name, got, test.start, test.want, test.text)
		}
		field := ""
		if problem, ok := errors.AsType[*tasker.Error](test.start.Check(now)); ok {
			field = problem.Field
		}
		if field != test.far {
			t.Errorf("%s: error of %q, want %q", name, field, test.far)
		}
		if test.start.IsZero() != (name == "at once") {
			t.Errorf("%s: IsZero() = %t", name, test.start.IsZero())
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 6, 1, 14, 24, 123456000, time.UTC)
	for name, test := range map[string]struct {
		expiry tasker.Expiry
		want   time.Time // zero for never
		text   string
		wrong  bool
	}{
		"never":   {tasker.Expiry{}, time.Time{}, "after 0s", false},
		"after":   {tasker.Expiry{After: time.Hour}, start.Add(time.Hour), "after 1h0m0s", false},
		"at":      {tasker.Expiry{At: start.Add(time.Second)}, start.Add(time.Second), "at 2026-05-06T01:14:25.123456Z", false},
		"at once": {tasker.Expiry{At: start}, start, "at 2026-05-06T01:14:24.123456Z", true},
		"before":  {tasker.Expiry{At: start.Add(-1)}, start.Add(-time.Microsecond), "at 2026-05-06T01:14:24.123455999Z", true},
	} {
		got := test.expiry.Time(start)
		if (got == nil) != test.want.IsZero() || got != nil && !got.Equal(test.want) || test.expiry.String() != test.text ||
			test.expiry.IsZero() != test.want.IsZero() {
			t.Errorf("%s: %v, %q, want %s, %q", name, got, test.expiry, test.want, test.text)
		}
		if err := test.expiry.Check(start); (err != nil) != test.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}
