package store

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Statuses computes the statuses of tasks from their results. It counts in the
// database: a task may have ten thousand of them.
type Statuses struct{ *DB }

// open are the statuses that results move a task out of.
var open = []tasker.TaskStatus{tasker.Sent, tasker.Incomplete, tasker.Canceling}

// wanted are those of them in which endpoints still receive the task.
var wanted = []tasker.TaskStatus{tasker.Sent, tasker.Incomplete}

// maxCounted bounds the results that one transaction of [Statuses.Aggregate]
// counts, unless one task alone has more, so that no lock lasts for long.
const maxCounted = 10_000

// Aggregate computes the statuses of open tasks from their results, stores
// those that changed and returns how many did. waitForEndpoints is the time in
// which every expected endpoint should have received a task. Tasks that are not
// open do not change. The tasks are locked meanwhile, so that no endpoint joins
// in between and several processes may aggregate the same ones.
func (s Statuses) Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error) {
	ids := slices.Clone(taskIDs)
	slices.Sort(ids)
	for chunk := range slices.Chunk(slices.Compact(ids), batchSize) {
		for len(chunk) > 0 {
			var n int
			var rest []int64
			ended := endedTasks{}
			err := s.transact(ctx, "aggregate tasks", func(tx *gorm.DB) error {
				clear(ended)
				var err error
				n, rest, err = s.aggregate(tx, chunk, waitForEndpoints, ended)
				return err
			})
			if err != nil {
				return changed, err
			}
			changed += n
			s.report(ended)
			chunk = rest
		}
	}
	return changed, nil
}

// aggregate aggregates the first of the tasks, as many as one transaction may, and
// returns the rest. It adds the tasks that it moves to a final status to ended,
// which is to be reported after the commit.
func (s Statuses) aggregate(
	tx *gorm.DB, ids []int64, waitForEndpoints time.Duration, ended endedTasks,
) (changed int, rest []int64, err error) {
	var tasks []taskRow
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).
		Select("id", "type", "status", "targets", "places", "unserved", "removed_endpoints", "rollout", "sent_time", "round_time").
		Where("id IN ? AND status IN ?", ids, open).Order("id").Find(&tasks).Error
	if err != nil || len(tasks) == 0 {
		return 0, nil, err
	}
	tasks, rest = firstPart(tasks)
	if err := s.completeTargets(tx, tasks); err != nil {
		return 0, nil, err
	}
	now := s.Now()
	waves, err := s.overdueRollouts(tx, withRollout(tasks), waitForEndpoints)
	if err != nil {
		return 0, nil, err
	}
	overdue := func(row *taskRow) bool {
		if row.Rollout != nil {
			return waves[row.ID]
		}
		task := tasker.Task{SentTime: timePointer(row.SentTime), RoundTime: timePointer(row.RoundTime)}
		return task.Overdue(now, waitForEndpoints)
	}
	summaries, err := summarize(tx, tasks, overdue)
	if err != nil {
		return 0, nil, err
	}
	moves := map[tasker.TaskStatus][]int64{}
	for i := range tasks {
		task := &tasks[i]
		if next := tasker.NextStatus(task.Status, summaries[i], overdue(task)); next != task.Status {
			moves[next] = append(moves[next], task.ID)
			ended.add(task.Type, next)
		}
		if err := updateUnserved(tx, task); err != nil {
			return 0, nil, err
		}
	}
	for next, moved := range moves {
		update := tx.Model(&taskRow{}).Where("id IN ? AND status IN ?", moved, tasker.TaskStatusesBefore(next)).
			Updates(map[string]any{"status": next, "last_modified_time": dbTime{now}})
		if update.Error != nil {
			return 0, nil, update.Error
		}
		changed += int(update.RowsAffected)
	}
	return changed, rest, nil
}

// withRollout returns the tasks that have a rollout: each of their endpoints has a time of
// its own to receive them.
func withRollout(tasks []taskRow) (ids []int64) {
	for i := range tasks {
		if tasks[i].Rollout != nil {
			ids = append(ids, tasks[i].ID)
		}
	}
	return ids
}

// firstPart returns the first tasks, as many as one transaction may count the
// results of, and the ids of the others.
func firstPart(tasks []taskRow) (part []taskRow, rest []int64) {
	total := 0
	for i := range tasks {
		if n := tasks[i].Targets; n != nil {
			total += *n
		}
		if i > 0 && total > maxCounted {
			for _, task := range tasks[i:] {
				rest = append(rest, task.ID)
			}
			return tasks[:i], rest
		}
	}
	return tasks, nil
}

