package api

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/selector"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// where is the part of a POST that says for which endpoints a task is, besides a
// list of them.
type where struct {
	union   selector.Union // nil if absent, or if it is for all
	every   bool           // a selector chooses every endpoint
	all     bool
	limit   tasker.Limit
	seed    string
	expect  tasker.Expect
	guarded bool   // expect was given
	plan    string // digest; empty if absent
}

// frozen reports whether the endpoints are chosen when the task is accepted.
func (w *where) frozen() bool { return w.union != nil || w.limit != "" }

// looks reports whether the choice of endpoints must be known before the task is
// stored.
func (w *where) looks() bool { return w.frozen() || w.guarded || w.plan != "" }

// texts returns the selectors in their canonical form, sorted, each once.
func (w *where) texts() []string {
	var texts []string
	for _, s := range w.union {
		texts = append(texts, s.String())
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// decode decodes a member, and reports whether it is one of these.
func (w *where) decode(key string, value json.RawMessage, errs *inputErrors) bool {
	kind := kindOfJSON(value)
	switch key {
	case "select":
		if kind != "null" {
			w.decodeSelect(value, errs)
		}
	case "all":
		if w.all = string(value) == "true"; kind != "a boolean" {
			errs.add("/all", "invalid all: must be true or false, not %s", kind)
		}
	case "limit":
		if kind != "null" {
			w.decodeLimit(value, errs)
		}
	case "seed":
		if kind != "null" {
			w.decodeSeed(value, errs)
		}
	case "expect":
		if kind != "null" {
			w.decodeExpect(value, errs)
		}
	case "plan":
		plan, ok := stringOf(value)
		if w.plan = plan; kind != "null" && (!ok || !validPlan.MatchString(plan)) {
			errs.add("/plan", `invalid plan: must be the "plan" of a response to ?dry_run=true, such as "sha256:" and 64 digits`)
		}
	default:
		return false
	}
	return true
}

// maxSeed bounds a seed, in bytes.
const maxSeed = 64

var validPlan = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (w *where) decodeLimit(value json.RawMessage, errs *inputErrors) {
	kind := kindOfJSON(value)
	if kind != "a number" && kind != "a string" || json.Unmarshal(value, &w.limit) != nil || !w.limit.Valid() {
		errs.add("/limit", `invalid limit: must be a number of endpoints from 1 to 999999, or a percentage from "1%%" to "100%%"`)
	}
}

func (w *where) decodeSeed(value json.RawMessage, errs *inputErrors) {
	var ok bool
	if w.seed, ok = stringOf(value); !ok || w.seed == "" || len(w.seed) > maxSeed {
		errs.add("/seed", "invalid seed: must be a string of 1-%d bytes", maxSeed)
	}
}

// decodeSelect decodes a selector or a list of them.
func (w *where) decodeSelect(value json.RawMessage, errs *inputErrors) {
	if text, ok := stringOf(value); ok {
		s, err := selector.Parse(text)
		w.selected(selector.Union{s}, err, errs)
		return
	}
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) != nil {
		errs.add("/select", "invalid select: must be a selector or an array of selectors, not %s", kindOfJSON(value))
		return
	}
	if len(elements) == 0 {
		w.selected(nil, selector.ErrAll, errs)
		return
	}
	texts := make([]string, len(elements))
	for i, element := range elements {
		var ok bool
		if texts[i], ok = stringOf(element); !ok {
			errs.add("/select/"+strconv.Itoa(i), "invalid selector: must be a string, not %s", kindOfJSON(element))
			return
		}
	}
	u, err := selector.ParseUnion(texts)
	w.selected(u, err, errs)
}

func (w *where) selected(u selector.Union, err error, errs *inputErrors) {
	wrong, syntax := errors.AsType[*selector.SyntaxError](err)
	switch {
	case errors.Is(err, selector.ErrAll):
		w.every = true
	case syntax && wrong.Number > 0:
		errs.add("/select/"+strconv.Itoa(wrong.Number-1), "%v", err)
	case err != nil:
		errs.add("/select", "%v", err)
	default:
		w.union = u
	}
}

func (w *where) decodeExpect(value json.RawMessage, errs *inputErrors) {
	w.guarded = true
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		errs.add("/expect", "invalid expect: must be an object with min, max or both, not %s", kindOfJSON(value))
		return
	}
	if at, found := jsonx.Duplicate(value); found {
		errs.add("/expect", "duplicate member %q of expect", clip(at, maxPointer))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		field := "/expect" + pointer(name)
		var bound **int
		switch name {
		case "min":
			bound = &w.expect.Min
		case "max":
			bound = &w.expect.Max
		default:
			errs.add(field, "unknown member %q of expect: use min, max", clip(name, tasker.MaxName))
			continue
		}
		if kindOfJSON(value) == "null" {
			continue
		}
		n, err := strconv.Atoi(string(value))
		if err != nil || n < 0 || n > maxExpected {
			errs.add(field, "invalid %s: must be an integer from 0 to %d", name, maxExpected)
			continue
		}
		*bound = &n
	}
	if low, high := w.expect.Min, w.expect.Max; low != nil && high != nil && *low > *high {
		errs.add("/expect", "invalid expect: min %d is more than max %d", *low, *high)
	}
}

// maxExpected bounds expect.
const maxExpected = 1_000_000

// check adds what cannot be combined.
func (w *where) check(listed bool, errs *inputErrors) {
	const omit = "%s and %s cannot be combined: omit one of them"
	both := func(field, other string) { errs.add("/"+field, omit, field, other) }
	selects := w.union != nil || w.every
	switch {
	case selects && listed:
		both("select", "endpoints")
	case w.every && !w.all:
		errs.add("/select", `%v: to choose all, use "all": true instead`, selector.ErrAll)
	}
	if w.all && listed {
		both("all", "endpoints")
	}
	if w.all && w.union != nil {
		both("all", "select")
	}
	if w.limit != "" && listed {
		both("limit", "endpoints")
	}
	if w.seed != "" && w.limit == "" {
		errs.add("/seed", "seed without limit: it decides whom a limit leaves")
	}
}

// task returns the task to be created. Chosen endpoints are still missing.
func (in *taskRequest) task(tt *tasker.TaskType) tasker.Task {
	task := tasker.Task{
		Type: tt.Name, Identifier: in.identifier, Payload: in.payload, Endpoints: in.endpoints,
		Select: in.where.texts(), Limit: in.where.limit, Seed: in.where.seed, Start: in.when.start,
		Expiry: in.when.expires, AskedExpiry: !in.when.expires.IsZero(), Retry: in.retry, Labels: in.labels,
	}
	if !task.AskedExpiry {
		task.Expiry.After = tt.Expires
	}
	task.Deliver, task.Signature = in.deliver, in.signature
	task.Priority, task.AskedPriority = tt.Priority, in.priority != nil
	if task.AskedPriority {
		task.Priority = *in.priority
	}
	in.topic.apply(&task)
	if in.rollout != nil {
		task.Rollout = &tasker.Rollout{Settings: in.rollout}
	}
	return task
}
