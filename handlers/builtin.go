package handlers

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are the settings of one task type for its handler, as the
// configuration gives them. A duration is a number of seconds or a string such
// as "1m30s".
type Settings map[string]any

// factories make the built-in handlers, by name.
var factories = map[string]func(Settings) (Handler, error){
	"worker": NewWorker,
	"backup": NewBackup,
	"sleep":  NewSleep,
}

// Builtins gives the names of the built-in handlers, sorted.
func Builtins() []string { return slices.Sorted(maps.Keys(factories)) }

// NewBuiltin makes a built-in handler from its settings. An unknown name, an
// unknown setting and a bad value are errors that name what was wrong and what
// there is.
func NewBuiltin(name string, settings Settings) (Handler, error) {
	factory, ok := factories[name]
	if !ok {
		return nil, fmt.Errorf("there is no handler %q; there are %s", name, strings.Join(Builtins(), ", "))
	}
	h, err := factory(settings)
	if err != nil {
		return nil, fmt.Errorf("handler %q: %w", name, err)
	}
	return h, nil
}

// only refuses settings other than those named.
func (s Settings) only(names ...string) error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == 0 {
			return fmt.Errorf("unknown setting %q: it has no settings", name)
		}
		return fmt.Errorf("unknown setting %q: it has %s", name, strings.Join(names, ", "))
	}
	return nil
}

// duration reads a setting, or gives the fallback where it is not set.
func (s Settings) duration(name string, fallback time.Duration) (time.Duration, error) {
	var d time.Duration
	switch v := s[name].(type) {
	case nil:
		return fallback, nil
	case int:
		d = seconds(float64(v))
	case float64:
		d = seconds(v)
	case time.Duration:
		d = v
	case string:
		number, err := strconv.ParseFloat(v, 64)
		if d = seconds(number); err != nil {
			d, err = time.ParseDuration(v)
		}
		if err != nil {
			return 0, fmt.Errorf("setting %q is %q: give seconds, or a duration such as 1m30s", name, v)
		}
	default:
		return 0, fmt.Errorf("setting %q is %v: give seconds, or a duration such as 1m30s", name, v)
	}
	if d < 0 {
		return 0, fmt.Errorf("setting %q is %v: it must not be negative", name, d)
	}
	return d, nil
}

// seconds makes a duration of a number, the longest one where it is too great.
func seconds(n float64) time.Duration {
	if n > math.MaxInt64/float64(time.Second)/2 {
		return math.MaxInt64 / 2
	}
	return time.Duration(n * float64(time.Second))
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
