// Package retrypolicy reads the retry policies of task types and tasks. A policy is
// written as a list of the intervals between attempts,
//
//	[60, "10m", "1h"]
//	"60 600 3600"
//	{"intervals": ["60s", "10m", "1h"]}
//
// or as a rule that they follow:
//
//	{"attempts": 5, "policy": "exponential", "interval": "10s", "max_interval": "10m"}
//
// An interval is a number of seconds, or a duration such as "1m30s". The rules are
//
//   - constant: each interval is the same;
//   - fibonacci: interval times 1, 1, 2, 3, 5, as in machinery;
//   - exponential: a random time of up to interval times 1, 2, 4, 8, so that
//     endpoints that failed together do not try again together.
//
// No interval is longer than max_interval, which is an hour by default, or interval
// if that is longer. attempts counts the first one: {"attempts": 1}, an empty list and
// an empty text never retry.
package retrypolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

const (
	// MaxAttempts is the maximum number of attempts, the first one included.
	MaxAttempts = 1000
	// MaxInterval is the maximum of an interval, ten years.
	MaxInterval = 10 * 365 * 24 * time.Hour

	minInterval        = time.Millisecond // of a rule; those of a list may be 0
	defaultMaxInterval = time.Hour
)

const (
	constant    = "constant"
	fibonacci   = "fibonacci"
	exponential = "exponential"
)

var (
	rules = []string{constant, fibonacci, exponential}
	keys  = []string{"attempts", "policy", "interval", "max_interval", "intervals"}
)

// Decode returns the policy that a JSON value is; see [Read].
func Decode(text []byte) (tasker.RetryPolicy, error) {
	if !json.Valid(text) {
		return tasker.RetryPolicy{}, tasker.Errorf(tasker.Malformed, "invalid retry policy: not JSON")
	}
	if at, found := jsonx.Duplicate(text); found {
		return tasker.RetryPolicy{}, tasker.FieldErrorf(at, "duplicate key %q: remove one", strings.TrimPrefix(at, "/"))
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return tasker.RetryPolicy{}, tasker.WrapError(tasker.Malformed, err, "invalid retry policy")
	}
	return Read(value)
}

// Read returns the policy that a decoded value is: a string, a [json.Number], a
// []any or a map[string]any. Members that are nil are absent. The error joins a
// [tasker.Error] for every rule that is broken, with its code [tasker.Invalid] and a
// pointer into the value.
func Read(value any) (tasker.RetryPolicy, error) {
	var r reader
	var p tasker.RetryPolicy
	switch v := value.(type) {
	case string:
		var items []any
		for _, word := range strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' }) {
			items = append(items, word)
		}
		p.Delays = r.list("", items, func(int) string { return "" })
	case json.Number:
		p.Delays = []time.Duration{r.interval("", "interval", v, 0)}
	case []any:
		p.Delays = r.list("", v, pointerTo)
	case map[string]any:
		p = r.object(v)
	default:
		r.fail("", `must be a list of intervals such as [60, "10m"], text such as "60 600", or an object, got %s`, shown(value))
	}
	if len(r.errs) > 0 {
		return tasker.RetryPolicy{}, errors.Join(r.errs...)
	}
	return p, nil
}

// reader collects the broken rules.
type reader struct{ errs []error }

func (r *reader) fail(field, format string, args ...any) {
	r.errs = append(r.errs, tasker.FieldErrorf(field, format, args...))
}

// list reads the intervals of a list. Each is at a pointer that element returns,
// from the list's own on.
func (r *reader) list(at string, items []any, element func(i int) string) []time.Duration {
	if len(items) >= MaxAttempts {
		r.fail(at, "too many intervals: %d, the limit is %d", len(items), MaxAttempts-1)
		return nil
	}
	var delays []time.Duration
	for i, item := range items {
		delays = append(delays, r.interval(at+element(i), "interval "+strconv.Itoa(i+1), item, 0))
	}
	return delays
}

func pointerTo(i int) string { return "/" + strconv.Itoa(i) }

