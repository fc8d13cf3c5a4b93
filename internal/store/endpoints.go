package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
)

// Endpoints registers, lists and removes endpoints, and holds their leases.
type Endpoints struct{ *DB }

// AcquireEndpoint registers an endpoint with its task types for the manager
// that e names, and holds the name for the time lease. holder is nil where
// that worked; otherwise another manager's lease runs, and holder is the
// endpoint as that one registered it.
//
// An endpoint that was removed registers anew: a removal that is under way is
// carried on first, so that the tasks of before are not the endpoint's any more.
func (s Endpoints) AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (holder *tasker.Endpoint, err error) {
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
func (s Endpoints) acquire(ctx context.Context, e tasker.Endpoint, lease time.Duration, detached tasker.Removal) (holder *tasker.Endpoint, begun *tasker.Removal, err error) {
	err = s.transact(ctx, "register the endpoint", func(tx *gorm.DB) error {
		holder, begun = nil, nil
		now := s.Now()
		row := map[string]any{
			"manager": e.Manager, "host": e.Host, "pid": e.PID, "version": e.Version, "labels": nil,
			"start_time": s.at(now), "last_seen": s.at(now), "lease_until": s.at(now.Add(lease)),
		}
		if len(e.Labels) > 0 {
			row["labels"] = document[map[string]string]{e.Labels}
		}
		existing, now, err := s.lockEndpoint(tx, e.Name)
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound):
			if begun, err = endDetached(tx, e.Name, detached); err != nil || begun != nil {
				return err
			}
			row["name"] = e.Name
			err = tx.Model(&endpointRow{}).Create(row).Error
		case err == nil && existing.Manager != e.Manager && existing.LeaseUntil.After(now):
			found := existing.endpoint(now)
			holder = &found
			return nil
		case err == nil:
			err = tx.Model(&endpointRow{}).Where("name = ?", e.Name).Updates(row).Error
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

// lockEndpoint locks an endpoint's row and returns it, with the database's time.
//
// A row that was seen in the future was written before the database's clock was
// set back. Its manager may live, and beat with the next heartbeat, or have died
// before: so its lease runs for its whole length from now on, and not for as long
// as the clock was set back.
func (s *DB) lockEndpoint(tx *gorm.DB, name string) (row endpointRow, now time.Time, err error) {
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("name = ?", name).Take(&row).Error
	if err != nil {
		return row, now, err
	}
	// Only now: it may have taken a while to get the lock.
	if now, err = s.statementTime(tx); err != nil || !row.LastSeen.After(now.Add(clockError)) {
		return row, now, err
	}
	length := row.LeaseUntil.Sub(row.LastSeen.Time)
	row.LastSeen, row.LeaseUntil = dbTime{now}, dbTime{now.Add(length)}
	return row, now, tx.Model(&endpointRow{}).Where("name = ?", name).
		Updates(map[string]any{"last_seen": row.LastSeen, "lease_until": row.LeaseUntil}).Error
}

// statementTime is the database's own time.
func (s *DB) statementTime(tx *gorm.DB) (time.Time, error) {
	if s.dialect.clock == "" || s.travels {
		return s.Now(), nil
	}
	var now dbTime
	err := tx.Raw(s.dialect.clock).Row().Scan(&now)
	return now.Time, err
}

// Heartbeat is a manager's sign of life for its endpoints: it renews their
// leases. held is false where another manager has taken one of them over.
func (s Endpoints) Heartbeat(ctx context.Context, manager string, endpoints []string, lease time.Duration) (held bool, err error) {
	err = s.withRetry(ctx, func() error {
		now := s.Now()
		update := s.conn(ctx).Model(&endpointRow{}).Where("name IN ? AND manager = ?", endpoints, manager).
			Updates(map[string]any{"last_seen": s.at(now), "lease_until": s.at(now.Add(lease))})
		held = update.RowsAffected == int64(len(endpoints))
		return update.Error
	})
	return held, s.fail("send the heartbeat", err)
}

// ReleaseEndpoints frees a manager's endpoints for another manager at once.
// They stay registered: their queues go on collecting tasks.
func (s Endpoints) ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error {
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Model(&endpointRow{}).Where("name IN ? AND manager = ?", endpoints, manager).
			Update("lease_until", s.at(s.Now())).Error
	})
	return s.fail("release the endpoints", err)
}

// ListEndpoints gives one page of the endpoints, by name.
func (s Endpoints) ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	find := s.conn(ctx).Where("name > ?", q.After)
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
	if err := s.conn(ctx).Where("endpoint IN ?", found).Order("task_type").Find(&types).Error; err != nil {
		return nil, s.fail("list the endpoints' task types", err)
	}
	for _, t := range types {
		e := &list[index[t.Endpoint]]
		e.TaskTypes = append(e.TaskTypes, t.TaskType)
	}
	return list, nil
}
