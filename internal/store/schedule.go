package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Schedule keeps the tasks that start later.
//
// A SCHEDULED task has no targets: whom it is for is decided when it starts. That is
// one transaction, which moves it to CREATED and stores its targets, guarded by the
// status, so that of several processes one starts it. If that process dies before
// the task is sent, the relay of any other one sends it. A task whose endpoints are
// still to be chosen is first claimed, since the choice takes several reads; if the
// process dies meanwhile, another one claims the task later.
//
// While a task is SCHEDULED its relay_time says when to look at it: at its
// start_time, or after a claim.
type Schedule struct{ *DB }

// chooses reports whether the endpoints of a task are chosen, or counted.
func (s *selection) chooses() bool {
	return s.Select != nil || s.Limit != "" || s.Expect != nil || s.Plan != ""
}

// unpaused is the condition that a task is not paused at a time, its argument.
const unpaused = "NOT EXISTS (SELECT 1 FROM holds h WHERE h.task_id = tasks.id AND " + active + ")"

// NextStart returns when the next SCHEDULED task is due that is not paused; ok is false
// if there is none.
func (s Schedule) NextStart(ctx context.Context) (next time.Time, ok bool, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return next, false, err
	}
	var times []dbTime
	now := dbTime{s.Now()}
	err = s.conn(ctx).Model(&taskRow{}).Where("status = ?", tasker.Scheduled).Where(unexpired(""), now).Where(unpaused, now).
		Order("relay_time").Limit(1).Pluck("relay_time", &times).Error
	if err != nil || len(times) == 0 {
		return next, false, s.fail("read when the next task starts", err)
	}
	return times[0].Time, true, nil
}

// maxStarted bounds the payloads, in bytes, that one call of [Schedule.StartDue]
// reads.
const maxStarted = 8 << 20

// StartDue moves up to limit SCHEDULED tasks that are due to CREATED, with their
// targets, those due longest first, and returns them: the caller has to send them,
// as their first attempt. Those that are paused stay SCHEDULED. Those that [Schedule.StartChosen]
// has to start one by one, since their endpoints must be chosen or they have a topic, are returned as
// choosing, still SCHEDULED; no other process gets them until lease has passed. No
// task at all means that none is due.
func (s Schedule) StartDue(ctx context.Context, limit int, lease time.Duration) (started, choosing []tasker.Task, err error) {
	err = s.transact(ctx, "start the tasks that are due", func(tx *gorm.DB) error {
		started, choosing = nil, nil
		now := dbTime{s.Now()}
		rows, err := due(tx, now, limit)
		if err != nil {
			return err
		}
		var starting []*newTask
		var claimed []int64
		for i := range rows {
			row := &rows[i]
			if row.Rollout != nil || row.Topic != nil || row.Selection != nil && row.Selection.value.chooses() {
				claimed = append(claimed, row.ID)
				choosing = append(choosing, row.task())
				continue
			}
			starting = append(starting, &newTask{row: *row})
		}
		if len(claimed) > 0 {
			err := tx.Model(&taskRow{}).Where("id IN ?", claimed).Update("relay_time", dbTime{now.Add(lease)}).Error
			if err != nil {
				return err
			}
		}
		if err := s.start(tx, starting, now); err != nil {
			return err
		}
		for _, n := range starting {
			started = append(started, n.row.task())
		}
		return nil
	})
	return started, choosing, err
}

// due returns locked SCHEDULED tasks that are due, as many as one transaction may
// read the payloads of.
func due(tx *gorm.DB, now dbTime, limit int) ([]taskRow, error) {
	var found []sized
	err := tx.Table("tasks").Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).
		Select("id, OCTET_LENGTH(payload) AS size").Where("status = ? AND relay_time <= ?", tasker.Scheduled, now).
		Where(unexpired(""), now).Where(unpaused, now).
		Order("relay_time, id").Limit(limit).Find(&found).Error
	if err != nil || len(found) == 0 {
		return nil, err
	}
	found = withinBytes(found, maxStarted)
	ids := make([]int64, len(found))
	for i, r := range found {
		ids[i] = r.ID
	}
	var rows []taskRow
	err = tx.Where("id IN ?", ids).Order("relay_time, id").Find(&rows).Error
	// One may have been paused before it was locked.
	return slices.DeleteFunc(rows, func(row taskRow) bool { return row.paused(now.Time) }), err
}

