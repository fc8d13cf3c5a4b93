package store

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A task may be for so many endpoints of their own choice. Each of these has a place, and
// whoever takes it becomes a target of the task. From then on nothing here knows of places:
// the endpoint records the task, runs it, and counts like any other. An endpoint without a
// place is no target, so that it cannot record the task by whatever way it learned of it.
//
//   - Taking is one transaction. It locks the endpoint, as recording does, and the task, as
//     joining does: so it comes before a hold, a cancellation, the expiry or the end of the
//     task, or finds it. The number of places that are left is the guard.
//   - place_claims has the targets that were taken and may not be recorded yet. A manager
//     whose answer was lost gets them again. If no manager holds the endpoint any more they
//     are given back, since there was no run: a run has a result. It also has those that
//     were lost: see [Endpoints.PassOnPlaces].
//   - tasks.targets counts all places from the start, so that a task with places to take does
//     not end. A cancellation lowers it to those that are taken: the others are closed.
//
// tasks.endpoints is never NULL, so that older programs do not take the task for one that is
// for all. It is empty if any endpoint of the type may take a place.

// placeRow is a task with places that nobody has taken.
type placeRow struct {
	TaskID     int64 `gorm:"primaryKey;autoIncrement:false"`
	TaskType   string
	StartOrder int64 // see [ledger.StartOrder]
	Untaken    int
	Listed     bool // only candidates may take one
}

// TableName returns the table of the places that nobody has taken.
func (placeRow) TableName() string { return "task_places" }

// candidateRow is an endpoint that may take a place of a task which lists some.
type candidateRow struct {
	TaskID   int64  `gorm:"primaryKey;autoIncrement:false"`
	Endpoint string `gorm:"primaryKey"`
}

// TableName returns the table of the endpoints that may take places.
func (candidateRow) TableName() string { return "place_candidates" }

// claimRow is an endpoint that has taken a place.
type claimRow struct {
	TaskID   int64  `gorm:"primaryKey;autoIncrement:false"`
	Endpoint string `gorm:"primaryKey"`
}

// TableName returns the table of the places that were taken.
func (claimRow) TableName() string { return "place_claims" }

// setPlaces makes a new task one with places; 0 means that it has none.
func (r *taskRow) setPlaces(places tasker.Places) {
	if places == 0 {
		return
	}
	r.Places, r.Targets = new(int(places)), new(int(places))
	if r.Endpoints == nil {
		r.Endpoints = names{}
	}
}

// place returns the place row of a task with n places that nobody has taken.
func (r *taskRow) place(n int) placeRow {
	return placeRow{
		TaskID: r.ID, TaskType: r.Type, StartOrder: ledger.StartOrder(r.StartTime.Time, r.Priority), Untaken: n,
		Listed: len(r.Endpoints) > 0,
	}
}

// openPlaces stores the places of tasks that start now.
func (s *DB) openPlaces(tx *gorm.DB, tasks []*newTask) error {
	var open []placeRow
	var candidates []candidateRow
	for _, n := range tasks {
		if n.row.Places == nil || n.row.Status == tasker.Scheduled {
			continue
		}
		open = append(open, n.row.place(*n.row.Places))
		for _, name := range n.row.Endpoints {
			candidates = append(candidates, candidateRow{TaskID: n.row.ID, Endpoint: name})
		}
	}
	for part := range slices.Chunk(candidates, maxRows) {
		if err := tx.Create(&part).Error; err != nil {
			return err
		}
	}
	if len(open) == 0 {
		return nil
	}
	return tx.Create(&open).Error
}

// takePage is how many tasks with places are read at once: more than are asked for, since
// other endpoints may be faster.
const takePage = 16

