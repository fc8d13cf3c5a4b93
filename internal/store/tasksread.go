package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
)

// The memory of a read depends on its bytes, not its rows: a payload may be a
// megabyte, and a task may have thousands of results. So some reads leave out
// payloads and return their sizes, and lists are limited by bytes.

// FindTask returns the task of a type and identifier, or [tasker.NotFound].
func (s Tasks) FindTask(ctx context.Context, taskType, identifier string) (tasker.Task, error) {
	return s.findTask(ctx, s.conn(ctx), taskType, identifier)
}

// PeekTask is FindTask without the payload if that is longer than maxPayload
// bytes.
func (s Tasks) PeekTask(ctx context.Context, taskType, identifier string, maxPayload int64) (tasker.Task, error) {
	db := s.conn(ctx).Select("id, type, identifier, status, endpoints, labels, selection, expected, targets, places, unserved,"+
		" removed_endpoints, cancellation, retry, created_by, priority, topic, on_conflict, superseded, signature, rollout,"+
		" hold, round, round_time,"+
		" start_time, accepted_time, not_after, sent_time, last_modified_time, errmsg,"+
		peekedPayload, maxPayload)
	return s.findTask(ctx, db, taskType, identifier)
}

// peekedPayload selects a payload, or NULL if it is longer than a number of
// bytes, and its size.
const peekedPayload = " CASE WHEN OCTET_LENGTH(payload) <= ? THEN payload END AS payload," +
	" COALESCE(OCTET_LENGTH(payload), 0) AS payload_size"

// ViewTask is FindTask without the payload, and without Expected, whose length is
// that of the fleet.
func (s Tasks) ViewTask(ctx context.Context, taskType, identifier string) (tasker.Task, error) {
	row, err := s.findRow(ctx, s.conn(ctx).Select("id, type, identifier, status, endpoints, labels, selection, places, unserved,"+
		" removed_endpoints, cancellation, retry, created_by, priority, topic, on_conflict, superseded, signature, rollout,"+
		" hold, round, round_time,"+
		" start_time, accepted_time, not_after, sent_time, last_modified_time, errmsg"), taskType, identifier)
	if err != nil {
		return tasker.Task{}, err
	}
	task := row.task()
	task.Expected = nil
	return task, nil
}

func (s Tasks) findTask(ctx context.Context, db *gorm.DB, taskType, identifier string) (tasker.Task, error) {
	row, err := s.findRow(ctx, db, taskType, identifier)
	if err != nil {
		return tasker.Task{}, err
	}
	task := row.task()
	// Before the targets, which the others become: so that none is left out.
	if task.Unopened, err = s.unopened(ctx, &task); err != nil {
		return tasker.Task{}, s.fail("read the waves of the task", err)
	}
	if row.Targets != nil {
		if task.Expected, err = s.targets(ctx, task.ID); err != nil {
			return tasker.Task{}, s.fail("read the targets of the task", err)
		}
	}
	if task.Deliver > 0 && row.Targets != nil && task.Status != tasker.Scheduled {
		task.Untaken, task.Closed = max(0, *row.Targets-len(task.Expected)), max(0, int(task.Deliver)-*row.Targets)
	}
	return task, nil
}

func (s Tasks) findRow(ctx context.Context, db *gorm.DB, taskType, identifier string) (row peekedTask, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return row, err
	}
	err = db.Table("tasks").Where("type = ? AND identifier = ?", taskType, identifier).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, tasker.Errorf(tasker.NotFound, "task %q of type %q not found", identifier, taskType)
	}
	return row, s.fail("read the task", err)
}

// peekedTask is a task whose payload may have been left out.
type peekedTask struct {
	ID               int64
	Type             string
	Identifier       string
	Status           tasker.TaskStatus
	Endpoints        names
	Labels           *document[map[string]string]
	Selection        *document[selection]
	Expected         names
	Unserved         names
	RemovedEndpoints names
	Cancellation     *document[tasker.Cancellation]
	Retry            *document[tasker.RetryPolicy]
	CreatedBy        *string
	Rollout          *document[tasker.Rollout]
	Priority         int
	Topic            *string
	OnConflict       *string
	Superseded       *document[tasker.Supersession]
	Signature        *document[tasker.Signature]
	Hold             *document[tasker.Hold]
	Round            int
	RoundTime        *dbTime
	StartTime        dbTime
	AcceptedTime     *dbTime
	NotAfter         *dbTime
	SentTime         *dbTime
	LastModifiedTime dbTime
	Errmsg           *string
	Targets          *int
	Places           *int
	Payload          []byte
	PayloadSize      int64
}

