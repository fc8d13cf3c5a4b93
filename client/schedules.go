package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
)

// NewSchedule is a schedule to be created, or to replace another one. Exactly one of
// Cron, Every and At is given. Durations are texts such as "1h30m". What is empty has
// its default.
type NewSchedule struct {
	Cron     string      `json:"cron,omitempty"`  // five fields, or a name such as @daily
	Every    string      `json:"every,omitempty"` // at least a minute, from the creation of the schedule
	At       []time.Time `json:"at,omitempty"`
	TimeZone string      `json:"time_zone,omitempty"` // of Cron; UTC if empty
	// Task is what a POST would have, without what the schedule decides: its type and
	// the fields of [NewTask] but for Identifier, Plan, StartTime and In.
	Task json.RawMessage `json:"task"`
	// CatchUp is how late a slot may still fire; 1h if empty.
	CatchUp string `json:"catch_up,omitempty"`
	// Missed decides which of several missed slots fire; the last if empty.
	Missed tasker.MissedPolicy `json:"missed,omitempty"`
	// Overlap decides what becomes of a slot while the task of an earlier one runs;
	// it is skipped if empty.
	Overlap         tasker.OverlapPolicy `json:"overlap,omitempty"`
	Jitter          string               `json:"jitter,omitempty"`
	Paused          *bool                `json:"paused,omitempty"` // nil leaves that as it is
	PauseOnFailures int                  `json:"pause_on_failures,omitempty"`
	Until           *time.Time           `json:"until,omitempty"`
}

// ScheduleAnswer is a schedule with its next and its last slots.
type ScheduleAnswer struct {
	tasker.Schedule
	Upcoming []tasker.UpcomingSlot `json:"upcoming"` // the next ten
	Slots    []tasker.ScheduleSlot `json:"slots"`    // the last ten, newest first
}

// SchedulePage is one page of schedules, by name.
type SchedulePage struct {
	Schedules []tasker.Schedule `json:"schedules"`
	Next      *string           `json:"next"` // cursor of the next page; nil on the last one
}

// SlotPage is one page of the slots of a schedule, newest first.
type SlotPage struct {
	Slots []tasker.ScheduleSlot `json:"slots"`
	Next  *string               `json:"next"` // cursor of the next page; nil on the last one
}

// UpcomingSlots are the next slots of a schedule.
type UpcomingSlots struct {
	Upcoming []tasker.UpcomingSlot `json:"upcoming"`
}

// SchedulePauseRequest pauses a schedule.
type SchedulePauseRequest struct {
	// Reason is for people; at most [tasker.MaxReason] bytes.
	Reason string `json:"reason,omitempty"`
}

// Backfill asks for the slots from a time to another one, which have passed.
type Backfill struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Backfilled are the slots of a [Backfill].
type Backfilled struct {
	DryRun bool                    `json:"dry_run"` // nothing was done
	Slots  []tasker.BackfilledSlot `json:"slots"`
}

// AnyVersion replaces or deletes a schedule whatever its version is.
const AnyVersion int64 = -1

// PutSchedule creates or replaces a schedule, and reports whether it created it. If its
// version is not the one that is given, 0 for that of none, the error is
// [tasker.Conflict]: somebody else was faster. It is safe to repeat the call with
// [AnyVersion].
func (c *Client) PutSchedule(
	ctx context.Context, name string, s NewSchedule, version int64,
) (answer ScheduleAnswer, created bool, err error) {
	path, err := schedulePath(name)
	if err != nil {
		return ScheduleAnswer{}, false, err
	}
	r := request{method: http.MethodPut, path: path, query: versionQuery(version), body: s, retry: version == AnyVersion}
	status, err := c.call(ctx, r, &answer)
	return answer, status == http.StatusCreated, err
}

func versionQuery(version int64) url.Values {
	if version == AnyVersion {
		return nil
	}
	return url.Values{"version": {strconv.FormatInt(version, 10)}}
}

// NoTime stands for the time of what does not exist, in a query.
const NoTime = "none"