// completeTargets makes the targets of locked tasks what they would be if only
// this version of tasker had been at work.
func (s Statuses) completeTargets(tx *gorm.DB, tasks []taskRow) error {
	var old []int64
	for i := range tasks {
		task := &tasks[i]
		if task.Targets == nil {
			old = append(old, task.ID)
			continue
		}
		if len(task.RemovedEndpoints) == 0 {
			continue
		}
		dropped := tx.Where("task_id = ? AND endpoint IN ?", task.ID, []string(task.RemovedEndpoints)).Delete(&targetRow{})
		n := int(dropped.RowsAffected)
		if dropped.Error != nil {
			return dropped.Error
		}
		if err := changeTargets(tx, []int64{task.ID}, -n); err != nil {
			return err
		}
		*task.Targets -= n
	}
	if len(old) == 0 {
		return nil
	}
	if err := s.convertLocked(tx, old); err != nil {
		return err
	}
	var converted []taskRow
	if err := tx.Select("id", "targets").Where("id IN ?", old).Find(&converted).Error; err != nil {
		return err
	}
	for i := range tasks {
		for _, row := range converted {
			if row.ID == tasks[i].ID {
				tasks[i].Targets = row.Targets
			}
		}
	}
	return nil
}

// counted are the numbers of a task's results by state, without those of removed
// endpoints.
type counted map[tasker.ResultState]int

func countResults(db *gorm.DB, tasks []taskRow) (map[int64]counted, error) {
	ids := make([]int64, len(tasks))
	for i := range tasks {
		ids[i] = tasks[i].ID
	}
	var rows []struct {
		TaskID int64
		State  tasker.ResultState
		N      int
	}
	err := db.Table("task_results").Select("task_id, state, COUNT(*) AS n").
		Where("task_id IN ? AND errnr <> ?", ids, tasker.ErrnrRemoved).Group("task_id, state").Find(&rows).Error
	counts := make(map[int64]counted, len(tasks))
	for _, r := range rows {
		if counts[r.TaskID] == nil {
			counts[r.TaskID] = counted{}
		}
		counts[r.TaskID][r.State] = r.N
	}
	return counts, err
}

// summary returns the summary of the results, as far as they can tell.
func (c counted) summary() (s tasker.Summary) {
	for state, n := range c {
		s.Received += n
		switch {
		case state == tasker.Lost:
			s.Lost += n
		case state.Finished():
			s.Finished += n
			switch state {
			case tasker.ResultDone:
			case tasker.ResultCanceled, tasker.Superseded:
				s.Canceled += n
			default:
				s.Failed += n
			}
		}
	}
	return s
}

// summarize returns the summaries of locked tasks without the names of the missing
// endpoints. Where they do not decide the status, Expected may be too small.
func summarize(tx *gorm.DB, tasks []taskRow, overdue func(*taskRow) bool) ([]tasker.Summary, error) {
	counts, err := countResults(tx, tasks)
	if err != nil {
		return nil, err
	}
	summaries := make([]tasker.Summary, len(tasks))
	var decided []int64 // by which endpoints are missing: a result may have no target
	for i := range tasks {
		task, targets := &tasks[i], 0
		if task.Targets != nil {
			targets = *task.Targets
		}
		s := counts[task.ID].summary()
		s.Removed = len(task.RemovedEndpoints)
		if task.Places != nil {
			s.Closed = max(0, *task.Places-targets)
		}
		s.Expected = max(targets, s.Received)
		if s.Received >= targets && (overdue(task) || s.Finished >= s.Received) {
			decided = append(decided, task.ID)
			s.Expected = s.Received
		}
		summaries[i] = s
	}
	if len(decided) == 0 {
		return summaries, nil
	}
	var missing []struct {
		TaskID int64
		N      int
	}
	err = withoutResult(tx, decided).Select("g.task_id, COUNT(*) AS n").Group("g.task_id").Find(&missing).Error
	for i := range tasks {
		for _, m := range missing {
			if m.TaskID == tasks[i].ID {
				summaries[i].Expected += m.N
			}
		}
	}
	return summaries, err
}

