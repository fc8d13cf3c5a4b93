package store

import (
	"context"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
)

// A count must cost little in a table of millions, and nobody counts them to the last
// one. So it ends early, and says of which status there may be more.

// countBounds are after how much a count ends.
type countBounds struct {
	tasks int           // it looks at so many at most, of each status if an index has it
	time  time.Duration // it begins no other statement later
}

// CountTasks returns how many tasks a search selects, by status, regardless of its
// Before, Limit and MaxBytes. A call looks at a limited number of tasks, and takes about
// a second at most. The numbers are read one after the other: a task that moves meanwhile
// may be counted twice, or not at all.
func (s Tasks) CountTasks(ctx context.Context, q tasker.TaskSearch) (tasker.TaskCounts, error) {
	return s.countTasks(ctx, q, countBounds{tasks: 100_000, time: searchTime})
}

func (s Tasks) countTasks(ctx context.Context, q tasker.TaskSearch, most countBounds) (counts tasker.TaskCounts, err error) {
	counts.Statuses = []tasker.StatusCount{}
	for _, status := range tasker.TaskStatuses() {
		if len(q.Statuses) == 0 || slices.Contains(q.Statuses, status) {
			counts.Statuses = append(counts.Statuses, tasker.StatusCount{Status: status})
		}
	}
	end := time.Now().Add(most.time)
	q.Before = 0
	if plain(q) {
		err = s.countByIndex(ctx, q, counts.Statuses, most.tasks, end)
	} else {
		err = s.countWindows(ctx, q, counts.Statuses, most.tasks, end)
	}
	if err != nil {
		return tasker.TaskCounts{}, s.fail("count the tasks", err)
	}
	for _, c := range counts.Statuses {
		counts.Total += c.Count
		counts.AtLeast = counts.AtLeast || c.AtLeast
	}
	return counts, nil
}

// countByIndex counts the tasks of types, each status up to a number.
func (s Tasks) countByIndex(ctx context.Context, q tasker.TaskSearch, counts []tasker.StatusCount, most int, end time.Time) error {
	for i := range counts {
		c := &counts[i]
		if !time.Now().Before(end) {
			c.AtLeast = true
			continue
		}
		err := s.conn(ctx).Raw("SELECT COUNT(*) FROM (SELECT id FROM tasks WHERE type IN ? AND status = ? LIMIT ?) c",
			q.Types, c.Status, most+1).Scan(&c.Count).Error
		if err != nil {
			return err
		}
		c.AtLeast = c.Count > most
		c.Count = min(c.Count, most)
	}
	return nil
}

// countWindows counts what a search selects among the newest tasks that its best index
// has.
func (s Tasks) countWindows(ctx context.Context, q tasker.TaskSearch, counts []tasker.StatusCount, most int, end time.Time) error {
	bounds, err := s.searchBounds(ctx, q)
	if err == nil && !bounds.empty() {
		q.Labels, err = s.rarestFirst(ctx, q.Labels)
	}
	if err != nil || bounds.empty() {
		return err
	}
	size := searchWindow
	if q.Text != "" {
		size = textWindow
	}
	for most > 0 && time.Now().Before(end) {
		size = min(size, most)
		var ids []int64
		statement, values := candidates(q, bounds, size)
		if err := s.conn(ctx).Raw(statement, values...).Scan(&ids).Error; err != nil {
			return err
		}
		if err := s.countMatching(ctx, q, ids, counts); err != nil || len(ids) < size {
			return err
		}
		most -= len(ids)
		bounds.before = ids[len(ids)-1]
	}
	for i := range counts {
		counts[i].AtLeast = true
	}
	return nil
}

// countMatching adds those of some tasks that a search selects.
func (s Tasks) countMatching(ctx context.Context, q tasker.TaskSearch, ids []int64, counts []tasker.StatusCount) error {
	if len(ids) == 0 {
		return nil
	}
	var found []struct {
		Status tasker.TaskStatus
		Number int
	}
	if err := s.matching(ctx, q, ids).Select("status, COUNT(*) AS number").Group("status").Find(&found).Error; err != nil {
		return err
	}
	for _, f := range found {
		if at := slices.IndexFunc(counts, func(c tasker.StatusCount) bool { return c.Status == f.Status }); at >= 0 {
			counts[at].Count += f.Number
		}
	}
	return nil
}
