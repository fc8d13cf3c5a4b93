package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
)

// AcquireEndpoint registers an endpoint with its task types for the manager
// that e names, and holds the name for the time lease. holder is nil where
// that worked; otherwise another manager's lease runs, and holder is the
// endpoint as that one registered it.
//
// An endpoint that was removed registers anew: a removal that is under way is
// carried on first, so that the tasks of before are not the endpoint's any more.
func (s *Store) AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (holder *tasker.Endpoint, err error) {
	var detached tasker.Removal
	for {
		var begun *tasker.Removal
		holder, begun, err = s.acquire(ctx, e, lease, detached)
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			// Of two that register a new name at once the second sees it now.
			holder, begun, err = s.acquire(ctx, e, lease, detached)
		}
		if err != nil || begun == nil {
			return holder, err
		}
		if _, err := s.DetachEndpoint(ctx, *begun); err != nil {
			return nil, err
		}
		detached = *begun
	}
}

// acquire registers the endpoint and ends the removal detached. Where another
// removal of it is under way it returns that, and changes nothing.
func (s *Store) acquire(ctx context.Context, e tasker.Endpoint, lease time.Duration, detached tasker.Removal) (holder *tasker.Endpoint, begun *tasker.Removal, err error) {
	err = s.transact(ctx, "register the endpoint", func(tx *gorm.DB) error {
		holder, begun = nil, nil
		now := s.Now()
		row := endpointRow{
			Name: e.Name, Manager: e.Manager, Host: e.Host, PID: e.PID, Version: e.Version,
			StartTime: dbTime{now}, LastSeen: dbTime{now}, LeaseUntil: dbTime{now.Add(lease)},
		}
		if len(e.Labels) > 0 {
			row.Labels = &document[map[string]string]{e.Labels}
		}
		var existing endpointRow
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("name = ?", e.Name).Take(&existing).Error
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound):
			if begun, err = endDetached(tx, e.Name, detached); err != nil || begun != nil {
				return err
			}
			err = tx.Create(&row).Error
		case err == nil && existing.Manager != e.Manager && existing.LeaseUntil.After(now):
			found := existing.endpoint(now)
			holder = &found
			return nil
		case err == nil:
			err = tx.Save(&row).Error
		}
		if err != nil {
			return err
		}
		if err := tx.Where("endpoint = ?", e.Name).Delete(&endpointTypeRow{}).Error; err != nil {
			return err
		}
		types := make([]endpointTypeRow, len(e.TaskTypes))
		for i, name := range e.TaskTypes {
			types[i] = endpointTypeRow{TaskType: name, Endpoint: e.Name}
		}
		return tx.Create(&types).Error
	})
	return holder, begun, err
}

// Heartbeat is a manager's sign of life for its endpoints: it renews their
// leases. held is false where another manager has taken one of them over.
func (s *Store) Heartbeat(ctx context.Context, manager string, endpoints []string, lease time.Duration) (held bool, err error) {
	err = s.again(ctx, func() error {
		now := s.Now()
		update := s.db.WithContext(ctx).Model(&endpointRow{}).Where("name IN ? AND manager = ?", endpoints, manager).
			Updates(map[string]any{"last_seen": dbTime{now}, "lease_until": dbTime{now.Add(lease)}})
		held = update.RowsAffected == int64(len(endpoints))
		return update.Error
	})
	return held, s.fail("send the heartbeat", err)
}

// ReleaseEndpoints frees a manager's endpoints for another manager at once.
// They stay registered: their queues go on collecting tasks.
func (s *Store) ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error {
	err := s.again(ctx, func() error {
		return s.db.WithContext(ctx).Model(&endpointRow{}).Where("name IN ? AND manager = ?", endpoints, manager).
			Update("lease_until", dbTime{s.Now()}).Error
	})
	return s.fail("release the endpoints", err)
}

