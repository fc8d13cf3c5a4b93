package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Cancels cancels tasks.
type Cancels struct{ *DB }

// A task is canceled in one transaction, which locks it: no endpoint joins it
// meanwhile. At each endpoint it races with what that does, and the row decides.
//
//   - A target without a result gets one, which is CANCELED. If the task arrives at
//     the same time, the unique key lets one of the two come first.
//   - A result that waits becomes CANCELED. Its start finds it in another state.
//   - A place that nobody has taken is closed.
//   - A result that runs is only marked, with the id of the cancellation. Its
//     manager sees the mark, stops the run and stores the end. The mark keeps every
//     further attempt and step from starting. If the run finishes before, that end is
//     stored as it is.

// maxPrincipal is the size in characters of the column with who canceled a task.
const maxPrincipal = 255

// cancelRow is a cancellation.
type cancelRow struct {
	ID          int64 `gorm:"primaryKey"`
	TaskID      int64
	Endpoints   names
	RequestedBy string
	Reason      string
	CancelTime  dbTime
}

// TableName returns the table of cancellations.
func (cancelRow) TableName() string { return "cancels" }

// errNothing rolls back a cancellation that found nothing to cancel.
var errNothing = errors.New("nothing to cancel")

// CancelTask cancels a task, or named endpoints of it, and returns what became of
// each. The same again changes nothing, and returns what has become of them since.
// The error is [tasker.NotFound] if the task does not exist, [tasker.Invalid] with
// the field if it is not for a named endpoint, and [tasker.Conflict] if it has ended
// and was not canceled, or every endpoint has finished it.
//
// From the moment at which this returns, nothing starts at the endpoints that are
// Stopped, no further attempt at the others, and nobody else receives a task that was
// canceled as a whole.
func (s Cancels) CancelTask(ctx context.Context, request tasker.CancelRequest) (outcome tasker.CancelOutcome, err error) {
	request.By = text.CutValid(request.By, maxPrincipal)
	ended := endedTasks{}
	err = s.transact(ctx, "cancel the task", func(tx *gorm.DB) (err error) {
		clear(ended)
		outcome, err = s.cancel(tx, request, ended)
		if errors.Is(err, errNothing) {
			return hasEnded(outcome)
		}
		return err
	})
	if err != nil {
		return tasker.CancelOutcome{}, err
	}
	s.report(ended)
	return outcome, nil
}

// hasEnded returns the error for a task with nothing to cancel.
func hasEnded(o tasker.CancelOutcome) error {
	const form = "task %q of type %q has ended: %s: nothing was canceled"
	switch {
	case o.Task.Status.Final():
		return tasker.Errorf(tasker.Conflict, form, o.Task.Identifier, o.Task.Type,
			"it is "+string(o.Task.Status)+" since "+o.Task.LastModifiedTime.Format(time.RFC3339))
	case len(o.FinishedBefore) == 1:
		return tasker.Errorf(tasker.Conflict, form, o.Task.Identifier, o.Task.Type, "endpoint "+o.FinishedBefore[0]+" has finished it")
	}
	return tasker.Errorf(tasker.Conflict, form, o.Task.Identifier, o.Task.Type,
		"all "+strconv.Itoa(len(o.FinishedBefore))+" endpoints have finished it")
}

// cancel is CancelTask in a transaction. The error is errNothing, with the outcome,
// if there is nothing to cancel.
func (s Cancels) cancel(tx *gorm.DB, request tasker.CancelRequest, ended endedTasks) (tasker.CancelOutcome, error) {
	row, err := s.lockTask(tx, request.Type, request.Identifier)
	if err == nil && row.Rollout != nil {
		err = releaseTargets(tx, row.ID, request.Endpoints)
	}
	if err != nil {
		return tasker.CancelOutcome{}, err
	}
	c := cancellation{Cancels: s, tx: tx, request: request, task: row.task()}
	if err := c.checkNames(); err != nil {
		return tasker.CancelOutcome{}, err
	}
	outcome, untouched, err := c.look()
	if err != nil {
		return outcome, err
	}
	if over, err := c.over(outcome, untouched); over || err != nil {
		return outcome, err
	}
	if err := c.change(ended); err != nil {
		return outcome, err
	}
	if outcome, _, err = c.look(); err != nil {
		return outcome, err
	}
	if !c.task.Status.Final() && !canceledAny(outcome) && len(outcome.FinishedBefore) > 0 {
		return outcome, errNothing // they finished in between
	}
	return outcome, nil
}