// paused reports whether somebody paused the task.
func (r *taskRow) paused(now time.Time) bool { return r.Hold != nil && !r.Hold.value.Over(now) }

// start moves locked tasks to CREATED, with their targets.
func (s Schedule) start(tx *gorm.DB, tasks []*newTask, now dbTime) error {
	if len(tasks) == 0 {
		return nil
	}
	ids := make([]int64, len(tasks))
	var listed, placed []int64
	for i, n := range tasks {
		ids[i] = n.row.ID
		n.row.Status, n.row.PublishAttempts, n.row.LastModifiedTime = tasker.Created, 1, now
		switch {
		case n.row.Places != nil:
			n.row.Targets = n.row.Places
			placed = append(placed, n.row.ID)
		case n.row.Endpoints != nil && n.frozen == nil:
			listed = append(listed, n.row.ID)
		}
	}
	if err := s.target(tx, tasks); err != nil {
		return err
	}
	if len(listed) > 0 {
		if err := countTargets(tx, listed); err != nil {
			return err
		}
	}
	if len(placed) > 0 {
		if err := tx.Model(&taskRow{}).Where("id IN ?", placed).Update("targets", gorm.Expr("places")).Error; err != nil {
			return err
		}
		if err := s.openPlaces(tx, tasks); err != nil {
			return err
		}
	}
	set := map[string]any{
		"status": tasker.Created, "relay_time": dbTime{now.Add(relayGrace)}, "publish_attempts": 1, "last_modified_time": now,
	}
	if tasks[0].frozen != nil { // it is the only one
		set["relay_time"] = nil
	}
	err := tx.Model(&taskRow{}).Where("id IN ? AND status IN ?", ids, tasker.TaskStatusesBefore(tasker.Created)).Updates(set).Error
	if err != nil {
		return err
	}
	return s.beginRollouts(tx, tasks)
}

// setChosen stores the endpoints that were chosen for a task which starts now. The error
// is [tasker.Invalid] if its rollout cannot have them.
func (s Schedule) setChosen(tx *gorm.DB, n *newTask, endpoints []string, chosen int) error {
	listed := n.row.Endpoints != nil && (n.row.Places == nil || len(n.row.Endpoints) > 0)
	if n.row.Places != nil && *n.row.Places > len(endpoints) {
		return tooFewFor(*n.row.Places, len(endpoints))
	}
	n.row.Endpoints = endpoints
	if n.row.Rollout != nil {
		task := n.row.task()
		frozen, err := s.freeze(tx, &task, endpoints)
		if err != nil {
			return err
		}
		n.setFrozen(frozen)
	}
	if n.row.Selection == nil && !listed {
		n.row.Selection = &document[selection]{}
	}
	if n.row.Selection != nil {
		n.row.Selection.value.Chosen = &chosen
	}
	return tx.Model(&taskRow{}).Where("id = ?", n.row.ID).
		Updates(map[string]any{"endpoints": n.row.Endpoints, "selection": n.row.Selection, "targets": n.row.Targets}).Error
}

// lockScheduled returns a task that is still as it was claimed, locked. found is
// false if another process moved it, or its time was changed.
func lockScheduled(tx *gorm.DB, claimed tasker.Task) (row taskRow, found bool, err error) {
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).
		Where("id = ? AND status = ? AND start_time = ?", claimed.ID, tasker.Scheduled, dbTime{claimed.StartTime}).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// StartChosen moves a task that [Schedule.StartDue] returned as choosing to CREATED.