// scheduleQuery returns the query of an act that expects a schedule to be so.
func scheduleQuery(expect tasker.ScheduleExpect) url.Values {
	query := url.Values{}
	if expect.Version != nil {
		query.Set("version", strconv.FormatInt(*expect.Version, 10))
	}
	for name, at := range map[string]*time.Time{"pause": expect.Pause, "latest": expect.Latest} {
		switch {
		case at == nil:
		case at.IsZero():
			query.Set(name, NoTime)
		default:
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return query
}

func schedulePath(name string, more ...string) ([]string, error) {
	return append([]string{"v1", "schedules", name}, more...), tasker.ValidateScheduleName(name)
}

// Schedules returns the schedules, by name. It ends after an error.
func (c *Client) Schedules(ctx context.Context) iter.Seq2[tasker.Schedule, error] {
	return pages(ctx, c, request{path: []string{"v1", "schedules"}, query: url.Values{}},
		func(p *SchedulePage) ([]tasker.Schedule, *string) { return p.Schedules, p.Next })
}

// Schedule returns a schedule with its next and its last slots, or a [tasker.NotFound]
// error.
func (c *Client) Schedule(ctx context.Context, name string) (answer ScheduleAnswer, err error) {
	path, err := schedulePath(name)
	if err != nil {
		return ScheduleAnswer{}, err
	}
	_, err = c.call(ctx, request{path: path, retry: true}, &answer)
	return answer, err
}

// ScheduleSlots returns the slots of a schedule that are kept, newest first. It ends
// after an error.
func (c *Client) ScheduleSlots(ctx context.Context, name string) iter.Seq2[tasker.ScheduleSlot, error] {
	path, err := schedulePath(name, "slots")
	if err != nil {
		return func(yield func(tasker.ScheduleSlot, error) bool) { yield(tasker.ScheduleSlot{}, err) }
	}
	return pages(ctx, c, request{path: path, query: url.Values{}},
		func(p *SlotPage) ([]tasker.ScheduleSlot, *string) { return p.Slots, p.Next })
}

// UpcomingSlots returns the next 1-100 slots of a schedule.
func (c *Client) UpcomingSlots(ctx context.Context, name string, n int) ([]tasker.UpcomingSlot, error) {
	path, err := schedulePath(name, "next")
	if err != nil {
		return nil, err
	}
	var answer UpcomingSlots
	_, err = c.call(ctx, request{path: path, query: url.Values{"n": {strconv.Itoa(n)}}, retry: true}, &answer)
	return answer.Upcoming, err
}

// PreviewSchedule returns the next 1-100 slots that a schedule of a name would have. It
// uses Cron, Every, At, TimeZone, Until and Jitter of s. An empty name is that of no
// schedule yet.
func (c *Client) PreviewSchedule(ctx context.Context, name string, s NewSchedule, n int) ([]tasker.UpcomingSlot, error) {
	query := url.Values{"n": {strconv.Itoa(n)}}
	for key, value := range map[string]string{
		"name": name, "cron": s.Cron, "every": s.Every, "time_zone": s.TimeZone, "jitter": s.Jitter,
	} {
		if value != "" {
			query.Set(key, value)
		}
	}
	for _, at := range s.At {
		query.Add("at", at.Format(time.RFC3339Nano))
	}
	if s.Until != nil {
		query.Set("until", s.Until.Format(time.RFC3339Nano))
	}
	var answer UpcomingSlots
	_, err := c.call(ctx, request{path: []string{"v1", "schedule-preview"}, query: query, retry: true}, &answer)
	return answer.Upcoming, err
}

// PauseSchedule pauses a schedule: its slots pass without firing. The reason is for
// people. The error is [tasker.Conflict] if its version or its pause is not as expected;
// without an expectation it is safe to repeat the call.
func (c *Client) PauseSchedule(ctx context.Context, name, reason string, expect tasker.ScheduleExpect) (ScheduleAnswer, error) {
	return c.changeSchedule(ctx, name, "pause", expect, SchedulePauseRequest{Reason: reason})
}

// ResumeSchedule resumes a schedule. What passed while it was paused does not fire. The
// expectation is as for PauseSchedule.
func (c *Client) ResumeSchedule(ctx context.Context, name string, expect tasker.ScheduleExpect) (ScheduleAnswer, error) {
	return c.changeSchedule(ctx, name, "resume", expect, nil)
}

func (c *Client) changeSchedule(
	ctx context.Context, name, verb string, expect tasker.ScheduleExpect, body any,
) (answer ScheduleAnswer, err error) {
	path, err := schedulePath(name, verb)
	if err != nil {
		return ScheduleAnswer{}, err
	}
	expect.Latest = nil // slots do not matter
	r := request{method: http.MethodPost, path: path, query: scheduleQuery(expect), body: body, retry: expect.IsZero()}
	_, err = c.call(ctx, r, &answer)
	return answer, err
}

// TriggerSchedule creates a task of a schedule now, besides its slots, also while it is
// paused. Each call creates one. The error is [tasker.Conflict] if the schedule is not as
// expected: with the latest slot that somebody saw, of two that trigger it at the same
// moment one does.
func (c *Client) TriggerSchedule(ctx context.Context, name string, expect tasker.ScheduleExpect) (slot tasker.ScheduleSlot, err error) {
	path, err := schedulePath(name, "trigger")
	if err != nil {
		return tasker.ScheduleSlot{}, err
	}
	_, err = c.call(ctx, request{method: http.MethodPost, path: path, query: scheduleQuery(expect)}, &slot)
	return slot, err
}

// BackfillSchedule creates the tasks of up to 100 slots that have passed and did not
// fire, or with dryRun only returns them. It is safe to repeat the call.
func (c *Client) BackfillSchedule(ctx context.Context, name string, b Backfill, dryRun bool) (done Backfilled, err error) {
	path, err := schedulePath(name, "backfill")
	if err != nil {
		return Backfilled{}, err
	}
	query := url.Values{"dry_run": {strconv.FormatBool(dryRun)}}
	_, err = c.call(ctx, request{method: http.MethodPost, path: path, query: query, body: b, retry: true}, &done)
	return done, err
}

// DeleteSchedule deletes a schedule; its tasks stay. The error is [tasker.NotFound], or
// [tasker.Conflict] if its version is not the one that is given.
func (c *Client) DeleteSchedule(ctx context.Context, name string, version int64) error {
	path, err := schedulePath(name)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, request{method: http.MethodDelete, path: path, query: versionQuery(version)}, nil)
	return err
}