// over reports whether there is nothing to change, since it is canceled already. The
// error is errNothing if there was nothing to cancel.
func (c *cancellation) over(outcome tasker.CancelOutcome, untouched int) (bool, error) {
	canceled := canceledAny(outcome)
	switch {
	case c.task.Cancel != nil && c.task.Cancel.All:
		return true, nil
	case c.task.Status.Final():
		if c.request.Endpoints == nil || !canceled || len(outcome.FinishedBefore) > 0 {
			return true, errNothing
		}
		return true, nil
	case untouched == 0 && !canceled && len(outcome.FinishedBefore) > 0:
		return true, errNothing
	}
	return untouched == 0 && c.request.Endpoints != nil, nil
}

// canceledAny reports whether the task is canceled at some endpoint.
func canceledAny(o tasker.CancelOutcome) bool {
	return len(o.Stopped)+len(o.Stopping)+len(o.Unreachable) > 0
}

// lockTask locks and reads the task, which then has targets.
func (s *DB) lockTask(tx *gorm.DB, taskType, identifier string) (row taskRow, err error) {
	switch row, err = lockNamed(tx, taskType, identifier); {
	case err != nil || row.Targets != nil || row.Status.Final() || row.Status == tasker.Scheduled:
		return row, err
	case row.Status == tasker.Created:
		_, err = Outbox{s}.targetUnsent(tx, row.ID)
	default:
		err = s.convertLocked(tx, []int64{row.ID})
	}
	return row, err
}

// cancellation is one call of [Cancels.CancelTask].
type cancellation struct {
	Cancels
	tx      *gorm.DB
	request tasker.CancelRequest
	task    tasker.Task
}

// checkNames returns an error unless the task is for the named endpoints.
func (c *cancellation) checkNames() error {
	if c.task.Status == tasker.Scheduled && c.request.Endpoints != nil {
		return tasker.Errorf(tasker.Conflict, "task %q has not started: cancel it for all endpoints", c.task.Identifier)
	}
	return checkEndpoints(c.tx, &c.task, c.request.Endpoints)
}

// checkEndpoints returns an error unless a task is for all of some endpoints.
func checkEndpoints(tx *gorm.DB, task *tasker.Task, endpoints []string) error {
	known := map[string]bool{}
	for part := range slices.Chunk(endpoints, maxRows) {
		for _, table := range []string{"task_targets", "task_results"} {
			var found []string
			err := tx.Table(table).Where("task_id = ? AND endpoint IN ?", task.ID, part).Pluck("endpoint", &found).Error
			if err != nil {
				return err
			}
			for _, name := range found {
				known[name] = true
			}
		}
	}
	for _, name := range endpoints {
		switch {
		case task.Removed(name):
			return tasker.FieldErrorf("/endpoints", "endpoint %q was removed: the task no longer expects it", name)
		case !known[name]:
			return tasker.FieldErrorf("/endpoints", "task %q is not for endpoint %q", task.Identifier, name)
		}
	}
	return nil
}

// change cancels what can be canceled.
func (c *cancellation) change(ended endedTasks) error {
	now := dbTime{c.Now()}
	by := tasker.Cancellation{By: c.request.By, At: now.Time, Reason: c.request.Reason, All: c.request.Endpoints == nil}
	entry := cancelRow{
		TaskID: c.task.ID, Endpoints: c.request.Endpoints, RequestedBy: by.By, Reason: by.Reason, CancelTime: now,
	}
	if err := c.tx.Create(&entry).Error; err != nil {
		return err
	}
	set := map[string]any{"cancellation": document[tasker.Cancellation]{by}}
	if by.All {
		set["status"], set["last_modified_time"], set["relay_time"], set["sent_to"], set["refusal"] = tasker.Canceling, now, nil, nil, nil
	}
	move := c.tx.Model(&taskRow{}).Where("id = ? AND status IN ?", c.task.ID, unended())
	if by.All {
		move = c.tx.Model(&taskRow{}).Where("id = ? AND status IN ?", c.task.ID, tasker.TaskStatusesBefore(tasker.Canceling))
	}
	if err := move.Updates(set).Error; err != nil {
		return err
	}
	if c.task.Rollout != nil && by.All {
		row := taskRow{ID: c.task.ID, Rollout: &document[tasker.Rollout]{*c.task.Rollout}}
		if err := (Rollouts{c.DB}).cancelRollout(c.tx, &row, &by); err != nil {
			return err
		}
	}
	if c.task.Deliver > 0 && by.All {
		if err := closePlaces(c.tx, c.task.ID); err != nil {
			return err
		}
	}
	if err := c.changeResults(entry.ID, by.Errmsg(), now); err != nil {
		return err
	}
	if err := c.settle(now, ended); err != nil {
		return err
	}
	var row taskRow
	err := c.tx.Omit("payload", "request_hash", "expected").Where("id = ?", c.task.ID).Take(&row).Error
	c.task = row.task()
	return err
}

