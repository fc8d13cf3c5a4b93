package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/scheduler"
	"github.com/taskerhq/tasker/internal/timetable"
)

// scheduleFields are the fields of the body of a PUT of a schedule.
const scheduleFields = "cron, every, at, time_zone, task, catch_up, missed, overlap, jitter, paused, pause_on_failures, until"

// The bounds of a schedule.
const (
	defaultCatchUp     = time.Hour
	minCatchUp         = time.Minute
	maxCatchUp         = 366 * 24 * time.Hour
	maxJitter          = 24 * time.Hour
	maxPauseOnFailures = 100
)

// scheduleRequest is the body of a PUT of a schedule.
type scheduleRequest struct {
	definition tasker.ScheduleDefinition
	paused     *bool // nil if absent
	timed      bool  // one of cron, every and at was given, though it may be wrong
}

// decode decodes and checks the body of a PUT strictly.
func (h *scheduleHandlers) decode(ctx context.Context, body []byte, name string) (scheduleRequest, error) {
	in := scheduleRequest{definition: tasker.ScheduleDefinition{
		TimeZone: "UTC", CatchUp: defaultCatchUp.String(), Missed: tasker.MissedLast, Overlap: tasker.OverlapSkip,
	}}
	var errs inputErrors
	err := eachMember(body, scheduleFields, &errs, func(key string, value json.RawMessage) {
		if kindOfJSON(value) != "null" {
			in.decodeMember(key, value, &errs)
		} else if !slices.Contains(strings.Split(scheduleFields, ", "), key) {
			errs.add(pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), scheduleFields)
		}
	})
	if err != nil {
		return scheduleRequest{}, err
	}
	if len(errs.errs) == 0 || !in.timed {
		if _, err := timetable.Check(scheduler.SpecOf(in.definition), name, h.clock.Now()); err != nil {
			errs.join(err)
		}
	}
	if in.definition.Task == nil {
		errs.add("/task", `task is missing: give the body of a POST with the type, such as {"type":"worker","payload":{}}`)
	} else if _, err := h.tasks.task(ctx, in.definition.Task); err != nil {
		err = within("/task", err)
		if tasker.CodeOf(err) != tasker.Invalid || !errs.join(err) {
			return scheduleRequest{}, err
		}
	}
	return in, errs.err()
}

// join adds the broken rules of an error that has some, and reports whether it has.
func (e *inputErrors) join(err error) bool {
	if input, ok := errors.AsType[*inputErrors](err); ok {
		for _, rule := range input.errs {
			e.join(rule)
		}
		e.more += input.more
		return true
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		has := false
		for _, err := range joined.Unwrap() {
			has = e.join(err) || has
		}
		return has
	}
	rule, ok := errors.AsType[*tasker.Error](err)
	if ok {
		e.add(rule.Field, "%s", rule.Message)
	}
	return ok
}

// within returns an error about a part of a body as one about the whole: the pointers
// of its broken rules begin with that to the part.
func within(part string, err error) error {
	if input, ok := errors.AsType[*inputErrors](err); ok {
		moved := &inputErrors{more: input.more}
		for _, rule := range input.errs {
			moved.errs = append(moved.errs, within(part, rule))
		}
		return moved
	}
	if rule, ok := errors.AsType[*tasker.Error](err); ok && (rule.Code == tasker.Invalid || rule.Code == tasker.TooLarge) {
		moved := *rule
		moved.Field = part + rule.Field
		return &moved
	}
	return err
}

// decodeMember decodes a member that is not null.
func (in *scheduleRequest) decodeMember(key string, value json.RawMessage, errs *inputErrors) {
	if in.decodeWhen(key, value, errs) || in.decodePolicy(key, value, errs) {
		return
	}
	switch key {
	case "task":
		in.definition.Task = value
	case "paused":
		if in.paused = new(string(value) == "true"); kindOfJSON(value) != "a boolean" {
			errs.add("/paused", "invalid paused: must be true or false")
		}
	default:
		errs.add(pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), scheduleFields)
	}
}

// decodeWhen decodes a member that says when the schedule fires, and reports whether
// it is one.
func (in *scheduleRequest) decodeWhen(key string, value json.RawMessage, errs *inputErrors) bool {
	d := &in.definition
	text, isText := stringOf(value)
	switch key {
	case "cron":
		in.timed, d.Cron = true, text
	case "time_zone":
		d.TimeZone = text
	case "every":
		in.timed, d.Every = true, decodeSpan(key, value, timetable.MinEvery, timetable.MaxEvery, errs)
		return true
	case "at":
		in.timed, d.At = true, decodeTimes(value, errs)
		return true
	case "until":
		until, ok := timeOf(value)
		if d.Until = &until; !ok {
			errs.add("/until", `invalid until: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", or Unix seconds`)
		}
		return true
	default:
		return false
	}
	if !isText || text == "" {
		errs.add(pointer(key), "invalid %s: must be a string that is not empty", key)
	}
	return true
}

// decodePolicy decodes a member that says how the schedule fires, and reports whether
// it is one.
func (in *scheduleRequest) decodePolicy(key string, value json.RawMessage, errs *inputErrors) bool {
	d := &in.definition
	text, _ := stringOf(value)
	switch key {
	case "catch_up":
		d.CatchUp = decodeSpan(key, value, minCatchUp, maxCatchUp, errs)
	case "missed":
		if d.Missed = tasker.MissedPolicy(text); !d.Missed.Valid() {
			errs.add("/missed", "invalid missed: must be one of %s", namesOf(tasker.MissedPolicies()))
		}
	case "overlap":
		if d.Overlap = tasker.OverlapPolicy(text); !d.Overlap.Valid() {
			errs.add("/overlap", "invalid overlap: must be one of %s", namesOf(tasker.OverlapPolicies()))
		}
	case "jitter":
		if d.Jitter = decodeSpan(key, value, 0, maxJitter, errs); d.Jitter == "0s" {
			d.Jitter = ""
		}
	case "pause_on_failures":
		n, err := strconv.Atoi(string(value))
		if d.PauseOnFailures = n; err != nil || n < 0 || n > maxPauseOnFailures {
			errs.add("/pause_on_failures", "invalid pause_on_failures: must be an integer from 0 to %d", maxPauseOnFailures)
		}
	default:
		return false
	}
	return true
}