// withoutResult selects the targets (g) of tasks that have no result.
func withoutResult(db *gorm.DB, taskIDs []int64) *gorm.DB {
	return db.Table("task_targets g").Where("g.task_id IN ?", taskIDs).
		Where("NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = g.task_id AND r.endpoint = g.endpoint)")
}

// updateUnserved takes the endpoints that have received a task since out of those
// that were not served when it was sent.
func updateUnserved(tx *gorm.DB, task *taskRow) error {
	if len(task.Unserved) == 0 {
		return nil
	}
	received := map[string]bool{}
	for part := range slices.Chunk(task.Unserved, maxRows) {
		var found []string
		err := tx.Model(&resultRow{}).Where("task_id = ? AND endpoint IN ?", task.ID, []string(part)).Pluck("endpoint", &found).Error
		if err != nil {
			return err
		}
		for _, name := range found {
			received[name] = true
		}
	}
	if len(received) == 0 {
		return nil
	}
	var left names
	for _, name := range task.Unserved {
		if !received[name] {
			left = append(left, name)
		}
	}
	return tx.Model(&taskRow{}).Where("id = ?", task.ID).Update("unserved", left).Error
}

// LookAtTasks returns those of the tasks that are open, and which of them are
// behind their results, as far as counting can tell, so that
// [Statuses.Aggregate] will move them: as many results have ended as there are
// targets; or the task is SENT and has a lost result, or lacks some after
// waitForEndpoints. It takes no locks.
func (s Statuses) LookAtTasks(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (looks []ledger.Look, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	now := s.Now()
	for chunk := range slices.Chunk(taskIDs, batchSize) {
		var tasks []struct {
			ID       int64
			Status   tasker.TaskStatus
			SentTime *dbTime // or when its latest round began
			Targets  int
			Waves    bool
		}
		err := s.conn(ctx).Table("tasks").
			Select("id, status, COALESCE(round_time, sent_time) AS sent_time,"+
				" CASE WHEN targets IS NULL THEN COALESCE("+s.dialect.jsonLength+
				"(COALESCE(expected, endpoints)), 0) ELSE targets END AS targets, rollout IS NOT NULL AS waves").
			Where("id IN ? AND status IN ?", chunk, open).Order("id").Find(&tasks).Error
		if err != nil {
			return nil, s.fail("read the open tasks", err)
		}
		rows := make([]taskRow, len(tasks))
		var rollouts []int64
		for i, task := range tasks {
			if rows[i].ID = task.ID; task.Waves {
				rollouts = append(rollouts, task.ID)
			}
		}
		if len(rows) == 0 {
			continue
		}
		counts, err := countResults(s.conn(ctx), rows)
		if err != nil {
			return nil, s.fail("count the results of open tasks", err)
		}
		waves, err := s.overdueRollouts(s.conn(ctx), rollouts, waitForEndpoints)
		if err != nil {
			return nil, s.fail("look for endpoints that have not received open tasks", err)
		}
		for _, task := range tasks {
			have := counts[task.ID].summary()
			// A task without targets is settled by the results it has.
			want := max(1, task.Targets)
			overdue := task.SentTime != nil && !now.Before(task.SentTime.Add(waitForEndpoints))
			if task.Waves {
				overdue = waves[task.ID]
			}
			looks = append(looks, ledger.Look{
				ID: task.ID, Results: have.Received,
				Unsettled: have.Finished >= want || task.Status == tasker.Sent && (have.Lost > 0 || overdue && have.Received < want),
			})
		}
	}
	return looks, nil
}

// OpenTasks returns up to limit tasks of an open status, SENT or INCOMPLETE,
// after a position and sent no later than until, in the order in which they
// were sent.
func (s Statuses) OpenTasks(
	ctx context.Context, status tasker.TaskStatus, after ledger.SentPosition, until time.Time, limit int,
) ([]ledger.SentPosition, error) {
	var rows []taskRow
	err := s.conn(ctx).Select("id", "sent_time").
		Where("status = ? AND sent_time <= ?", status, dbTime{until}).
		Where("sent_time >= ? AND (sent_time > ? OR id > ?)", dbTime{after.SentTime}, dbTime{after.SentTime}, after.ID).
		Order("sent_time, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the open tasks", err)
	}
	positions := make([]ledger.SentPosition, len(rows))
	for i, r := range rows {
		positions[i] = ledger.SentPosition{SentTime: r.SentTime.Time, ID: r.ID}
	}
	return positions, nil
}
