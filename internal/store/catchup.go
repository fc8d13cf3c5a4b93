package store

import (
	"context"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// catchUpPage limits the targets of an endpoint that one call of
// [Inbox.UnreceivedTasks] examines, so that its cost does not depend on how many
// there are.
const catchUpPage = 500

// UnreceivedTasks returns up to limit open tasks of the given types that have an
// endpoint as a target but no result of it: their message was lost, or was
// published while the endpoint had no queue. They come without payload and lists
// of endpoints, in the order of their ids. next is where the following page
// begins, the zero value after the last one; a page may be empty although others
// follow.
//
// With since, tasks that were retried since then come last.
//
// CREATED tasks, whose message may have been published just before the endpoint's
// queue was bound, are among them: an endpoint that asks after binding its queue
// misses none. Tasks sent before since are skipped; the zero time means none.
func (s Inbox) UnreceivedTasks(
	ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int,
) (tasks []tasker.Task, next ledger.SentPosition, err error) {
	if after.SentTime.IsZero() {
		tasks, next, err = s.unreceived(ctx, endpoint, taskTypes, since, after, limit)
		if err != nil || next != (ledger.SentPosition{}) || since.IsZero() {
			return tasks, next, err
		}
		after = ledger.SentPosition{SentTime: since}
		if len(tasks) > 0 {
			return tasks, after, nil
		}
	}
	return s.unreceivedAgain(ctx, endpoint, taskTypes, after, limit)
}

// unreceived is UnreceivedTasks without the tasks that were retried. A position is the
// id of a task.
func (s Inbox) unreceived(
	ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int,
) (tasks []tasker.Task, next ledger.SentPosition, err error) {
	if after == (ledger.SentPosition{}) {
		if err := Statuses(s).ConvertTasks(ctx); err != nil {
			return nil, next, err
		}
		first, err := s.firstOpen(ctx, since)
		if err != nil || first == 0 {
			return nil, next, s.fail("find the open tasks", err)
		}
		after.ID = first - 1
	}
	var page []int64
	err = s.conn(ctx).Model(&targetRow{}).Where("endpoint = ? AND task_id > ?", endpoint, after.ID).
		Order("task_id").Limit(catchUpPage).Pluck("task_id", &page).Error
	if err != nil || len(page) == 0 {
		return nil, next, s.fail("read the targets at the endpoint", err)
	}
	if len(page) == catchUpPage {
		next.ID = page[len(page)-1]
	}
	var rows []taskRow
	err = s.conn(ctx).Select("id", "type", "identifier", "status", "start_time", "sent_time", "last_modified_time").
		Where("id IN ? AND type IN ?", page, taskTypes).
		Where("(status = ? OR status IN ? AND sent_time >= ?)", tasker.Created, wanted, dbTime{since}).
		Where("NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = tasks.id AND r.endpoint = ?)", endpoint).
		// Names need no escaping in JSON.
		Where("INSTR(COALESCE(removed_endpoints, ''), ?) = 0", `"`+endpoint+`"`).
		Order("id").Find(&rows).Error
	if err != nil {
		return nil, ledger.SentPosition{}, s.fail("read the tasks not received by the endpoint", err)
	}
	for i := range rows {
		if len(tasks) == limit {
			return tasks, ledger.SentPosition{ID: tasks[limit-1].ID}, nil
		}
		tasks = append(tasks, rows[i].task())
	}
	return tasks, next, nil
}

// unreceivedAgain is UnreceivedTasks for the tasks that were retried since a time. Such
// a task may be older than all others that are open: they are read by themselves, so
// that nobody goes through what has ended between. A position is that time, with the id
// of a round.
func (s Inbox) unreceivedAgain(
	ctx context.Context, endpoint string, taskTypes []string, after ledger.SentPosition, limit int,
) (tasks []tasker.Task, next ledger.SentPosition, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, next, err
	}
	var rows []struct {
		Task    taskRow `gorm:"embedded"`
		RoundID int64
	}
	err = s.conn(ctx).Table("rounds r").Joins("JOIN task_targets g ON g.task_id = r.task_id AND g.endpoint = ?", endpoint).
		Joins("JOIN tasks t ON t.id = r.task_id").
		Select("t.id, t.type, t.identifier, t.status, t.start_time, t.sent_time, t.round_time, t.last_modified_time, r.id AS round_id").
		Where("r.round_time >= ? AND r.id > ? AND t.type IN ? AND t.status IN ?", dbTime{after.SentTime}, after.ID, taskTypes, wanted).
		Where("NOT EXISTS (SELECT 1 FROM task_results x WHERE x.task_id = r.task_id AND x.endpoint = ?)", endpoint).
		Where("INSTR(COALESCE(t.removed_endpoints, ''), ?) = 0", `"`+endpoint+`"`).
		Order("r.id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, next, s.fail("read the retried tasks not received by the endpoint", err)
	}
	for i := range rows {
		tasks = append(tasks, rows[i].Task.task())
	}
	if len(rows) == limit {
		next = ledger.SentPosition{SentTime: after.SentTime, ID: rows[limit-1].RoundID}
	}
	return tasks, next, nil
}

// firstOpen returns the lowest id of the tasks that are CREATED, or open and sent
// since a time; 0 if there are none. Each part of the statement is the first entry
// of an index or, with a time, the lowest of those sent since.
func (s Inbox) firstOpen(ctx context.Context, since time.Time) (first int64, err error) {
	const lowest = "SELECT MIN(id) AS id FROM tasks WHERE status = ? AND "
	parts, args := []string{lowest + "sent_time IS NULL"}, []any{tasker.Created}
	for _, status := range wanted {
		if since.IsZero() {
			parts, args = append(parts, lowest+"relay_time IS NULL"), append(args, status)
		} else {
			parts, args = append(parts, lowest+"sent_time >= ?"), append(args, status, dbTime{since})
		}
	}
	err = s.conn(ctx).Raw("SELECT COALESCE(MIN(id), 0) FROM ("+strings.Join(parts, " UNION ALL ")+") f", args...).Scan(&first).Error
	return first, err
}
