package protocol

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Start starts the next attempts of waiting results.
type Start struct {
	Scope
	Manager string    `json:"manager"`
	Starts  []Started `json:"starts"`
}

// Started is a [ledger.Start].
type Started struct {
	TaskID  int64 `json:"task_id"`
	Attempt int   `json:"attempt"`
}

// Validate returns what is wrong with the request.
func (r *Start) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	return validCount("starts", len(r.Starts))
}

// GiveBack undoes the start of attempts that were counted when their results were
// recorded, and have not begun.
type GiveBack struct {
	Scope
	Manager string    `json:"manager"`
	Starts  []Started `json:"starts"`
}

// Validate returns what is wrong with the request.
func (r *GiveBack) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	return validCount("starts", len(r.Starts))
}

// Resume takes over attempts that awaited a reboot.
type Resume struct {
	Scope
	Manager string    `json:"manager"`
	Starts  []Started `json:"starts"`
}

// Validate returns what is wrong with the request.
func (r *Resume) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	return validCount("starts", len(r.Starts))
}

// Done answers [Start], [GiveBack], [Resume] and [Finish]: whether each was done, in order.
type Done struct {
	Done []bool `json:"done"`
}

// Finish stores the ends of attempts.
type Finish struct {
	Scope
	Ends []End `json:"ends"`
}

// End is a [ledger.End].
type End struct {
	TaskID       int64              `json:"task_id"`
	Attempt      int                `json:"attempt"`
	State        tasker.ResultState `json:"state"`
	Errnr        int                `json:"errnr,omitempty"`
	Errmsg       string             `json:"errmsg,omitempty"`
	Payload      *string            `json:"payload,omitempty"` // a JSON text
	RetryDelayMS int64              `json:"retry_delay_ms,omitempty"`
}

// EndOf returns an end as it is sent.
func EndOf(e *ledger.End) End {
	return End{
		TaskID: e.TaskID, Attempt: e.Attempt, State: e.State, Errnr: e.Errnr, Errmsg: e.Errmsg,
		Payload: textOf(e.Payload), RetryDelayMS: Milliseconds(e.RetryDelay),
	}
}

// End returns what was sent about an endpoint.
func (e *End) End(endpoint string) ledger.End {
	return ledger.End{
		ResultKey: tasker.ResultKey{TaskID: e.TaskID, Endpoint: endpoint}, Attempt: e.Attempt, State: e.State,
		Errnr: e.Errnr, Errmsg: e.Errmsg, Payload: raw(e.Payload), RetryDelay: Duration(e.RetryDelayMS),
	}
}

// Validate returns what is wrong with the request.
func (r *Finish) Validate() error {
	if err := validCount("ends", len(r.Ends)); err != nil {
		return err
	}
	for i, e := range r.Ends {
		if err := validNumber(fmt.Sprintf("/ends/%d/errnr", i), e.Errnr); err != nil {
			return err
		}
		if !e.State.Finished() && e.State != tasker.Retrying {
			return tasker.FieldErrorf(fmt.Sprintf("/ends/%d/state", i), "invalid state %q: must be final or %s", e.State, tasker.Retrying)
		}
		if e.Payload != nil && !json.Valid([]byte(*e.Payload)) {
			return tasker.FieldErrorf(fmt.Sprintf("/ends/%d/payload", i), "invalid payload: must be a JSON text in a string")
		}
	}
	return nil
}

func textOf(value json.RawMessage) *string {
	if value == nil {
		return nil
	}
	text := string(value)
	return &text
}

func raw(text *string) json.RawMessage {
	if text == nil {
		return nil
	}
	return json.RawMessage(*text)
}

// Attempts asks for the history of a result.
type Attempts struct {
	Scope
	TaskID int64 `json:"task_id"`
}

// Validate returns what is wrong with the request.
func (r *Attempts) Validate() error { return validTaskID("/task_id", r.TaskID) }

// History answers [Attempts], without partial results.
type History struct {
	Attempts []tasker.Attempt `json:"attempts"`
}

// AwaitReboot stores that a running attempt continues after a reboot.
type AwaitReboot struct {
	Scope
	TaskID  int64  `json:"task_id"`
	Attempt int    `json:"attempt"`
	Step    int    `json:"step"`
	Boot    string `json:"boot"`
}

// Validate returns what is wrong with the request.
func (r *AwaitReboot) Validate() error {
	if !printable(r.Boot) || len(r.Boot) > maxBoot {
		return tasker.FieldErrorf("/boot", "invalid boot: must be 1 to %d printable ASCII characters", maxBoot)
	}
	return cmp.Or(validTaskID("/task_id", r.TaskID), validNumber("/attempt", r.Attempt), validNumber("/step", r.Step))
}

// Stored answers [AwaitReboot].
type Stored struct {
	Stored bool `json:"stored"`
}

// Unfinished asks which kinds of unfinished results the endpoint has.
type Unfinished struct {
	Scope
	Manager string `json:"manager"`
}

// Validate returns what is wrong with the request.
func (r *Unfinished) Validate() error { return validManager(r.Manager) }

// UnfinishedKinds answers [Unfinished]. It is a [ledger.Unfinished].
type UnfinishedKinds struct {
	Lost        bool `json:"lost"`
	Interrupted bool `json:"interrupted"`
	Waiting     bool `json:"waiting"`
	Canceled    bool `json:"canceled,omitempty"`
}

