package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
)

// Removals removes endpoints.
type Removals struct{ *DB }

// An endpoint is removed in steps, since thousands of open tasks may expect it
// and it has queues at RabbitMQ.
//
//  1. One transaction decides: it locks the registration, deletes it unless its
//     lease runs, and notes the removal in endpoint_removals. A manager of that
//     name that starts at the same time comes before, and the endpoint is alive,
//     or after, and registers anew.
//  2. [Removals.DetachEndpoint] takes the endpoint out of the open tasks, in
//     transactions of up to 100, each together with the tasks' new statuses.
//  3. The caller deletes the queues.
//  4. [Removals.EndRemoval] deletes the note.
//
// Each step may be repeated. After a crash, the reconciler of any API process
// continues from the note. So does a manager of that name that starts: it does
// not register before step 2 is done, so it finds nothing of the endpoint's
// earlier work.

// endpointRemovalRow is a removal under way.
type endpointRemovalRow struct {
	Name       string `gorm:"primaryKey"`
	TaskTypes  names
	RemoveTime dbTime
}

// TableName returns the table of removals.
func (endpointRemovalRow) TableName() string { return "endpoint_removals" }

func (r *endpointRemovalRow) removal() tasker.Removal {
	return tasker.Removal{Endpoint: r.Name, TaskTypes: r.TaskTypes, Time: r.RemoveTime.Time}
}

// RemoveEndpoint deletes an endpoint's registration and returns the removal,
// for the caller to complete. Its tokens end with it, and so does its drain. The error is a
// [tasker.Conflict] with the manager's name if the endpoint is alive, and
// [tasker.NotFound] if there is neither such an endpoint, nor a token of it, nor
// a removal of it under way.
func (s Removals) RemoveEndpoint(ctx context.Context, name string) (removal tasker.Removal, err error) {
	err = s.transact(ctx, "remove the endpoint", func(tx *gorm.DB) (err error) {
		removal, err = s.removeEndpoint(tx, name)
		return err
	})
	return removal, err
}

func (s Removals) removeEndpoint(tx *gorm.DB, name string) (tasker.Removal, error) {
	removal, err := removeEndpoint(s.DB, tx, name, func(row endpointRow, now time.Time) error {
		if !row.LeaseUntil.After(now) {
			return nil
		}
		return tasker.Errorf(tasker.Conflict,
			"endpoint %q is alive: its manager is on host %s, pid %d, and was last seen at %s: stop it first",
			name, row.Host, row.PID, row.LastSeen.Format(time.RFC3339))
	})
	if err != nil && tasker.CodeOf(err) != tasker.NotFound {
		return removal, err
	}
	// Not when a manager forgets it, which may start again under the same name.
	if err := tx.Where("endpoint = ?", name).Delete(&holdRow{}).Error; err != nil {
		return removal, err
	}
	ended, failed := deleteTokens(tx, name)
	if failed != nil || ended == 0 {
		return removal, cmp.Or(failed, err)
	}
	if err != nil {
		// It never registered: there is nothing to detach it from. The removal is
		// not noted, so that it cannot meet a manager that registers now.
		removal = tasker.Removal{Endpoint: name, TaskTypes: []string{}, Time: s.Now()}
	}
	return removal, nil
}

// ForgetEndpoints removes the registrations of a manager that stops, like
// [Removals.RemoveEndpoint]; the reconciler completes the removals. It keeps
// and returns the endpoints that have results RUNNING, or LOST from there: the
// next manager needs them for an attempt that was interrupted, has its end in a
// spool, or awaits a reboot. Endpoints that another manager has taken over
// stay.
func (s Endpoints) ForgetEndpoints(ctx context.Context, manager string, endpoints []string) (kept []string, err error) {
	for _, name := range endpoints {
		forgotten := true
		err := s.transact(ctx, "remove the endpoint", func(tx *gorm.DB) (err error) {
			forgotten, err = s.forgetEndpoint(tx, manager, name)
			return err
		})
		if err != nil {
			return kept, err
		}
		if !forgotten {
			kept = append(kept, name)
		}
	}
	return kept, nil
}

// forgetEndpoint removes one endpoint, unless it must be kept.
func (s Endpoints) forgetEndpoint(tx *gorm.DB, manager, name string) (forgotten bool, err error) {
	errOther, errRuns := errors.New("taken over by another manager"), errors.New("an attempt has not ended")
	_, err = removeEndpoint(s.DB, tx, name, func(row endpointRow, _ time.Time) error {
		if row.Manager != manager {
			return errOther
		}
		var runs []int64
		err := tx.Model(&resultRow{}).
			Where("endpoint = ? AND state IN ?", name, []tasker.ResultState{tasker.Running, tasker.Lost}).
			Where("COALESCE(lost_from, state) = ?", tasker.Running).Limit(1).Pluck("task_id", &runs).Error
		if len(runs) > 0 {
			return errRuns
		}
		return err
	})
	switch {
	case errors.Is(err, errRuns):
		return false, nil
	case errors.Is(err, errOther), tasker.CodeOf(err) == tasker.NotFound:
		return true, nil
	}
	return err == nil, err
}