// TakeTasks takes a place in up to limit open tasks of a type for an endpoint that its
// manager holds, and returns these tasks, without payloads and lists of endpoints. They come
// in the order in which they are to start; before them come those that the endpoint has taken
// earlier and not recorded. Fewer than limit means that no more are left for it. It takes
// none while the endpoint is drained, or the type or the task is paused.
//
// The endpoint must record what it has taken. If its manager dies before, the places are
// given back: see [Endpoints.ReleasePlaces].
func (s Inbox) TakeTasks(ctx context.Context, manager, endpoint, taskType string, limit int) (tasks []tasker.Task, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	if tasks, err = s.unrecorded(ctx, endpoint, taskType, limit); err != nil {
		return nil, s.fail("read the tasks that the endpoint has taken", err)
	}
	for after := (placeRow{StartOrder: math.MinInt64}); len(tasks) < limit; {
		page, err := s.untakenBy(ctx, endpoint, taskType, after)
		if err != nil || len(page) == 0 {
			return tasks, s.fail("read the tasks with places", err)
		}
		for len(page) > 0 && len(tasks) < limit {
			part := page[:min(len(page), limit-len(tasks))]
			after, page = part[len(part)-1], page[len(part):]
			var taken []taskRow
			err := s.transact(ctx, "take places of tasks", func(tx *gorm.DB) (err error) {
				taken, err = s.take(tx, manager, endpoint, taskType, part)
				return err
			})
			if err != nil {
				return tasks, err
			}
			for i := range taken {
				tasks = append(tasks, taken[i].task())
			}
		}
	}
	return tasks, nil
}

// takenColumns are the columns of a task that [Inbox.TakeTasks] returns.
const takenColumns = "t.id, t.type, t.identifier, t.status, t.start_time, t.sent_time, t.last_modified_time"

// unrecorded returns up to limit tasks of which the endpoint has taken a place and has no
// result.
func (s Inbox) unrecorded(ctx context.Context, endpoint, taskType string, limit int) (tasks []tasker.Task, err error) {
	var rows []taskRow
	err = s.conn(ctx).Table("place_claims c").Joins("JOIN tasks t ON t.id = c.task_id").
		Joins("JOIN task_targets g ON g.task_id = c.task_id AND g.endpoint = c.endpoint").Select(takenColumns).
		Where("c.endpoint = ? AND t.type = ?", endpoint, taskType).
		Where("NOT " + recorded).Order("c.task_id").Limit(limit).Find(&rows).Error
	for i := range rows {
		tasks = append(tasks, rows[i].task())
	}
	return tasks, err
}

// untakenBy returns the first tasks of a type, after a position, with places that an
// endpoint may take.
func (s Inbox) untakenBy(ctx context.Context, endpoint, taskType string, after placeRow) (page []placeRow, err error) {
	err = s.conn(ctx).Table("task_places p").Select("p.task_id, p.start_order").
		Where("p.task_type = ? AND (p.start_order > ? OR p.start_order = ? AND p.task_id > ?)",
			taskType, after.StartOrder, after.StartOrder, after.TaskID).
		Where("(p.listed = 0 OR EXISTS (SELECT 1 FROM place_candidates c WHERE c.task_id = p.task_id AND c.endpoint = ?))", endpoint).
		Where("NOT EXISTS (SELECT 1 FROM task_targets g WHERE g.task_id = p.task_id AND g.endpoint = ?)", endpoint).
		Where("NOT EXISTS (SELECT 1 FROM holds h WHERE h.task_id = p.task_id AND "+active+")", s.at(s.Now())).
		Order("p.start_order, p.task_id").Limit(takePage).Find(&page).Error
	return page, err
}

// take takes a place of each task of a part, where one is left and the endpoint may have it,
// and returns those tasks in their order.
func (s Inbox) take(tx *gorm.DB, manager, endpoint, taskType string, part []placeRow) (taken []taskRow, err error) {
	holders, err := lockEndpoints(tx, []string{endpoint}, "SHARE")
	if err != nil || manager == "" || holders[endpoint].Manager != manager {
		return nil, err
	}
	ids := make([]int64, len(part))
	for i := range part {
		ids[i] = part[i].TaskID
	}
	now := s.Now()
	var open []taskRow // by id, as all lock several
	err = forUpdate(tx).Select("id", "type", "identifier", "status", "removed_endpoints", "start_time", "sent_time", "last_modified_time").
		Where("id IN ? AND status IN ?", ids, receivable()).Where(unexpired(""), s.at(now)).Order("id").Find(&open).Error
	if err != nil {
		return nil, err
	}
	// Only now: whoever pauses a task locks it.
	held, all, err := s.heldAmong(tx, endpoint, taskType, ids, now)
	if err != nil || all {
		return nil, err
	}
	open = slices.DeleteFunc(open, func(t taskRow) bool { return held[t.ID] || t.RemovedEndpoints.contain(endpoint) })
	if open, err = takeFrom(tx, endpoint, open); err != nil || len(open) == 0 {
		return nil, err
	}
	targets, claims := make([]targetRow, len(open)), make([]claimRow, len(open))
	for i := range open {
		open[i].RemovedEndpoints = nil
		targets[i] = targetRow{TaskID: open[i].ID, Endpoint: endpoint}
		claims[i] = claimRow{TaskID: open[i].ID, Endpoint: endpoint}
	}
	if err := tx.Create(&targets).Error; err != nil {
		return nil, err
	}
	slices.SortFunc(open, func(a, b taskRow) int { return cmp.Compare(slices.Index(ids, a.ID), slices.Index(ids, b.ID)) })
	return open, tx.Create(&claims).Error
}

