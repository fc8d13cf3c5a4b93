package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker"
)

const (
	// minRetention leaves time to read a result, and for messages still under
	// way when the task ended.
	minRetention = time.Minute
	// forever is the retention that deletes nothing.
	forever = "forever"
)

// field is a key of an entry of task_types: how it is read, and how it is
// shown. A null value sets nothing; a nil one is not shown.
type field struct {
	name string
	read func(e *entryReader, t *tasker.TaskType, node *yaml.Node) error
	show func(t tasker.TaskType) any
}

// fields are the keys of an entry, in the order in which they are shown.
var fields = []field{
	{"name", plain(text(func(t *tasker.TaskType) *string { return &t.Name })), func(t tasker.TaskType) any { return t.Name }},
	{"handler", plain(text(func(t *tasker.TaskType) *string { return &t.Handler })), func(t tasker.TaskType) any { return t.Handler }},
	{"description", plain(text(func(t *tasker.TaskType) *string { return &t.Description })), func(t tasker.TaskType) any { return unlessZero(t.Description) }},
	{"usage", plain(text(func(t *tasker.TaskType) *string { return &t.Usage })), func(t tasker.TaskType) any { return unlessZero(t.Usage) }},
	{
		"concurrency", plain(number(func(t *tasker.TaskType) *int { return &t.Concurrency }, 1, tasker.MaxConcurrency)),
		func(t tasker.TaskType) any { return t.Concurrency },
	},
	{
		"timeout", plain(duration(func(t *tasker.TaskType) *time.Duration { return &t.Timeout }, time.Millisecond, maxDuration)),
		func(t tasker.TaskType) any { return short(t.Timeout) },
	},
	{"retry", plain(setRetry), shownRetry},
	{"retention", plain(retention(func(t *tasker.TaskType) *time.Duration { return &t.Retention }, tasker.Forever)), shownRetention},
	{"max_payload", plain(size(func(t *tasker.TaskType) *int64 { return &t.MaxPayload }, 1, giB)), func(t tasker.TaskType) any { return unlessZero(t.MaxPayload) }},
	{"schema", (*entryReader).readSchema, func(t tasker.TaskType) any { return unlessEmpty(shownJSON(t.Schema)) }},
	{"example", (*entryReader).readExample, func(t tasker.TaskType) any { return unlessEmpty(shownJSON(t.Example)) }},
	{"labels", plain(labels(func(t *tasker.TaskType) *map[string]string { return &t.Labels })), func(t tasker.TaskType) any { return unlessNone(t.Labels) }},
	{"settings", (*entryReader).readSettings, func(t tasker.TaskType) any { return unlessNone(maskSettings(t.Settings).(map[string]any)) }},
}

func fieldNames() []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// readField reads the value of a key of an entry.
func (e *entryReader) readField(t *tasker.TaskType, name string, node *yaml.Node) error {
	for _, f := range fields {
		if f.name != name {
			continue
		}
		if node = resolve(node); node.ShortTag() == "!!null" {
			return nil
		}
		return f.read(e, t, node)
	}
	return fmt.Errorf("is an unknown key%s", suggestion("", name, fieldNames()))
}

// plain reads a value that set understands.
func plain(set setter[tasker.TaskType]) func(*entryReader, *tasker.TaskType, *yaml.Node) error {
	return func(_ *entryReader, t *tasker.TaskType, node *yaml.Node) error {
		value, err := plainValue(node)
		if err != nil {
			return err
		}
		return set(t, value)
	}
}

func (e *entryReader) readSettings(t *tasker.TaskType, node *yaml.Node) error {
	value, err := settingValue(node)
	if err != nil {
		return err
	}
	settings, ok := value.(map[string]any)
	if !ok {
		return errors.New("takes a mapping of the handler's settings to values")
	}
	t.Settings = settings
	return nil
}

var errRetry = errors.New("takes a list of pauses before each further attempt, in seconds or as 1m30s, such as [60, 10m, 1h]")

// setRetry reads a list of pauses, or a string of them with blanks between.
func setRetry(t *tasker.TaskType, value any) error {
	var items []any
	switch v := value.(type) {
	case []any:
		items = v
	case string:
		for _, word := range strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
			items = append(items, word)
		}
	case literal:
		items = []any{v}
	default:
		return errRetry
	}
	var delays []time.Duration
	for _, item := range items {
		if err := plainNumber(item); err != nil {
			return fmt.Errorf("has a pause that %w", err)
		}
		delay, ok := parseDuration(item)
		if !ok {
			return fmt.Errorf("has the pause %s: it %w", quote(item), errRetry)
		}
		if delay < 0 || delay > maxDuration {
			return fmt.Errorf("has the pause %s: give one from 0s to %s", quote(item), short(maxDuration))
		}
		delays = append(delays, delay)
	}
	t.Retry.Delays = delays
	return nil
}

func shownRetry(t tasker.TaskType) any {
	var pauses flow
	for _, delay := range t.Retry.Delays {
		pauses = append(pauses, short(delay))
	}
	return unlessEmpty(pauses)
}

func shownRetention(t tasker.TaskType) any {
	if t.Retention == tasker.Forever {
		return forever
	}
	return short(t.Retention)
}

// The following return nil in place of a value that is not worth showing.

func unlessZero[T comparable](value T) any {
	if value == *new(T) {
		return nil
	}
	return value
}

func unlessEmpty[S ~[]E, E any](value S) any {
	if len(value) == 0 {
		return nil
	}
	return value
}

func unlessNone[V any](value map[string]V) any {
	if len(value) == 0 {
		return nil
	}
	return value
}
