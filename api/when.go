package api

import (
	"encoding/json"
	"math"
	"net/http"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// when is the part of a request that says when a task starts, and when it expires.
type when struct {
	start   tasker.Start
	at      bool // start_time was given
	in      bool
	expires tasker.Expiry
}

// decode decodes a member, and reports whether it is one of these. null means
// absent.
func (w *when) decode(key string, value json.RawMessage, errs *inputErrors) bool {
	if kindOfJSON(value) == "null" {
		return key == "start_time" || key == "in" || key == "expires"
	}
	var ok bool
	switch key {
	case "expires":
		w.decodeExpires(value, errs)
	case "start_time":
		w.at = true
		if w.start.At, ok = timeOf(value); !ok {
			errs.add("/start_time", `invalid start_time: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", `+
				"or a number of seconds since 1970, in UTC")
		}
	case "in":
		w.in = true
		if w.start.In, ok = durationOf(value); !ok {
			errs.add("/in", `invalid in: must be a duration such as "1h30m", or a number of seconds, from 0 to 10 years`)
		}
	default:
		return false
	}
	return true
}

// decodeExpires decodes when a task expires: a time, or a duration after its start.
func (w *when) decodeExpires(value json.RawMessage, errs *inputErrors) {
	if text, isText := stringOf(value); isText {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			w.expires.At = at.UTC()
			return
		}
	}
	var ok bool
	if w.expires.After, ok = durationOf(value); !ok || w.expires.After == 0 {
		errs.add("/expires", `invalid expires: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", `+
			`or a duration after the start, such as "1h" or a number of seconds, of at most 10 years`)
	}
}

// check adds what cannot be combined.
func (w *when) check(errs *inputErrors) {
	if w.at && w.in {
		errs.add("/in", "in and start_time cannot be combined: omit one of them")
	}
}

// timeOf decodes a time in the form of RFC 3339, or in Unix seconds.
func timeOf(value json.RawMessage) (t time.Time, ok bool) {
	if text, isText := stringOf(value); isText {
		t, err := time.Parse(time.RFC3339Nano, text)
		return t.UTC(), err == nil
	}
	var n float64
	if kindOfJSON(value) != "a number" || json.Unmarshal(value, &n) != nil {
		return t, false
	}
	// Any later time is too far ahead anyway.
	const latest = 253402300799 // the end of the year 9999
	whole, part := math.Modf(min(n, latest))
	return time.Unix(int64(whole), int64(part*1e6)*1e3).UTC(), n >= 0
}

// durationOf decodes a duration of at most [tasker.MaxAhead].
func durationOf(value json.RawMessage) (d time.Duration, ok bool) {
	text, isText := stringOf(value)
	if !isText {
		if kindOfJSON(value) != "a number" {
			return 0, false
		}
		text = string(value)
	}
	d, ok = clock.Parse(text)
	return d.Truncate(time.Microsecond), ok && d >= 0 && d <= tasker.MaxAhead
}

// schedule makes a task SCHEDULED that starts later than now, and returns its start
// time; nil if it starts at once. Whoever is to be chosen is chosen then.
func (in *taskRequest) schedule(task *tasker.Task, now time.Time) (*time.Time, error) {
	if err := in.when.start.Check(now); err != nil {
		return nil, err
	}
	start := in.when.start.Time(now)
	if err := task.Expiry.Check(start); err != nil {
		return nil, err
	}
	if !start.After(now) {
		return nil, nil
	}
	task.Status = tasker.Scheduled
	if in.endpoints == nil {
		task.Plan = in.where.plan
		if in.where.expect != (tasker.Expect{}) {
			task.Expect = &in.where.expect
		}
	}
	return &start, nil
}

// reschedule serves PATCH /{task_type}/{identifier}.
func (h *taskHandlers) reschedule(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	if h.limits.writes.full() {
		return errOverloaded()
	}
	body, free, err := readBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return err
	}
	start, err := decodeReschedule(body)
	if err != nil {
		return err
	}
	release, err := h.limits.writes.acquire(r.Context())
	if err != nil {
		return err
	}
	defer release()
	if err := start.Check(h.clock.Now()); err != nil {
		return err
	}
	task, err := h.store.Reschedule(r.Context(), taskType, identifier, start)
	if err != nil {
		return err
	}
	h.log.InfoContext(r.Context(), "task rescheduled", "task_id", task.ID, "type", task.Type, "identifier", task.Identifier,
		"start_time", task.StartTime, "principal", requestInfoOf(r).principal, "request_id", requestInfoOf(r).id)
	h.starter.Expect(task.StartTime)
	return writeJSON(w, http.StatusOK, task)
}

// decodeReschedule decodes the body of a PATCH strictly.
func decodeReschedule(body []byte) (tasker.Start, error) {
	const fields = "start_time or in"
	var when when
	var errs inputErrors
	err := eachMember(body, fields, &errs, func(key string, value json.RawMessage) {
		if key == "expires" || !when.decode(key, value, &errs) {
			errs.add(pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), fields)
		}
	})
	if err != nil {
		return tasker.Start{}, err
	}
	when.check(&errs)
	if !when.at && !when.in {
		errs.add("/start_time", "start_time is missing: give a time, or a duration as in")
	}
	return when.start, errs.err()
}
