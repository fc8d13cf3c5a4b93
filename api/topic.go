package api

import (
	"encoding/json"
	"slices"

	"github.com/taskerhq/tasker"
)

// topic is the part of a POST that says what a task is about, and what happens to an
// older task of the same topic.
type topic struct {
	name       string // empty if absent
	onConflict tasker.OnConflict
}

// decode decodes a member, and reports whether it is one of these. null means absent.
func (t *topic) decode(key string, value json.RawMessage, errs *inputErrors) bool {
	if key != "topic" && key != "on_conflict" {
		return false
	}
	if kindOfJSON(value) == "null" {
		return true
	}
	text, ok := stringOf(value)
	if key == "topic" {
		t.name = text
		if !ok {
			errs.add("/topic", "invalid topic: must be a string, not %s", kindOfJSON(value))
		} else if err := tasker.ValidateTopic(text); err != nil {
			errs.add("/topic", "%v", err)
		}
		return true
	}
	t.onConflict = tasker.OnConflict(text)
	if !ok || !slices.Contains(tasker.OnConflicts(), t.onConflict) {
		errs.add("/on_conflict", "invalid on_conflict: must be one of %s", namesOf(tasker.OnConflicts()))
	}
	return true
}

// check adds what cannot be combined.
func (t *topic) check(errs *inputErrors) {
	if t.onConflict != "" && t.name == "" && len(errs.errs) == 0 {
		errs.add("/on_conflict", "on_conflict without topic: it says what happens to an older task of the topic")
	}
}

// apply puts the topic into a task.
func (t *topic) apply(task *tasker.Task) {
	if t.name == "" {
		return
	}
	task.Topic, task.OnConflict = t.name, tasker.ConflictRefuse
	if t.onConflict != "" {
		task.OnConflict = t.onConflict
	}
}