// Interrupted asks for results that run under another manager.
type Interrupted struct {
	Scope
	Manager string `json:"manager"`
	Limit   int    `json:"limit"`
}

// Validate returns what is wrong with the request.
func (r *Interrupted) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	return validLimit(r.Limit)
}

// Canceled asks for results that run under the manager and were told to stop.
type Canceled struct {
	Scope
	Manager string `json:"manager"`
	Limit   int    `json:"limit"`
}

// Validate returns what is wrong with the request.
func (r *Canceled) Validate() error {
	if err := validManager(r.Manager); err != nil {
		return err
	}
	return validLimit(r.Limit)
}

// Waiting asks for results that wait for a free slot.
type Waiting struct {
	Scope
	TaskType string `json:"task_type"`
	Limit    int    `json:"limit"`
}

// Validate returns what is wrong with the request.
func (r *Waiting) Validate() error {
	if err := validType("/task_type", r.TaskType); err != nil {
		return err
	}
	return validLimit(r.Limit)
}

// Due asks for results whose next attempt is due.
type Due struct {
	Scope
	TaskType string `json:"task_type"`
	Limit    int    `json:"limit"`
}

// Validate returns what is wrong with the request.
func (r *Due) Validate() error {
	if err := validType("/task_type", r.TaskType); err != nil {
		return err
	}
	return validLimit(r.Limit)
}

// WorkList answers [Interrupted], [Canceled], [Waiting] and [Due].
type WorkList struct {
	Work []Work `json:"work"`
}

// Work is a [ledger.Work].
type Work struct {
	Task         *Task              `json:"task"`
	State        tasker.ResultState `json:"state"`
	Attempt      int                `json:"attempt"`
	Earlier      int                `json:"earlier,omitempty"` // of the attempts, in earlier rounds of the task
	StartOrder   int64              `json:"start_order,omitempty"`
	RetryTime    *time.Time         `json:"retry_time,omitempty"`
	Step         int                `json:"step,omitempty"`
	AwaitsReboot string             `json:"awaits_reboot,omitempty"`
	// Canceled says who canceled it and why; absent if nobody did.
	Canceled string `json:"canceled,omitempty"`
}

// WorkOf returns work as it is sent.
func WorkOf(w *ledger.Work) Work {
	return Work{
		Task: TaskOf(&w.Task), State: w.State, Attempt: w.Attempt, Earlier: w.Earlier, RetryTime: w.RetryTime, Step: w.Step,
		AwaitsReboot: w.AwaitsReboot, Canceled: w.Canceled, StartOrder: w.StartOrder,
	}
}

// Work returns what was sent about an endpoint.
func (w *Work) Work(endpoint string) ledger.Work {
	work := ledger.Work{
		Endpoint: endpoint, State: w.State, Attempt: w.Attempt, Earlier: w.Earlier, RetryTime: w.RetryTime, Step: w.Step,
		AwaitsReboot: w.AwaitsReboot, Canceled: w.Canceled, StartOrder: w.StartOrder,
	}
	if w.Task != nil {
		work.Task = w.Task.Task()
	}
	return work
}

// NextRetry asks when the next attempt is due.
type NextRetry struct {
	Scope
	TaskType string `json:"task_type"`
}

// Validate returns what is wrong with the request.
func (r *NextRetry) Validate() error { return validType("/task_type", r.TaskType) }

// Next answers [NextRetry].
type Next struct {
	Time *time.Time `json:"time,omitempty"` // absent if there is none
}

// Live stores what running attempts report.
type Live struct {
	Scope
	Updates []LiveUpdate `json:"updates"`
}

// LiveUpdate is a [ledger.LiveUpdate].
type LiveUpdate struct {
	TaskID   int64            `json:"task_id"`
	Attempt  int              `json:"attempt"`
	Progress *tasker.Progress `json:"progress,omitempty"`
	Partial  *string          `json:"partial,omitempty"` // a JSON text
	Lines    []tasker.LogLine `json:"lines,omitempty"`
	Totals   tasker.LogTotals `json:"totals"`
	DropFrom int64            `json:"drop_from,omitempty"`
	DropTo   int64            `json:"drop_to,omitempty"`
}

// LiveUpdateOf returns an update as it is sent.
func LiveUpdateOf(u *ledger.LiveUpdate) LiveUpdate {
	return LiveUpdate{
		TaskID: u.TaskID, Attempt: u.Attempt, Progress: u.Progress, Partial: textOf(u.Partial), Lines: u.Lines,
		Totals: u.Totals, DropFrom: u.DropFrom, DropTo: u.DropTo,
	}
}

// Update returns what was sent about an endpoint.
func (u *LiveUpdate) Update(endpoint string) ledger.LiveUpdate {
	return ledger.LiveUpdate{
		ResultKey: tasker.ResultKey{TaskID: u.TaskID, Endpoint: endpoint}, Attempt: u.Attempt, Progress: u.Progress,
		Partial: raw(u.Partial), Lines: u.Lines, Totals: u.Totals, DropFrom: u.DropFrom, DropTo: u.DropTo,
	}
}

// Validate returns what is wrong with the request.
func (r *Live) Validate() error {
	if err := validCount("updates", len(r.Updates)); err != nil {
		return err
	}
	for i, u := range r.Updates {
		if u.Partial != nil && !json.Valid([]byte(*u.Partial)) {
			return tasker.FieldErrorf(fmt.Sprintf("/updates/%d/partial", i), "invalid partial result: must be a JSON text in a string")
		}
	}
	return nil
}