// heldAmong returns which of some tasks a hold applies to, or that one applies to all that an
// endpoint has of a type.
func (s *DB) heldAmong(tx *gorm.DB, endpoint, taskType string, ids []int64, now time.Time) (held map[int64]bool, all bool, err error) {
	const of = " FROM holds h WHERE "
	var found []int64
	err = tx.Raw("SELECT 0"+of+"h.endpoint = ? AND "+active+" UNION ALL SELECT 0"+of+"h.task_type = ? AND "+active+
		" UNION ALL SELECT h.task_id"+of+"h.task_id IN ? AND "+active, endpoint, s.at(now), taskType, s.at(now), ids, s.at(now)).
		Scan(&found).Error
	held = make(map[int64]bool, len(found))
	for _, id := range found {
		held[id] = true
	}
	return held, held[0], err
}

// takeFrom lowers the number of untaken places of locked tasks, where there are any for an
// endpoint, and returns these tasks.
func takeFrom(tx *gorm.DB, endpoint string, tasks []taskRow) ([]taskRow, error) {
	ids := make([]int64, len(tasks))
	for i := range tasks {
		ids[i] = tasks[i].ID
	}
	const mayTake = "task_id IN ? AND untaken > 0" +
		" AND (listed = 0 OR EXISTS (SELECT 1 FROM place_candidates c WHERE c.task_id = task_places.task_id AND c.endpoint = ?))" +
		" AND NOT EXISTS (SELECT 1 FROM task_targets g WHERE g.task_id = task_places.task_id AND g.endpoint = ?)"
	if len(ids) > 1 { // a single one is known by whether it was updated
		var with []int64
		if err := tx.Model(&placeRow{}).Where(mayTake, ids, endpoint, endpoint).Pluck("task_id", &with).Error; err != nil {
			return nil, err
		}
		ids = with
		tasks = slices.DeleteFunc(tasks, func(t taskRow) bool { return !slices.Contains(ids, t.ID) })
	}
	if len(ids) == 0 {
		return nil, nil
	}
	update := tx.Exec("UPDATE task_places SET untaken = untaken - 1 WHERE "+mayTake, ids, endpoint, endpoint)
	switch taken := int(update.RowsAffected); {
	case update.Error != nil:
		return nil, update.Error
	case taken == 0 && len(ids) == 1:
		return nil, nil
	case taken != len(ids): // their tasks are locked
		return nil, tasker.Errorf(tasker.Internal, "took %d places of %d", taken, len(ids))
	}
	return tasks, tx.Where("task_id IN ? AND untaken = 0", ids).Delete(&placeRow{}).Error
}

// recorded is the condition that the endpoint of a claim (c) has a result of the task.
const recorded = "EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = c.task_id AND r.endpoint = c.endpoint)"

// ReleasePlaces gives back up to limit places that an endpoint has taken and not recorded,
// since no manager holds it any more, and returns their tasks: others may take them. Nothing
// of them ran. It also forgets which of the others were taken and have a result that is not
// lost.
func (s Endpoints) ReleasePlaces(ctx context.Context, limit int) (tasks []int64, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	if err := s.forgetClaims(ctx); err != nil {
		return nil, s.fail("forget which places were taken", err)
	}
	var rows []claimRow
	err = s.conn(ctx).Table("place_claims c").Select("c.task_id, c.endpoint").Where("NOT "+recorded).
		Where("NOT EXISTS (SELECT 1 FROM endpoints e WHERE e.name = c.endpoint AND e.lease_until > ?)", s.at(s.Now())).
		Order("c.task_id, c.endpoint").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the places of endpoints that are gone", err)
	}
	return s.eachClaim(ctx, rows, "give back a place of the task", s.releasePlace)
}

