package store

import (
	"context"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
)

const (
	// searchWindow is how many tasks one statement of a search looks at, and
	// textWindow how many if it has to read payloads and results.
	searchWindow, textWindow = 2000, 100
	// searchTime is after how long a search begins no other window: the page ends
	// there, however short it is.
	searchTime = time.Second
	// maxRanges is how many ranges of an index are merged at most. A search for more
	// types and statuses goes through all tasks.
	maxRanges = 64
)

// SearchTasks returns one page of the tasks of all types, newest first, without their
// payloads and Expected, and the ID before which the next page begins, 0 if this is
// the last one. A call takes about a second at most: then a page is short, or even
// empty, although more may follow.
func (s Tasks) SearchTasks(ctx context.Context, q tasker.TaskSearch) (tasks []tasker.Task, next int64, err error) {
	begun := time.Now()
	oldest, err := s.oldestSince(ctx, q.Since)
	if err != nil || oldest < 0 {
		return nil, 0, s.fail("search for the tasks", err)
	}
	var page []sized
	for window := q; ; window.Before, window.Limit = next, q.Limit-len(page) {
		var found []sized
		if found, next, err = s.searchWindow(ctx, window, oldest); err != nil {
			return nil, 0, s.fail("search for the tasks", err)
		}
		page = append(page, found...)
		if next == 0 || len(page) == q.Limit || time.Since(begun) > searchTime {
			break
		}
	}
	if fits := withinBytes(page, q.MaxBytes); len(fits) < len(page) {
		page, next = fits, fits[len(fits)-1].ID
	}
	tasks, err = s.tasksOf(ctx, page, false)
	return tasks, next, s.fail("search for the tasks", err)
}

// oldestSince returns the smallest ID of the tasks that changed since a time: 0 for
// the zero time, and -1 if there are none.
func (s Tasks) oldestSince(ctx context.Context, since time.Time) (id int64, err error) {
	if since.IsZero() {
		return 0, nil
	}
	err = s.conn(ctx).Raw("SELECT COALESCE(MIN(id), -1) FROM tasks WHERE last_modified_time >= ?", dbTime{since}).Scan(&id).Error
	return id, err
}

// searchWindow looks at a limited number of tasks. It returns those that match, at
// most q.Limit, and the ID before which the next window begins; 0 if this was the
// last one.
func (s Tasks) searchWindow(ctx context.Context, q tasker.TaskSearch, oldest int64) (found []sized, next int64, err error) {
	size := q.Limit + 1
	switch {
	case q.Text != "":
		size = textWindow
	case q.Endpoint != "" || q.Prefix != "" || !q.Since.IsZero() || len(q.Types)*max(1, len(q.Statuses)) > maxRanges:
		size = searchWindow
	}
	var ids []int64
	statement, values := candidates(q, oldest, size)
	if err := s.conn(ctx).Raw(statement, values...).Scan(&ids).Error; err != nil || len(ids) == 0 {
		return nil, 0, err
	}
	find := s.conn(ctx).Table("tasks").Select("id, "+listSize+" AS size").Where("id IN ? AND type IN ?", ids, q.Types)
	if len(q.Statuses) > 0 {
		find = find.Where("status IN ?", q.Statuses)
	}
	if q.Prefix != "" { // no LIKE: names may contain an underscore
		find = find.Where("identifier >= ? AND identifier < ?", q.Prefix, q.Prefix+"\x7f")
	}
	if !q.Since.IsZero() {
		find = find.Where("last_modified_time >= ?", dbTime{q.Since})
	}
	if q.Text != "" {
		find = find.Where("(INSTR(payload, ?) > 0 OR EXISTS"+
			" (SELECT 1 FROM task_results r WHERE r.task_id = tasks.id AND INSTR(r.errmsg, ?) > 0))", q.Text, q.Text)
	}
	if err := find.Order("id DESC").Limit(q.Limit + 1).Find(&found).Error; err != nil {
		return nil, 0, err
	}
	switch {
	case len(found) > q.Limit:
		return found[:q.Limit], found[q.Limit-1].ID, nil
	case len(ids) < size:
		return found, 0, nil
	}
	return found, ids[len(ids)-1], nil
}

// candidates returns the statement that reads the IDs of a window: those that the
// best index has, newest first.
func candidates(q tasker.TaskSearch, oldest int64, size int) (statement string, values []any) {
	// each adds a range of an index that is sorted by the column of the ID.
	var ranges []string
	each := func(from, id string, equal ...any) {
		where := from
		values = append(values, equal...)
		if q.Before > 0 {
			where += " AND " + id + " < ?"
			values = append(values, q.Before)
		}
		if oldest > 0 {
			where += " AND " + id + " >= ?"
			values = append(values, oldest)
		}
		ranges = append(ranges, "SELECT "+id+" AS id FROM "+where+" ORDER BY "+id+" DESC LIMIT ?")
		values = append(values, size)
	}
	switch {
	case q.Endpoint != "":
		each("task_targets WHERE endpoint = ?", "task_id", q.Endpoint)
	case len(q.Types)*max(1, len(q.Statuses)) > maxRanges:
		each("tasks WHERE id > 0", "id")
	default:
		for _, taskType := range q.Types {
			if len(q.Statuses) == 0 {
				each("tasks WHERE type = ?", "id", taskType)
			}
			for _, status := range q.Statuses {
				each("tasks WHERE type = ? AND status = ?", "id", taskType, status)
			}
		}
	}
	if len(ranges) == 1 {
		return ranges[0], values
	}
	for i, r := range ranges { // SQLite wants it like this
		ranges[i] = "SELECT id FROM (" + r + ") r"
	}
	return strings.Join(ranges, " UNION ALL ") + " ORDER BY id DESC LIMIT ?", append(values, size)
}