// endpoints are those that were chosen, sorted, of as many as chosen before the
// limit; nil if the task is for all of its type. started is false if another
// process moved the task, its time was changed, or it was paused. The error is
// [tasker.Invalid] if its rollout cannot have these endpoints, and [tasker.Conflict] if an
// older task of its topic has not ended, unless it supersedes that.
func (s Schedule) StartChosen(
	ctx context.Context, claimed tasker.Task, endpoints []string, chosen int,
) (task tasker.Task, started bool, err error) {
	ended := endedTasks{}
	err = s.transact(ctx, "start the task", func(tx *gorm.DB) error {
		clear(ended)
		var row taskRow
		row, started, err = lockScheduled(tx, claimed)
		started = started && !row.paused(s.Now())
		if err != nil || !started {
			return err
		}
		n := &newTask{row: row}
		if endpoints != nil {
			if err := s.setChosen(tx, n, endpoints, chosen); err != nil {
				return err
			}
		}
		now := dbTime{s.Now()}
		if err := s.start(tx, []*newTask{n}, now); err != nil {
			return err
		}
		task = n.row.task()
		return s.beginTopics(tx, []*newTask{n}, now, ended)
	})
	if err != nil {
		return tasker.Task{}, false, err
	}
	s.report(ended)
	return task, started, nil
}

// FailScheduled moves a task that [Schedule.StartDue] returned as choosing to FAILED,
// since it cannot start as asked. failed is false if another process moved the task,
// or its time was changed.
func (s Schedule) FailScheduled(ctx context.Context, claimed tasker.Task, reason string) (failed bool, err error) {
	err = s.withRetry(ctx, func() error {
		update := s.conn(ctx).Model(&taskRow{}).
			Where("id = ? AND status = ? AND start_time = ?", claimed.ID, tasker.Scheduled, dbTime{claimed.StartTime}).
			Updates(map[string]any{
				"status": tasker.Failed, "errmsg": text.CutValid(reason, maxRefusal), "relay_time": nil,
				"last_modified_time": dbTime{s.Now()},
			})
		failed = update.RowsAffected > 0
		return update.Error
	})
	if failed {
		ended := endedTasks{}
		ended.add(claimed.Type, tasker.Failed)
		s.report(ended)
	}
	return failed, s.fail("store why the task could not start", err)
}

// Reschedule changes when a SCHEDULED task starts, and returns it. A time that has
// passed is now. The time when it expires moves, too, if that was given from its
// start. The error is [tasker.NotFound], [tasker.Conflict] if the task has another
// status, or [tasker.Invalid] if it would have expired by then.
func (s Tasks) Reschedule(ctx context.Context, taskType, identifier string, start tasker.Start) (tasker.Task, error) {
	var moved bool
	err := s.transact(ctx, "reschedule the task", func(tx *gorm.DB) error {
		var row taskRow
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Select("id", "not_after", "expires_in").
			Where("type = ? AND identifier = ? AND status = ?", taskType, identifier, tasker.Scheduled).Take(&row).Error
		if moved = err == nil; errors.Is(err, gorm.ErrRecordNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now := s.Now()
		due := start.Time(now)
		var expiry tasker.Expiry
		switch {
		case row.ExpiresIn != nil:
			expiry.After = time.Duration(*row.ExpiresIn) * time.Microsecond
		case row.NotAfter != nil:
			expiry.At = row.NotAfter.Time
		}
		if err := expiry.Check(due); err != nil {
			return err
		}
		set := map[string]any{"start_time": dbTime{due}, "relay_time": dbTime{due}, "last_modified_time": dbTime{now}}
		if expires := expiry.Time(due); expires != nil {
			set["not_after"], set["expire_time"] = dbTime{*expires}, dbTime{*expires}
		}
		return tx.Model(&taskRow{}).Where("id = ?", row.ID).Updates(set).Error
	})
	if err != nil {
		return tasker.Task{}, err
	}
	task, err := s.FindTask(ctx, taskType, identifier)
	if err == nil && !moved {
		return task, tasker.Errorf(tasker.Conflict, "task %q of type %q is %s: only a task that is %s can be rescheduled",
			identifier, taskType, task.Status, tasker.Scheduled)
	}
	return task, err
}