func (r *reader) object(members map[string]any) (p tasker.RetryPolicy) {
	members = maps.Clone(members)
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(keys, key) {
			r.fail("/"+pointer(key), "unknown key %s%s", shown(key), suggestion(key, keys))
		} else if members["intervals"] != nil && key != "intervals" {
			r.fail("/"+key, "invalid %s: not allowed with intervals: remove one of them", key)
		}
	}
	if value, ok := members["intervals"]; ok {
		items, ok := value.([]any)
		if !ok {
			r.fail("/intervals", "invalid intervals: must be a list such as [60, \"10m\"], got %s", shown(value))
		}
		p.Delays = r.list("/intervals", items, pointerTo)
		return p
	}
	attempts := r.attempts(members["attempts"])
	if attempts == 1 && len(members) == 1 {
		return p
	}
	rule := r.rule(members["policy"])
	interval, longest := r.intervals(members, rule)
	if len(r.errs) > 0 || attempts == 1 {
		return p
	}
	return tasker.RetryPolicy{Delays: delays(rule, attempts-1, interval, longest), Jitter: rule == exponential}
}

func (r *reader) attempts(value any) int {
	const must = "must be a whole number 1-1000"
	number, _ := value.(json.Number)
	attempts, err := strconv.Atoi(string(number))
	switch {
	case value == nil:
		r.fail("/attempts", "missing attempts: "+must)
	case leadingZero.MatchString(string(number)):
		r.fail("/attempts", "invalid attempts: ambiguous number %s, octal or decimal: remove the leading 0", number)
	case err != nil || attempts < 1 || attempts > MaxAttempts:
		r.fail("/attempts", "invalid attempts: "+must+", got %s", shown(value))
	}
	return attempts
}

func (r *reader) rule(value any) string {
	rule, _ := value.(string)
	switch {
	case value == nil:
		r.fail("/policy", "missing policy: must be one of %s", strings.Join(rules, ", "))
	case !slices.Contains(rules, rule):
		r.fail("/policy", "invalid policy %s%s", shown(value), suggestion(rule, rules))
	}
	return rule
}

// intervals reads interval and max_interval.
func (r *reader) intervals(members map[string]any, rule string) (interval, longest time.Duration) {
	value, ok := members["interval"]
	if !ok {
		r.fail("/interval", `missing interval: must be seconds, or a duration such as "1m30s"`)
		return 0, 0
	}
	interval = r.interval("/interval", "interval", value, minInterval)
	value, ok = members["max_interval"]
	switch {
	case !ok:
		return interval, max(interval, defaultMaxInterval)
	case rule == constant:
		r.fail("/max_interval", "invalid max_interval: not allowed with the policy %s: remove it", rule)
		return interval, interval
	}
	broken := len(r.errs)
	longest = r.interval("/max_interval", "max_interval", value, minInterval)
	if longest < interval && len(r.errs) == broken {
		r.fail("/max_interval", "invalid max_interval: must be at least the interval, %s, got %s", interval, shown(value))
	}
	return interval, longest
}

// Rule is a rule in place of a list of intervals.
type Rule struct {
	Attempts    int
	Policy      string // constant, fibonacci or exponential
	Interval    time.Duration
	MaxInterval time.Duration // 0 if the policy is constant
}

// RuleOf returns a rule that means p. There is none for a policy without retries,
// nor for a list of intervals that follows no rule.
func RuleOf(p tasker.RetryPolicy) (Rule, bool) {
	n := len(p.Delays)
	if n == 0 || p.Delays[0] < minInterval {
		return Rule{}, false
	}
	first, last := p.Delays[0], p.Delays[n-1] // no interval is longer than the last
	for _, rule := range rules {
		if p.Jitter != (rule == exponential) || !slices.Equal(delays(rule, n, first, last), p.Delays) {
			continue
		}
		if rule == constant {
			last = 0
		}
		return Rule{n + 1, rule, first, last}, true
	}
	return Rule{}, false
}

// delays returns n delays that follow a rule, of which the first is interval.
func delays(rule string, n int, interval, longest time.Duration) []time.Duration {
	list := make([]time.Duration, n)
	this, next := interval, interval // at most MaxInterval: twice that is no overflow
	for i := range list {
		list[i] = this
		switch rule {
		case fibonacci:
			this, next = next, min(this+next, longest)
		case exponential:
			this = min(2*this, longest)
		}
	}
	return list
}