func namesOf[T ~string](list []T) string {
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = string(name)
	}
	return strings.Join(names, ", ")
}

// decodeSpan decodes a duration within bounds, and returns its canonical text.
func decodeSpan(key string, value json.RawMessage, least, most time.Duration, errs *inputErrors) string {
	d, ok := durationOf(value)
	if !ok || d < least || d > most {
		errs.add(pointer(key), `invalid %s: must be a duration such as "1h30m", or a number of seconds, from %s to %s`, key, least, most)
	}
	return d.String()
}

// decodeTimes decodes a list of times, and returns it sorted, never nil.
func decodeTimes(value json.RawMessage, errs *inputErrors) []time.Time {
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) != nil || len(elements) == 0 || len(elements) > timetable.MaxAt {
		errs.add("/at", "invalid at: must be an array of 1-%d times", timetable.MaxAt)
		return []time.Time{}
	}
	times := make([]time.Time, len(elements))
	for i, element := range elements {
		var ok bool
		if times[i], ok = timeOf(element); !ok {
			errs.add("/at/"+strconv.Itoa(i), `invalid time: must have its zone, such as "2026-05-06T03:14:24+02:00", or be Unix seconds`)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// decodePause decodes the body of a request to pause strictly.
func decodePause(body []byte, into *tasker.SchedulePause) error {
	var errs inputErrors
	err := eachMember(body, "reason", &errs, func(key string, value json.RawMessage) {
		reason, ok := stringOf(value)
		switch {
		case key != "reason":
			errs.add(pointer(key), "unknown field %q: use reason", clip(key, tasker.MaxName))
		case !ok:
			errs.add("/reason", "invalid reason: must be a string, not %s", kindOfJSON(value))
		default:
			if err := tasker.ValidateReason(reason); err != nil {
				errs.add("/reason", "%v", err)
			}
		}
		into.Reason = reason
	})
	if err != nil {
		return err
	}
	return errs.err()
}

// decodeBackfill decodes the body of a backfill strictly.
func decodeBackfill(body []byte) (from, to time.Time, err error) {
	var errs inputErrors
	given := map[string]*time.Time{"from": &from, "to": &to}
	err = eachMember(body, "from and to", &errs, func(key string, value json.RawMessage) {
		into, known := given[key]
		if !known {
			errs.add(pointer(key), "unknown field %q: use from, to", clip(key, tasker.MaxName))
			return
		}
		var ok bool
		if *into, ok = timeOf(value); !ok {
			errs.add(pointer(key), `invalid %s: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", or Unix seconds`, key)
			*into = time.Unix(0, 0)
		}
	})
	if err != nil {
		return from, to, err
	}
	for _, key := range []string{"from", "to"} {
		if given[key].IsZero() {
			errs.add(pointer(key), "%s is missing", key)
		}
	}
	return from, to, errs.err()
}

// preview serves GET /v1/schedule-preview: when a schedule would fire.
func (h *scheduleHandlers) preview(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	n := intParam(query, "n", shownSlots, 1, maxNext, &errs)
	in := scheduleRequest{definition: tasker.ScheduleDefinition{TimeZone: "UTC"}}
	for _, key := range []string{"cron", "every", "time_zone", "jitter", "until"} {
		if query.Has(key) {
			in.decodeMember(key, quoted(query.Get(key)), &errs)
		}
	}
	if query.Has("at") {
		var list []json.RawMessage
		for _, at := range query["at"] {
			list = append(list, quoted(at))
		}
		encoded, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("encode the times: %w", err)
		}
		in.decodeMember("at", encoded, &errs)
	}
	now := h.clock.Now()
	if query.Has("from") {
		var ok bool
		if now, ok = timeOf(quoted(query.Get("from"))); !ok {
			errs.add("?from", `invalid from: must be a time with its zone, such as "2026-05-06T03:14:24+02:00"`)
		}
	}
	name := query.Get("name")
	if query.Has("name") && tasker.ValidateScheduleName(name) != nil {
		errs.add("?name", "%v", tasker.ValidateScheduleName(name))
	}
	var table *timetable.Table
	if len(errs.errs) == 0 {
		var err error
		if table, err = timetable.Check(scheduler.SpecOf(in.definition), name, now); err != nil {
			errs.join(err)
		}
	}
	if err := queryErrors(errs.err()); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.UpcomingSlots{Upcoming: scheduler.Upcoming(table, name, in.definition, now, int(n))})
}

// queryErrors returns an error about members of a body as one about parameters.
func queryErrors(err error) error {
	input, ok := errors.AsType[*inputErrors](err)
	if !ok {
		return err
	}
	for _, rule := range input.errs {
		if e, ok := errors.AsType[*tasker.Error](rule); ok {
			name, _, _ := strings.Cut(strings.TrimPrefix(e.Field, "/"), "/")
			e.Field = "?" + strings.TrimPrefix(name, "?")
		}
	}
	return err
}

// quoted returns a text as a JSON string.
func quoted(text string) json.RawMessage {
	encoded, _ := json.Marshal(text) // a string is always encoded
	return encoded
}

// previewQuery are the parameters of a preview.
var previewQuery = []string{"cron", "every", "at", "time_zone", "until", "jitter", "name", "n", "from"}
