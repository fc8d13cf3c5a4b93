package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/scheduler"
)

// ScheduleStore holds the schedules. Those of its methods that name one return a
// [tasker.NotFound] error if it does not exist.
type ScheduleStore interface {
	// PutSchedule creates or replaces a schedule, and reports whether it created it.
	// The error is [tasker.Conflict] if it has another version than expected.
	PutSchedule(ctx context.Context, put ledger.SchedulePut) (stored tasker.Schedule, created bool, err error)
	FindSchedule(ctx context.Context, name string) (tasker.Schedule, error)
	// ListSchedules returns one page, by name.
	ListSchedules(ctx context.Context, after string, limit int) ([]tasker.Schedule, error)
	// PauseSchedule pauses a schedule, or resumes it if pause is nil. The error is
	// [tasker.Conflict] if its version or its pause is another one than expected.
	PauseSchedule(ctx context.Context, name string, expect tasker.ScheduleExpect, pause *tasker.SchedulePause) (tasker.Schedule, error)
	// DeleteSchedule returns a [tasker.Conflict] if it has another version than
	// expected.
	DeleteSchedule(ctx context.Context, name string, version *int64) error
	// ListSlots returns one page of those before a time, newest first; zero is no
	// bound.
	ListSlots(ctx context.Context, scheduleID int64, before time.Time, limit int) ([]tasker.ScheduleSlot, error)
}

// Scheduler fires schedules.
type Scheduler interface {
	// Changed tells that a schedule was changed.
	Changed()
	// Trigger creates a task of a schedule now. The error is [tasker.Conflict] if the
	// schedule is not as expected.
	Trigger(ctx context.Context, name, by string, expect tasker.ScheduleExpect) (tasker.ScheduleSlot, error)
	// Backfill creates the tasks of slots that have passed, or with dry lists them.
	Backfill(ctx context.Context, name string, from, to time.Time, by string, dry bool) ([]tasker.BackfilledSlot, error)
}

// scheduleHandlers serve the schedules.
type scheduleHandlers struct {
	store     ScheduleStore
	scheduler Scheduler
	tasks     scheduledTasks
	clock     choice.Clock
	limits    *limits
	maxBody   int64
	rights    *rights
	log       *slog.Logger
}

// maxScheduleBody bounds the body of a PUT, since a list has many schedules.
const maxScheduleBody = 64 << 10

// The numbers of slots in an answer.
const (
	shownSlots = 10
	maxNext    = 100
)

// scheduleName returns the name of the schedule in a request's path.
func scheduleName(r *http.Request) (string, error) {
	name := mux.Vars(r)["schedule"]
	if tasker.ValidateScheduleName(name) != nil {
		return "", tasker.Errorf(tasker.NotFound, "schedule %q not found: %s lists them", clip(name, tasker.MaxName), routeSchedules)
	}
	return name, nil
}

// find returns the schedule in a request's path. One whose tasks the principal may not view
// is not found.
func (h *scheduleHandlers) find(r *http.Request) (tasker.Schedule, error) {
	name, err := scheduleName(r)
	if err != nil {
		return tasker.Schedule{}, err
	}
	schedule, err := h.store.FindSchedule(r.Context(), name)
	if err == nil && !canView(r.Context(), &schedule) {
		return tasker.Schedule{}, tasker.Errorf(tasker.NotFound, "schedule %q not found", name)
	}
	return schedule, err
}

// canView reports whether the principal of a request may view the tasks of a schedule.
func canView(ctx context.Context, schedule *tasker.Schedule) bool {
	act, _ := scheduledAct(&schedule.Definition)
	return mayView(ctx, act.Type)
}

// changeable returns the name in a request's path, if the principal may change the schedule
// that it is the name of, which need not exist.
func (h *scheduleHandlers) changeable(r *http.Request) (string, error) {
	name, err := scheduleName(r)
	if err != nil || principalOf(r.Context()).Decide(access.Act{Right: access.Schedule}).Allowed {
		return name, err
	}
	schedule, err := h.store.FindSchedule(r.Context(), name)
	switch {
	case tasker.CodeOf(err) == tasker.NotFound:
		return name, nil // whoever creates it, or finds nothing, says so
	case err != nil:
		return "", err
	}
	act, endpoints := scheduledAct(&schedule.Definition)
	if !principalOf(r.Context()).Knows(act.Type) {
		return "", tasker.Errorf(tasker.NotFound, "schedule %q not found", name)
	}
	return name, h.rights.holdEndpoints(r.Context(), act, endpoints)
}

// upcoming returns the first n slots of a schedule from now on. It has none if this
// process does not know the schedule's time zone.
func (h *scheduleHandlers) upcoming(schedule tasker.Schedule, n int) []tasker.UpcomingSlot {
	table, err := scheduler.TableOf(schedule)
	if err != nil {
		return []tasker.UpcomingSlot{}
	}
	return scheduler.Upcoming(table, schedule.Name, schedule.Definition, h.clock.Now(), n)
}