// removeEndpoint is step 1. allow returns an error if the registration has to
// stay.
func removeEndpoint(s *DB, tx *gorm.DB, name string, allow func(row endpointRow, now time.Time) error) (tasker.Removal, error) {
	row, now, err := Endpoints{s}.lockEndpoint(tx, name)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		var begun endpointRemovalRow
		err = tx.Where("name = ?", name).Take(&begun).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return tasker.Removal{}, tasker.Errorf(tasker.NotFound, "endpoint %q not found: it is not registered", name)
		}
		return begun.removal(), err
	}
	if err != nil {
		return tasker.Removal{}, err
	}
	if err := allow(row, now); err != nil {
		return tasker.Removal{}, err
	}
	types := names{}
	find := tx.Model(&endpointTypeRow{}).Where("endpoint = ?", name)
	if err := find.Order("task_type").Pluck("task_type", &types).Error; err != nil {
		return tasker.Removal{}, err
	}
	noted := endpointRemovalRow{Name: name, TaskTypes: types, RemoveTime: dbTime{now}}
	if err := tx.Where("endpoint = ?", name).Delete(&endpointTypeRow{}).Error; err != nil {
		return tasker.Removal{}, err
	}
	if err := tx.Delete(&row).Error; err != nil {
		return tasker.Removal{}, err
	}
	return noted.removal(), tx.Save(&noted).Error
}

// Removals returns up to limit removals under way, by name.
func (s Removals) Removals(ctx context.Context, limit int) ([]tasker.Removal, error) {
	var rows []endpointRemovalRow
	if err := s.conn(ctx).Order("name").Limit(limit).Find(&rows).Error; err != nil {
		return nil, s.fail("read the removals of endpoints", err)
	}
	list := make([]tasker.Removal, len(rows))
	for i := range rows {
		list[i] = rows[i].removal()
	}
	return list, nil
}

// RemovalCurrent reports whether a removal is still under way: it has not
// ended, and the endpoint has not registered again.
func (s Removals) RemovalCurrent(ctx context.Context, removal tasker.Removal) (current bool, err error) {
	err = s.transact(ctx, "read the removal of the endpoint", func(tx *gorm.DB) error {
		current, err = lockRemoval(tx, removal)
		return err
	})
	return current, err
}

// EndRemoval ends a removal after its last step.
func (s Removals) EndRemoval(ctx context.Context, removal tasker.Removal) error {
	err := s.withRetry(ctx, func() error { return endRemoval(s.conn(ctx), removal) })
	return s.fail("end the removal of the endpoint", err)
}

func endRemoval(db *gorm.DB, removal tasker.Removal) error {
	return db.Where("name = ? AND remove_time = ?", removal.Endpoint, dbTime{removal.Time}).Delete(&endpointRemovalRow{}).Error
}

// endDetached ends the removal of an endpoint that registers again, if it is
// the one given; otherwise it returns the one under way, if any.
func endDetached(tx *gorm.DB, name string, detached tasker.Removal) (begun *tasker.Removal, err error) {
	var row endpointRemovalRow
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("name = ?", name).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if removal := row.removal(); !removal.Time.Equal(detached.Time) {
		return &removal, nil
	}
	return nil, endRemoval(tx, detached)
}

// lockRemoval reports whether a removal is under way, and keeps the endpoint
// from registering until the transaction ends.
func lockRemoval(tx *gorm.DB, removal tasker.Removal) (current bool, err error) {
	var row endpointRemovalRow
	err = tx.Clauses(clause.Locking{Strength: "SHARE"}).
		Where("name = ? AND remove_time = ?", removal.Endpoint, dbTime{removal.Time}).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return false, nil
	}
	return err == nil, err
}

// DetachEndpoint takes a removed endpoint out of all open tasks created before
// the removal, and returns how many tasks changed. Results that the endpoint
// finished stay; the others become CANCELED, so that no manager of that name
// continues them. It stops if the removal is no longer under way. It may be
// repeated.
//
// It may miss a task that is being accepted, or one of an older program that is
// being marked as sent, because that read the registrations before: repeat it
// later than such a transaction can last.
func (s Removals) DetachEndpoint(ctx context.Context, removal tasker.Removal) (tasks int, err error) {
	d := detachment{Removals: s, removal: removal}
	if err := Statuses(s).ConvertTasks(ctx); err != nil {
		return 0, err
	}
	if err := s.convertUnsent(ctx); err != nil {
		return 0, s.fail("convert the tasks of older versions", err)
	}
	if err := d.unfinished(ctx); err != nil {
		return d.changed, s.fail("read the results of the removed endpoint", err)
	}
	if err := d.targets(ctx); err != nil {
		return d.changed, s.fail("read the tasks of the removed endpoint", err)
	}
	err = d.waves(ctx)
	return d.changed, s.fail("read the rollouts of the removed endpoint", err)
}

// detachment is one call of [Removals.DetachEndpoint].
type detachment struct {
	Removals
	removal tasker.Removal
	changed int
	ended   bool // the removal is no longer under way
}