func (r *peekedTask) task() tasker.Task {
	row := taskRow{
		ID: r.ID, Type: r.Type, Identifier: r.Identifier, Status: r.Status, Endpoints: r.Endpoints, Labels: r.Labels,
		Selection: r.Selection, Expected: r.Expected,
		Unserved: r.Unserved, RemovedEndpoints: r.RemovedEndpoints, Cancellation: r.Cancellation, Retry: r.Retry, CreatedBy: r.CreatedBy,
		Priority: r.Priority, Topic: r.Topic, OnConflict: r.OnConflict, Superseded: r.Superseded, Signature: r.Signature,
		Rollout: r.Rollout, Hold: r.Hold,
		Round: r.Round, RoundTime: r.RoundTime,
		StartTime: r.StartTime, AcceptedTime: r.AcceptedTime, NotAfter: r.NotAfter, SentTime: r.SentTime,
		LastModifiedTime: r.LastModifiedTime, Errmsg: r.Errmsg, Targets: r.Targets, Places: r.Places,
	}
	t := row.task()
	t.Payload = r.Payload
	if r.Payload == nil {
		t.PayloadSize = r.PayloadSize
	}
	return t
}

// sized is a row of a list, and how many bytes reading all of it takes.
type sized struct {
	ID               int64
	LastModifiedTime dbTime
	Size             int64
}

func (r sized) position() tasker.ChangePosition {
	return tasker.ChangePosition{LastModifiedTime: r.LastModifiedTime.Time, ID: r.ID}
}

// listSize is the size of a task's lists of endpoints, and of its selectors and labels.
const listSize = "COALESCE(OCTET_LENGTH(endpoints), 0) + COALESCE(OCTET_LENGTH(unserved), 0)" +
	" + COALESCE(OCTET_LENGTH(removed_endpoints), 0) + COALESCE(OCTET_LENGTH(selection), 0)" +
	" + COALESCE(OCTET_LENGTH(labels), 0)"

// withinBytes returns the leading rows whose total size is within limit, but at
// least one if there are any; 0 means no limit.
func withinBytes(rows []sized, limit int64) []sized {
	var total int64
	for i, r := range rows {
		if total += r.Size; limit > 0 && total > limit && i > 0 {
			return rows[:i]
		}
	}
	return rows
}

// ListTasks returns one page of a type's tasks, newest first, and whether more
// follow.
func (s Tasks) ListTasks(ctx context.Context, q tasker.TaskQuery) (tasks []tasker.Task, more bool, err error) {
	size := listSize
	if !q.WithoutPayload {
		size += " + OCTET_LENGTH(payload)"
	}
	find := s.conn(ctx).Table("tasks").Select("id, "+size+" AS size").Where("type = ?", q.Type)
	if q.Status != "" {
		find = find.Where("status = ?", q.Status)
	}
	if q.Before > 0 {
		find = find.Where("id < ?", q.Before)
	}
	var found []sized
	if err := find.Order("id DESC").Limit(q.Limit + 1).Find(&found).Error; err != nil {
		return nil, false, s.fail("list the tasks", err)
	}
	page := withinBytes(found[:min(q.Limit, len(found))], q.MaxBytes)
	tasks, err = s.tasksOf(ctx, page, !q.WithoutPayload)
	return tasks, len(page) < len(found), s.fail("list the tasks", err)
}

// tasksOf reads the tasks of a page, in its order, without Expected. Tasks
// deleted meanwhile are left out.
func (s Tasks) tasksOf(ctx context.Context, page []sized, payload bool) ([]tasker.Task, error) {
	if len(page) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(page))
	for i, r := range page {
		ids[i] = r.ID
	}
	columns := []string{
		"id", "type", "identifier", "status", "endpoints", "labels", "selection", "places", "unserved", "removed_endpoints", "cancellation",
		"retry", "created_by", "priority", "topic", "on_conflict", "superseded", "signature", "rollout", "hold",
		"round", "round_time",
		"start_time", "accepted_time", "not_after", "sent_time", "last_modified_time", "errmsg",
	}
	if payload {
		columns = append(columns, "payload")
	}
	var rows []peekedTask
	if err := s.conn(ctx).Table("tasks").Select(columns).Where("id IN ?", ids).Find(&rows).Error; err != nil {
		return nil, err
	}
	byID := make(map[int64]*peekedTask, len(rows))
	for i := range rows {
		byID[rows[i].ID] = &rows[i]
	}
	tasks := make([]tasker.Task, 0, len(rows))
	for _, id := range ids {
		if row, ok := byID[id]; ok {
			tasks = append(tasks, row.task())
		}
	}
	return tasks, nil
}