// eachClaim opens the places of claims again by open, which does each in a transaction of its
// own and reports whether it did, and returns the tasks of those.
func (s Endpoints) eachClaim(
	ctx context.Context, claims []claimRow, what string, open func(tx *gorm.DB, claim claimRow) (bool, error),
) (tasks []int64, err error) {
	for _, claim := range claims {
		var opened bool
		err := s.transact(ctx, what, func(tx *gorm.DB) (err error) {
			opened, err = open(tx, claim)
			return err
		})
		if err != nil {
			return tasks, err
		}
		if opened {
			tasks = append(tasks, claim.TaskID)
		}
	}
	return slices.Compact(tasks), nil
}

// forgetClaims deletes the claims whose endpoints have recorded the task and are not lost.
func (s Endpoints) forgetClaims(ctx context.Context) error {
	for {
		var rows []claimRow
		err := s.conn(ctx).Table("place_claims c").Select("c.task_id, c.endpoint").
			Joins("JOIN task_results r ON r.task_id = c.task_id AND r.endpoint = c.endpoint").Where("r.state <> ?", tasker.Lost).
			Order("c.task_id, c.endpoint").Limit(batchSize).Find(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		keys := make([]tasker.ResultKey, len(rows))
		for i, row := range rows {
			keys[i] = tasker.ResultKey(row)
		}
		condition, args := anyOf(keys)
		if err := s.withRetry(ctx, func() error { return s.conn(ctx).Where(condition, args...).Delete(&claimRow{}).Error }); err != nil {
			return err
		}
		if len(rows) < batchSize {
			return nil
		}
	}
}

// releasePlace gives back one place, unless a manager holds the endpoint by now. The
// endpoint is locked: whoever records the task does so before, or finds no target.
func (s Endpoints) releasePlace(tx *gorm.DB, claim claimRow) (released bool, err error) {
	if gone, _, err := s.lockGone(tx, claim.Endpoint); err != nil || !gone {
		return false, err
	}
	tasks, err := lockPlaces(tx, []int64{claim.TaskID})
	if err != nil {
		return false, err
	}
	if len(tasks) == 0 { // it was deleted
		return false, tx.Where("task_id = ? AND endpoint = ?", claim.TaskID, claim.Endpoint).Delete(&claimRow{}).Error
	}
	return s.givePlace(tx, &tasks[0], claim.Endpoint)
}

// lockPlaces locks tasks, and reads what their place rows need.
func lockPlaces(tx *gorm.DB, ids []int64) (tasks []taskRow, err error) {
	err = forUpdate(tx).Select("id", "type", "status", "priority", "endpoints", "places", "start_time", "removed_endpoints").
		Where("id IN ?", ids).Order("id").Find(&tasks).Error
	return tasks, err
}

// givePlace gives back the place of an endpoint in a locked task, if it has one and no
// result. Nobody may record the task at this endpoint meanwhile.
func (s *DB) givePlace(tx *gorm.DB, task *taskRow, endpoint string) (given bool, err error) {
	if err := tx.Where("task_id = ? AND endpoint = ?", task.ID, endpoint).Delete(&claimRow{}).Error; err != nil {
		return false, err
	}
	dropped := tx.Exec("DELETE FROM task_targets WHERE task_id = ? AND endpoint = ? AND NOT EXISTS"+
		" (SELECT 1 FROM task_results r WHERE r.task_id = task_targets.task_id AND r.endpoint = task_targets.endpoint)",
		task.ID, endpoint)
	if dropped.Error != nil || dropped.RowsAffected == 0 {
		return false, dropped.Error
	}
	return true, addPlace(tx, task)
}

// addPlace opens a place of a locked task again.
func addPlace(tx *gorm.DB, task *taskRow) error {
	update := tx.Model(&placeRow{}).Where("task_id = ?", task.ID).Update("untaken", gorm.Expr("untaken + 1"))
	if update.Error != nil || update.RowsAffected > 0 {
		return update.Error
	}
	row := task.place(1)
	return tx.Create(&row).Error
}

// givePlaces gives back the places of an endpoint that is being removed, in locked tasks
// that it has not recorded, and returns which.
func (s *DB) givePlaces(tx *gorm.DB, endpoint string, ids []int64) (given map[int64]bool, err error) {
	var claimed []int64
	err = tx.Model(&claimRow{}).Where("endpoint = ? AND task_id IN ?", endpoint, ids).Pluck("task_id", &claimed).Error
	if err != nil || len(claimed) == 0 {
		return nil, err
	}
	tasks, err := lockPlaces(tx, claimed)
	if err != nil {
		return nil, err
	}
	given = map[int64]bool{}
	for i := range tasks {
		if given[tasks[i].ID], err = s.givePlace(tx, &tasks[i], endpoint); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// closePlaces closes the places of a locked task that nobody has taken: it no longer
// expects anybody there.
func closePlaces(tx *gorm.DB, taskID int64) error {
	if err := tx.Where("task_id = ?", taskID).Delete(&placeRow{}).Error; err != nil {
		return err
	}
	return countTargets(tx, []int64{taskID})
}

// reopenPlaces opens the places of a locked task again that nobody had taken when it
// expired. Those that were closed stay so.
func reopenPlaces(tx *gorm.DB, task *taskRow) error {
	var taken int64
	err := tx.Model(&targetRow{}).Where("task_id = ?", task.ID).Count(&taken).Error
	n := *task.Targets - int(taken)
	if err != nil || n <= 0 {
		return err
	}
	row := task.place(n)
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error
}

// untakenPlaces returns how many places of a task nobody has taken.
func untakenPlaces(tx *gorm.DB, taskID int64) (n int, err error) {
	var counts []int
	err = tx.Model(&placeRow{}).Where("task_id = ?", taskID).Pluck("untaken", &counts).Error
	if len(counts) > 0 {
		n = counts[0]
	}
	return n, err
}

// places returns how many places of a task nobody has taken, and how many are closed.
func (s *DB) places(ctx context.Context, task *tasker.Task) (untaken, closed int, err error) {
	if task.Deliver == 0 || task.Status == tasker.Scheduled {
		return 0, 0, nil
	}
	var n struct{ Targets, Taken int }
	err = s.conn(ctx).Raw("SELECT COALESCE(t.targets, 0) AS targets,"+
		" (SELECT COUNT(*) FROM task_targets g WHERE g.task_id = t.id) AS taken FROM tasks t WHERE t.id = ?", task.ID).Scan(&n).Error
	return max(0, n.Targets-n.Taken), max(0, int(task.Deliver)-n.Targets), err
}

// deletePlaces deletes the places of locked tasks, one by one: these tables are usually
// small, so for a list the server would read all of them.
func deletePlaces(tx *gorm.DB, ids []int64) error {
	var placed []int64
	if err := tx.Model(&taskRow{}).Where("id IN ? AND places IS NOT NULL", ids).Pluck("id", &placed).Error; err != nil {
		return err
	}
	for _, id := range placed {
		for _, row := range []any{&placeRow{}, &claimRow{}} {
			if err := tx.Where("task_id = ?", id).Delete(row).Error; err != nil {
				return err
			}
		}
	}
	return nil
}

// purgeCandidates deletes the candidates of tasks like [purgeTargets].
func purgeCandidates(tx *gorm.DB, tasks []int64, limit int) (through []int64, err error) {
	var rows []candidateRow
	return purgePart(tx, tasks, 5*limit, &rows, []string{"task_id", "endpoint"},
		func(r candidateRow) int64 { return r.TaskID }, func(part []candidateRow) error {
			keys := make([]tasker.ResultKey, len(part))
			for i, r := range part {
				keys[i] = tasker.ResultKey(r)
			}
			condition, args := anyOf(keys)
			return tx.Where(condition, args...).Delete(&candidateRow{}).Error
		})
}

// tooFewFor returns the error of a task with more places than endpoints that may take them.
func tooFewFor(places, endpoints int) error {
	return tasker.FieldErrorf("/deliver", "too many places: %d, and %d endpoints may take one", places, endpoints)
}