// unfinished detaches the endpoint from tasks with an unfinished result of it.
func (d *detachment) unfinished(ctx context.Context) error {
	for !d.ended {
		var ids []int64
		err := d.conn(ctx).Model(&resultRow{}).
			Where("endpoint = ? AND state IN ?", d.removal.Endpoint, tasker.UnfinishedResultStates()).
			Order("task_id").Limit(batchSize).Pluck("task_id", &ids).Error
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := d.detach(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// targets detaches the endpoint from the tasks that have it as a target, except
// those that list it and were accepted after the removal.
func (d *detachment) targets(ctx context.Context) error {
	first, err := Inbox{d.DB}.firstOpen(ctx, time.Time{})
	if err != nil || first == 0 {
		return err
	}
	for after := first - 1; !d.ended; {
		var page []int64
		err := d.conn(ctx).Model(&targetRow{}).Where("endpoint = ? AND task_id > ?", d.removal.Endpoint, after).
			Order("task_id").Limit(catchUpPage).Pluck("task_id", &page).Error
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1]
		var ids []int64
		err = d.conn(ctx).Model(&taskRow{}).Where("id IN ? AND status IN ?", page, unended()).
			Where("(endpoints IS NULL OR start_time <= ?)", dbTime{d.removal.Time}).Order("id").Pluck("id", &ids).Error
		if err != nil {
			return err
		}
		for part := range slices.Chunk(ids, batchSize) {
			if err := d.detach(ctx, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// detach changes a batch of tasks.
func (d *detachment) detach(ctx context.Context, ids []int64) error {
	slices.Sort(ids)
	var changed int
	ended := endedTasks{}
	err := d.withRetry(ctx, func() error {
		return d.conn(ctx).Transaction(func(tx *gorm.DB) error {
			changed = 0
			clear(ended)
			current, err := lockRemoval(tx, d.removal)
			if d.ended = !current; err != nil || d.ended {
				return err
			}
			changed, err = d.Removals.detach(tx, d.removal.Endpoint, ids, ended)
			return err
		})
	})
	d.changed += changed
	if err == nil {
		d.report(ended)
	}
	return err
}

func (s Removals) detach(tx *gorm.DB, endpoint string, ids []int64, ended endedTasks) (changed int, err error) {
	var tasks []taskRow
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Select("id", "status", "removed_endpoints").
		Where("id IN ?", ids).Order("id").Find(&tasks).Error
	if err != nil {
		return 0, err
	}
	now := dbTime{s.Now()}
	canceled := tx.Model(&resultRow{}).
		Where("task_id IN ? AND endpoint = ? AND state IN ?", ids, endpoint, tasker.ResultStatesBefore(tasker.ResultCanceled)).
		Updates(removedResult("endpoint "+endpoint+" was removed before it finished", now))
	if canceled.Error != nil {
		return 0, canceled.Error
	}
	finished, err := finishedAt(tx, endpoint, ids)
	if err != nil {
		return 0, err
	}
	given, err := s.givePlaces(tx, endpoint, ids)
	if err != nil {
		return 0, err
	}
	var left []int64
	for i := range tasks {
		task := tasks[i].task()
		if finished[task.ID] || given[task.ID] || task.Status.Final() {
			continue
		}
		left = append(left, task.ID)
		if task.Removed(endpoint) {
			continue
		}
		if err := noteRemoved(tx, task.ID, task.RemovedEndpoints, endpoint); err != nil {
			return 0, err
		}
		changed++
	}
	if err := s.dropTarget(tx, endpoint, left); err != nil {
		return 0, err
	}
	// No task becomes overdue by this.
	const never = 100 * 365 * 24 * time.Hour
	for len(ids) > 0 && err == nil {
		_, ids, err = Statuses(s).aggregate(tx, ids, never, ended)
	}
	return changed, err
}

// removedResult returns what a result becomes whose endpoint its task no longer expects.
func removedResult(errmsg string, now dbTime) map[string]any {
	return map[string]any{
		"state": tasker.ResultCanceled, "errnr": tasker.ErrnrRemoved, "errmsg": errmsg,
		"lost_from": nil, "lost_errnr": nil, "lost_errmsg": nil, "retry_time": nil, "last_modified_time": now,
	}
}

// noteRemoved adds an endpoint to those of a locked task that were removed before.
func noteRemoved(tx *gorm.DB, taskID int64, before []string, endpoint string) error {
	return tx.Model(&taskRow{}).Where("id = ?", taskID).Update("removed_endpoints", names(with(before, endpoint))).Error
}

// finishedAt returns the tasks that the endpoint itself has finished.
func finishedAt(tx *gorm.DB, endpoint string, ids []int64) (map[int64]bool, error) {
	var found []int64
	err := tx.Model(&resultRow{}).Where("task_id IN ? AND endpoint = ? AND errnr <> ?", ids, endpoint, tasker.ErrnrRemoved).
		Pluck("task_id", &found).Error
	finished := make(map[int64]bool, len(found))
	for _, id := range found {
		finished[id] = true
	}
	return finished, err
}

// with returns the list with a name added, sorted.
func with(list []string, name string) []string {
	list = append(slices.Clone(list), name)
	slices.Sort(list)
	return slices.Compact(list)
}