// answer returns a schedule with its next and its last slots.
func (h *scheduleHandlers) answer(ctx context.Context, schedule tasker.Schedule) (client.ScheduleAnswer, error) {
	slots, err := h.store.ListSlots(ctx, schedule.ID, time.Time{}, shownSlots)
	return client.ScheduleAnswer{
		Schedule: schedule, Upcoming: h.upcoming(schedule, shownSlots), Slots: append([]tasker.ScheduleSlot{}, slots...),
	}, err
}

// list serves GET /v1/schedules, by name. A page lacks those whose tasks the principal may
// not view.
func (h *scheduleHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	limit := pageLimit(query, &errs)
	after := query.Get("cursor")
	if query.Has("cursor") && tasker.ValidateScheduleName(after) != nil {
		errs.add("?cursor", invalidCursor)
	}
	if err := errs.err(); err != nil {
		return err
	}
	schedules, err := h.store.ListSchedules(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	page := client.SchedulePage{Schedules: []tasker.Schedule{}}
	for _, schedule := range schedules[:min(limit, len(schedules))] {
		if canView(r.Context(), &schedule) {
			page.Schedules = append(page.Schedules, schedule)
		}
	}
	if len(schedules) > limit {
		page.Next = nextPage(w, r, schedules[limit-1].Name)
	}
	return writeJSON(w, http.StatusOK, page)
}

// get serves GET /v1/schedules/{schedule}.
func (h *scheduleHandlers) get(w http.ResponseWriter, r *http.Request) error {
	schedule, err := h.find(r)
	if err != nil {
		return err
	}
	answer, err := h.answer(r.Context(), schedule)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// next serves GET /v1/schedules/{schedule}/next.
func (h *scheduleHandlers) next(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	n := intParam(r.URL.Query(), "n", shownSlots, 1, maxNext, &errs)
	if err := errs.err(); err != nil {
		return err
	}
	schedule, err := h.find(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.UpcomingSlots{Upcoming: h.upcoming(schedule, int(n))})
}

// slots serves GET /v1/schedules/{schedule}/slots, newest first.
func (h *scheduleHandlers) slots(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	limit := pageLimit(query, &errs)
	var before time.Time
	if query.Has("cursor") {
		var err error
		if before, err = time.Parse(time.RFC3339Nano, query.Get("cursor")); err != nil {
			errs.add("?cursor", invalidCursor)
		}
	}
	if err := errs.err(); err != nil {
		return err
	}
	schedule, err := h.find(r)
	if err != nil {
		return err
	}
	slots, err := h.store.ListSlots(r.Context(), schedule.ID, before, limit+1)
	if err != nil {
		return err
	}
	page := client.SlotPage{Slots: append([]tasker.ScheduleSlot{}, slots[:min(limit, len(slots))]...)}
	if len(slots) > limit {
		page.Next = nextPage(w, r, slots[limit-1].Time.UTC().Format(time.RFC3339Nano))
	}
	return writeJSON(w, http.StatusOK, page)
}

// expectedVersion returns the version that a request expects; nil if it expects none.
func expectedVersion(query url.Values, errs *inputErrors) *int64 {
	if !query.Has("version") {
		return nil
	}
	const most = 1 << 53 // the largest number that every parser of JSON reads
	return new(intParam(query, "version", 0, 0, most, errs))
}

// expectedSchedule returns how a request that acts on a schedule expects it to be.
func expectedSchedule(query url.Values) (tasker.ScheduleExpect, error) {
	var errs inputErrors
	expect := tasker.ScheduleExpect{Version: expectedVersion(query, &errs)}
	expect.Pause = expectedTime(query, "pause", &errs)
	expect.Latest = expectedTime(query, "latest", &errs)
	return expect, errs.err()
}

// expectedTime returns the time that a request expects, zero for none; nil if it expects
// nothing.
func expectedTime(query url.Values, name string, errs *inputErrors) *time.Time {
	if !query.Has(name) {
		return nil
	}
	given := query.Get(name)
	if given == client.NoTime {
		return &time.Time{}
	}
	at, ok := timeOf(quoted(given))
	if !ok {
		errs.add("?"+name, `invalid %s: must be a time that the schedule has, such as "2026-05-06T03:14:24Z", or %s`, name, client.NoTime)
	}
	return &at
}

// put serves PUT /v1/schedules/{schedule}.
func (h *scheduleHandlers) put(w http.ResponseWriter, r *http.Request) error {
	put := ledger.SchedulePut{Name: mux.Vars(r)["schedule"], By: principalName(r)}
	if err := tasker.ValidateScheduleName(put.Name); err != nil {
		return err
	}
	var errs inputErrors
	put.Version = expectedVersion(r.URL.Query(), &errs)
	if err := errs.err(); err != nil {
		return err
	}
	body, free, err := readBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return err
	}
	request, err := h.decode(r.Context(), body, put.Name)
	if err != nil {
		return err
	}
	put.Definition, put.Paused = request.definition, request.paused
	if _, err := h.changeable(r); tasker.CodeOf(err) == tasker.NotFound {
		return forbidden("a schedule of this name is that of a task type for which you have no right: choose another name")
	} else if err != nil {
		return err
	}
	act, endpoints := scheduledAct(&put.Definition)
	if err := h.rights.holdEndpoints(r.Context(), act, endpoints); err != nil {
		return err
	}
	put.Next = func(created, now time.Time) time.Time {
		table, err := scheduler.TableOf(tasker.Schedule{Name: put.Name, Definition: put.Definition, CreatedTime: created})
		if err != nil {
			return time.Time{} // it was checked before
		}
		return table.Next(now)
	}
	stored, created, err := h.store.PutSchedule(r.Context(), put)
	if err != nil {
		return err
	}
	h.changed(r, "stored", stored)
	answer, err := h.answer(r.Context(), stored)
	if err != nil {
		return err
	}
	if created {
		w.Header().Set("Location", routeSchedules+"/"+stored.Name)
		return writeJSON(w, http.StatusCreated, answer)
	}
	return writeJSON(w, http.StatusOK, answer)
}

// changed tells the log and the scheduler of a change.
func (h *scheduleHandlers) changed(r *http.Request, what string, schedule tasker.Schedule) {
	h.log.InfoContext(r.Context(), "schedule changed", "change", what, "schedule", schedule.Name, "version", schedule.Version,
		"principal", principalName(r), "request_id", requestInfoOf(r).id)
	h.scheduler.Changed()
}

// remove serves DELETE /v1/schedules/{schedule}.
func (h *scheduleHandlers) remove(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	expected := expectedVersion(r.URL.Query(), &errs)
	if err := errs.err(); err != nil {
		return err
	}
	name, err := h.changeable(r)
	if err != nil {
		return err
	}
	if err := h.store.DeleteSchedule(r.Context(), name, expected); err != nil {
		return err
	}
	h.changed(r, "deleted", tasker.Schedule{Name: name})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pause serves POST /v1/schedules/{schedule}/pause. The body may be left out.
func (h *scheduleHandlers) pause(w http.ResponseWriter, r *http.Request) error {
	pause := tasker.SchedulePause{By: principalName(r)}
	body, free, err := optionalBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return err
	}
	if body != nil {
		if err := decodePause(body, &pause); err != nil {
			return err
		}
	}
	return h.setPause(w, r, "paused", &pause)
}

// resume serves POST /v1/schedules/{schedule}/resume.
func (h *scheduleHandlers) resume(w http.ResponseWriter, r *http.Request) error {
	return h.setPause(w, r, "resumed", nil)
}

func (h *scheduleHandlers) setPause(w http.ResponseWriter, r *http.Request, what string, pause *tasker.SchedulePause) error {
	expect, err := expectedSchedule(r.URL.Query())
	if err != nil {
		return err
	}
	name, err := h.changeable(r)
	if err != nil {
		return err
	}
	schedule, err := h.store.PauseSchedule(r.Context(), name, expect, pause)
	if err != nil {
		return err
	}
	h.changed(r, what, schedule)
	answer, err := h.answer(r.Context(), schedule)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// trigger serves POST /v1/schedules/{schedule}/trigger.
func (h *scheduleHandlers) trigger(w http.ResponseWriter, r *http.Request) error {
	expect, err := expectedSchedule(r.URL.Query())
	if err != nil {
		return err
	}
	name, err := h.changeable(r)
	if err != nil {
		return err
	}
	slot, err := h.scheduler.Trigger(r.Context(), name, principalName(r), expect)
	if err != nil {
		return err
	}
	h.log.InfoContext(r.Context(), "schedule triggered", "schedule", name, "type", slot.Type, "identifier", slot.Identifier,
		"principal", principalName(r), "request_id", requestInfoOf(r).id)
	w.Header().Set("Location", taskPath(slot.Type, slot.Identifier))
	return writeJSON(w, http.StatusCreated, slot)
}

// backfill serves POST /v1/schedules/{schedule}/backfill.
func (h *scheduleHandlers) backfill(w http.ResponseWriter, r *http.Request) error {
	name, err := h.changeable(r)
	if err != nil {
		return err
	}
	var errs inputErrors
	dry := boolParam(r.URL.Query(), "dry_run", &errs)
	if err := errs.err(); err != nil {
		return err
	}
	body, free, err := readBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return err
	}
	from, to, err := decodeBackfill(body)
	if err != nil {
		return err
	}
	slots, err := h.scheduler.Backfill(r.Context(), name, from, to, principalName(r), dry)
	if err != nil {
		return err
	}
	if !dry {
		h.log.InfoContext(r.Context(), "schedule backfilled", "schedule", name, "from", from, "to", to, "slots", len(slots),
			"principal", principalName(r), "request_id", requestInfoOf(r).id)
	}
	return writeJSON(w, http.StatusOK, client.Backfilled{DryRun: dry, Slots: append([]tasker.BackfilledSlot{}, slots...)})
}