// changeResults cancels the results that wait or are missing, and marks those that
// run. The marks come first, and lock the rows: so each row that had not ended is in
// exactly one of the two states.
func (c *cancellation) changeResults(id int64, errmsg string, now dbTime) error {
	for _, part := range c.parts() {
		within, names := "", []any{}
		if part != nil {
			within, names = " AND g.endpoint IN ?", []any{part}
		}
		args := append([]any{tasker.ResultCanceled, tasker.ErrnrCanceled, errmsg, now, now, id, c.task.ID}, names...)
		err := c.tx.Exec("INSERT INTO task_results (task_id, endpoint, manager, state, attempt, errnr, errmsg, start_time,"+
			" last_modified_time, cancel_id) SELECT g.task_id, g.endpoint, '', ?, 0, ?, ?, ?, ?, ?"+
			" FROM task_targets g WHERE g.task_id = ?"+within+
			" AND NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = g.task_id AND r.endpoint = g.endpoint)"+
			// If it arrives at the same time, nothing changes here.
			c.dialect.upsert([]string{"task_id", "endpoint"}, []string{"task_id"}), args...).Error
		if err != nil {
			return err
		}
		err = c.results(part).Where("state IN ? AND cancel_id IS NULL", tasker.UnfinishedResultStates()).Update("cancel_id", id).Error
		if err != nil {
			return err
		}
		err = c.results(part).Where("(state IN ? OR state = ? AND lost_from IN ?)", waiting, tasker.Lost, waiting).
			Updates(map[string]any{
				"state": tasker.ResultCanceled, "errnr": tasker.ErrnrCanceled, "errmsg": errmsg,
				"lost_from": nil, "lost_errnr": nil, "lost_errmsg": nil, "retry_time": nil, "last_modified_time": now,
			}).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// parts returns the named endpoints in parts for one statement each, or nil alone
// for all.
func (c *cancellation) parts() (parts [][]string) {
	if c.request.Endpoints == nil {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(c.request.Endpoints, maxRows))
}

// results selects the results of the task at some endpoints, or at all if part is
// nil.
func (c *cancellation) results(part []string) *gorm.DB {
	rows := c.tx.Model(&resultRow{}).Where("task_id = ?", c.task.ID)
	if part != nil {
		rows = rows.Where("endpoint IN ?", part)
	}
	return rows
}

// settle stores the status that the results imply.
func (c *cancellation) settle(now dbTime, ended endedTasks) error {
	const never = 100 * 365 * 24 * time.Hour // no task becomes overdue by this
	if _, _, err := (Statuses{c.DB}).aggregate(c.tx, []int64{c.task.ID}, never, ended); err != nil {
		return err
	}
	// One that runs was sent, even if that is not stored.
	return c.tx.Model(&taskRow{}).Where("id = ? AND status = ? AND sent_time IS NULL", c.task.ID, tasker.Canceling).
		Update("sent_time", now).Error
}

// look returns what has become of the task at its endpoints. untouched is the number
// of those at which it was not canceled and has not ended.
func (c *cancellation) look() (outcome tasker.CancelOutcome, untouched int, err error) {
	outcome.Task = c.task
	outcome.Task.Payload = nil
	now := c.Now()
	if c.task.Deliver > 0 && c.request.Endpoints == nil {
		if untouched, err = untakenPlaces(c.tx, c.task.ID); err != nil {
			return outcome, 0, err
		}
	}
	for _, part := range c.parts() {
		var rows []struct {
			Endpoint   string
			State      tasker.ResultState
			Errnr      int
			CancelID   *int64
			LeaseUntil *dbTime
		}
		find := c.tx.Table("task_results r").Joins("LEFT JOIN endpoints e ON e.name = r.endpoint").
			Select("r.endpoint, r.state, r.errnr, r.cancel_id, e.lease_until").Where("r.task_id = ?", c.task.ID)
		missing := withoutResult(c.tx, []int64{c.task.ID})
		if part != nil {
			find, missing = find.Where("r.endpoint IN ?", part), missing.Where("g.endpoint IN ?", part)
		}
		if err := find.Order("r.endpoint").Find(&rows).Error; err != nil {
			return outcome, 0, err
		}
		var none int64
		if err := missing.Count(&none).Error; err != nil {
			return outcome, 0, err
		}
		untouched += int(none)
		for _, r := range rows {
			switch {
			case r.Errnr == tasker.ErrnrRemoved || c.task.Removed(r.Endpoint):
			case r.State == tasker.ResultCanceled:
				outcome.Stopped = append(outcome.Stopped, r.Endpoint)
			case r.State.Finished():
				outcome.FinishedBefore = append(outcome.FinishedBefore, r.Endpoint)
			case r.CancelID == nil:
				untouched++
			case r.State == tasker.Lost || r.LeaseUntil == nil || !r.LeaseUntil.After(now):
				outcome.Unreachable = append(outcome.Unreachable, r.Endpoint)
			default:
				outcome.Stopping = append(outcome.Stopping, r.Endpoint)
			}
		}
	}
	return outcome, untouched, nil
}