// maxChanged limits the lists of endpoints, in bytes, that one call of
// [Tasks.ChangedTasks] reads.
const maxChanged = 4 << 20

// ChangedTasks returns up to limit tasks after a position, without their
// payloads, in the order in which their statuses changed; the position of the
// last one, or after if there is none; and whether more follow. A task that
// changed twice is returned once, with its latest state. Tasks whose position
// known reports are skipped without being read; known may be nil.
//
// Changes may become visible late and out of order. To miss none, ask again
// from a few seconds earlier each time, and skip those seen before.
func (s Tasks) ChangedTasks(
	ctx context.Context, after tasker.ChangePosition, limit int, known func(tasker.ChangePosition) bool,
) (tasks []tasker.Task, next tasker.ChangePosition, more bool, err error) {
	var found []sized
	when := dbTime{after.LastModifiedTime}
	err = s.conn(ctx).Table("tasks").Select("id, last_modified_time, "+listSize+" AS size").
		Where("last_modified_time >= ? AND (last_modified_time > ? OR id > ?)", when, when, after.ID).
		Order("last_modified_time, id").Limit(limit + 1).Find(&found).Error
	if err != nil {
		return nil, after, false, s.fail("read the changed tasks", err)
	}
	page := found[:min(limit, len(found))]
	if len(page) == 0 {
		return nil, after, false, nil
	}
	unknown := slices.DeleteFunc(slices.Clone(page), func(r sized) bool { return known != nil && known(r.position()) })
	next, more = page[len(page)-1].position(), len(page) < len(found)
	if part := withinBytes(unknown, maxChanged); len(part) < len(unknown) {
		unknown, next, more = part, part[len(part)-1].position(), true
	}
	tasks, err = s.tasksOf(ctx, unknown, false)
	if err != nil {
		return nil, after, false, s.fail("read the changed tasks", err)
	}
	return tasks, next, more, nil
}

// TaskName returns the type and identifier of the task with an id, or
// [tasker.NotFound].
func (s Tasks) TaskName(ctx context.Context, id int64) (taskType, identifier string, err error) {
	var row taskRow
	err = s.conn(ctx).Select("type", "identifier").Where("id = ?", id).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return "", "", tasker.Errorf(tasker.NotFound, "task %d not found: it never existed, or it was deleted", id)
	}
	return row.Type, row.Identifier, s.fail("read the task", err)
}

// ResultPayload is [Inbox.TaskPayload] of a task that an endpoint has recorded. For
// any other task it returns [tasker.NotFound].
func (s Inbox) ResultPayload(ctx context.Context, key tasker.ResultKey) (json.RawMessage, error) {
	var recorded []string
	err := s.conn(ctx).Model(&resultRow{}).Where("task_id = ? AND endpoint = ?", key.TaskID, key.Endpoint).Pluck("state", &recorded).Error
	switch {
	case err != nil:
		return nil, s.fail("read the result of the endpoint", err)
	case len(recorded) == 0:
		return nil, tasker.Errorf(tasker.NotFound, "task %d not found among those that endpoint %s has recorded", key.TaskID, key.Endpoint)
	}
	return s.TaskPayload(ctx, key.TaskID)
}

// TaskPayload returns the payload of a task, or [tasker.NotFound].
func (s Inbox) TaskPayload(ctx context.Context, taskID int64) (json.RawMessage, error) {
	var payloads []string
	err := s.conn(ctx).Model(&taskRow{}).Where("id = ?", taskID).Pluck("payload", &payloads).Error
	switch {
	case err != nil:
		return nil, s.fail("read the payload", err)
	case len(payloads) == 0:
		return nil, tasker.Errorf(tasker.NotFound, "task %d not found: it was deleted", taskID)
	}
	return json.RawMessage(payloads[0]), nil
}