// ReturnFromLost takes the LOST results of endpoints back to the states that
// they came from, since their endpoint is back, and tells how many. What was
// called lost by a tasker before version 5 of the schema did not keep what it
// said.
func (s *Store) ReturnFromLost(ctx context.Context, endpoints []string) (returned int, err error) {
	err = s.again(ctx, func() error {
		update := s.db.WithContext(ctx).Exec("UPDATE task_results SET state = lost_from, lost_from = NULL,"+
			" errnr = COALESCE(lost_errnr, 0), errmsg = COALESCE(lost_errmsg, ''), lost_errnr = NULL, lost_errmsg = NULL, last_modified_time = ? WHERE endpoint IN ? AND state = ? AND lost_from IS NOT NULL",
			dbTime{s.Now()}, endpoints, tasker.Lost)
		returned = int(update.RowsAffected)
		return update.Error
	})
	return returned, s.fail("take back the lost results", err)
}

// MarkLost moves the unfinished results of up to limit endpoints that have not
// been seen since a time to LOST, and gives the tasks concerned.
func (s *Store) MarkLost(ctx context.Context, notSeenSince time.Time, limit int) (tasks []int64, err error) {
	var gone []string
	unfinished := slices.DeleteFunc(tasker.UnfinishedResultStates(), func(state tasker.ResultState) bool { return state == tasker.Lost })
	err = s.db.WithContext(ctx).Model(&endpointRow{}).Where("last_seen < ?", dbTime{notSeenSince}).
		Where("EXISTS (SELECT 1 FROM task_results r WHERE r.endpoint = endpoints.name AND r.state IN ?)", unfinished).
		Order("last_seen").Limit(limit).Pluck("name", &gone).Error
	if err != nil {
		return nil, s.fail("look for lost endpoints", err)
	}
	for _, name := range gone {
		ids, err := s.markLost(ctx, name, notSeenSince, unfinished)
		if err != nil {
			return tasks, err
		}
		tasks = append(tasks, ids...)
	}
	slices.Sort(tasks)
	return slices.Compact(tasks), nil
}

// markLost locks the endpoint, so that a heartbeat comes either before, and it
// is not lost, or after, and its manager finds what is to be taken back.
func (s *Store) markLost(ctx context.Context, name string, notSeenSince time.Time, unfinished []tasker.ResultState) (tasks []int64, err error) {
	err = s.transact(ctx, "mark results as lost", func(tx *gorm.DB) error {
		tasks = nil
		var row endpointRow
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).
			Where("name = ? AND last_seen < ?", name, dbTime{notSeenSince}).Take(&row).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		lost := tx.Model(&resultRow{}).Where("endpoint = ? AND state IN ?", name, unfinished)
		if err := lost.Session(&gorm.Session{}).Pluck("task_id", &tasks).Error; err != nil {
			return err
		}
		message := "endpoint " + name + " was last seen at " + row.LastSeen.Format(time.RFC3339)
		return tx.Exec("UPDATE task_results SET lost_from = state, lost_errnr = errnr, lost_errmsg = errmsg,"+
			" state = ?, errnr = ?, errmsg = ?, last_modified_time = ?"+
			" WHERE endpoint = ? AND state IN ?",
			tasker.Lost, tasker.ErrnrLost, message, dbTime{s.Now()}, name, unfinished).Error
	})
	return tasks, err
}

// ListEndpoints gives one page of the endpoints, by name.
func (s *Store) ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	find := s.db.WithContext(ctx).Where("name > ?", q.After)
	if q.TaskType != "" {
		find = find.Where("EXISTS (SELECT 1 FROM endpoint_task_types r WHERE r.task_type = ? AND r.endpoint = endpoints.name)", q.TaskType)
	}
	var rows []endpointRow
	if err := find.Order("name").Limit(q.Limit).Find(&rows).Error; err != nil {
		return nil, s.fail("list the endpoints", err)
	}
	now := s.Now()
	index := make(map[string]int, len(rows))
	found := make([]string, len(rows))
	list := make([]tasker.Endpoint, len(rows))
	for i := range rows {
		list[i] = rows[i].endpoint(now)
		found[i], index[list[i].Name] = list[i].Name, i
	}
	if len(list) == 0 {
		return list, nil
	}
	var types []endpointTypeRow
	if err := s.db.WithContext(ctx).Where("endpoint IN ?", found).Order("task_type").Find(&types).Error; err != nil {
		return nil, s.fail("list the endpoints' task types", err)
	}
	for _, t := range types {
		e := &list[index[t.Endpoint]]
		e.TaskTypes = append(e.TaskTypes, t.TaskType)
	}
	return list, nil
}
