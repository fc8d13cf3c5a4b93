package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

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
	bounds, err := s.searchBounds(ctx, q)
	if err == nil && !bounds.empty() {
		q.Labels, err = s.rarestFirst(ctx, q.Labels)
	}
	if err != nil || bounds.empty() {
		return nil, 0, s.fail("search for the tasks", err)
	}
	var page []sized
	for limit := q.Limit; ; bounds.before, limit = next, q.Limit-len(page) {
		var found []sized
		if found, next, err = s.searchWindow(ctx, q, bounds, limit); err != nil {
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

// searchWindow looks at a limited number of tasks. It returns those that match, at
// most limit, and the ID before which the next window begins; 0 if this was the last
// one.
func (s Tasks) searchWindow(ctx context.Context, q tasker.TaskSearch, bounds idBounds, limit int) (found []sized, next int64, err error) {
	size := limit + 1
	switch {
	case q.Text != "":
		size = textWindow
	case !byIndex(q):
		size = searchWindow
	}
	var ids []int64
	statement, values := candidates(q, bounds, size)
	if err := s.conn(ctx).Raw(statement, values...).Scan(&ids).Error; err != nil || len(ids) == 0 {
		return nil, 0, err
	}
	err = s.matching(ctx, q, ids).Select("id, " + listSize + " AS size").Order("id DESC").Limit(limit + 1).Find(&found).Error
	switch {
	case err != nil:
		return nil, 0, err
	case len(found) > limit:
		return found[:limit], found[limit-1].ID, nil
	case len(ids) < size:
		return found, 0, nil
	}
	return found, ids[len(ids)-1], nil
}

// byIndex reports whether the ranges of an index that candidates reads have only tasks
// that a search selects.
func byIndex(q tasker.TaskSearch) bool {
	return plain(q) && len(q.Types)*max(1, len(q.Statuses)) <= maxRanges
}

// plain reports whether a search selects tasks by their types and statuses alone.
func plain(q tasker.TaskSearch) bool {
	return q.Endpoint == "" && q.Topic == "" && q.Prefix == "" && len(q.Labels) == 0 && q.Text == "" && q.CreatedBy == "" &&
		q.Since.IsZero() && q.Until.IsZero() && q.CreatedSince.IsZero() && q.CreatedUntil.IsZero()
}

// matching returns a query for those of some tasks that a search selects.
func (s Tasks) matching(ctx context.Context, q tasker.TaskSearch, ids []int64) *gorm.DB {
	find := s.conn(ctx).Table("tasks"+s.dialect.byID).Where("id IN ? AND type IN ?", ids, q.Types)
	if len(q.Statuses) > 0 {
		find = find.Where("status IN ?", q.Statuses)
	}
	if q.Topic != "" {
		find = find.Where("topic = ?", q.Topic)
	}
	if q.CreatedBy != "" {
		find = find.Where("created_by = ?", q.CreatedBy)
	}
	if q.Prefix != "" { // no LIKE: names may contain an underscore
		find = find.Where("identifier >= ? AND identifier < ?", q.Prefix, q.Prefix+"\x7f")
	}
	if q.Endpoint != "" && indexed(q) != nil { // else it has the candidates
		find = find.Where("EXISTS (SELECT 1 FROM task_targets t WHERE t.task_id = tasks.id AND t.endpoint = ?)", q.Endpoint)
	}
	for _, label := range q.Labels {
		condition, args := labeled(label)
		find = find.Where("EXISTS (SELECT 1 FROM task_labels l WHERE l.task_id = tasks.id AND "+condition+")", args...)
	}
	for _, bound := range []struct {
		condition string
		at        time.Time
	}{
		{"last_modified_time >= ?", q.Since},
		{"last_modified_time < ?", q.Until},
		{createdTime + " >= ?", q.CreatedSince},
		{createdTime + " < ?", q.CreatedUntil},
	} {
		if !bound.at.IsZero() {
			find = find.Where(bound.condition, dbTime{bound.at})
		}
	}
	if q.Text != "" {
		find = find.Where("(INSTR(payload, ?) > 0 OR EXISTS"+
			" (SELECT 1 FROM task_results r WHERE r.task_id = tasks.id AND INSTR(r.errmsg, ?) > 0))", q.Text, q.Text)
	}
	return find
}

// candidates returns the statement that reads the IDs of a window: those that the
// best index has, newest first.
func candidates(q tasker.TaskSearch, bounds idBounds, size int) (statement string, values []any) {
	// each adds a range of an index that is sorted by the column of the ID.
	var ranges []string
	each := func(from, id string, equal ...any) {
		where := from
		values = append(values, equal...)
		if bounds.before > 0 {
			where += " AND " + id + " < ?"
			values = append(values, bounds.before)
		}
		if bounds.from > 0 {
			where += " AND " + id + " >= ?"
			values = append(values, bounds.from)
		}
		ranges = append(ranges, "SELECT "+id+" AS id FROM "+where+" ORDER BY "+id+" DESC LIMIT ?")
		values = append(values, size)
	}
	switch label := indexed(q); {
	case label != nil:
		condition, args := labeled(*label)
		each("task_labels WHERE "+condition, "task_id", args...)
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

// rarestFirst returns the labels of a search with those first that have a value, the one that
// the fewest tasks have before the others. It counts no further than a window.
func (s Tasks) rarestFirst(ctx context.Context, labels []tasker.LabelFilter) ([]tasker.LabelFilter, error) {
	var valued, others []tasker.LabelFilter
	for _, label := range labels {
		if label.Value == nil {
			others = append(others, label)
		} else {
			valued = append(valued, label)
		}
	}
	if len(valued) < 2 {
		return labels, nil
	}
	tasks := make(map[tasker.LabelFilter]int, len(valued))
	for _, label := range valued {
		condition, args := labeled(label)
		var n int
		err := s.conn(ctx).Raw("SELECT COUNT(*) FROM (SELECT task_id FROM task_labels WHERE "+condition+" LIMIT ?) c",
			append(args, searchWindow+1)...).Scan(&n).Error
		if err != nil {
			return nil, err
		}
		tasks[label] = n
	}
	slices.SortStableFunc(valued, func(a, b tasker.LabelFilter) int { return cmp.Compare(tasks[a], tasks[b]) })
	return append(valued, others...), nil
}

// indexed returns the label by which a search finds its candidates: the first with a value, or
// else any unless it has an endpoint, which fewer tasks may be for. It is nil if there is
// none.
func indexed(q tasker.TaskSearch) *tasker.LabelFilter {
	at := slices.IndexFunc(q.Labels, func(f tasker.LabelFilter) bool { return f.Value != nil })
	if at < 0 && q.Endpoint == "" && len(q.Labels) > 0 {
		at = 0
	}
	if at < 0 {
		return nil
	}
	return &q.Labels[at]
}
