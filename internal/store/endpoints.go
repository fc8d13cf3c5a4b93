package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Endpoints registers and lists endpoints, holds their leases, and marks the
// results of silent ones.
type Endpoints struct{ *DB }

// AcquireEndpoint registers an endpoint with its task types for e.Manager and
// takes its lease. If the lease of another manager runs, nothing changes, and
// holder is the endpoint as that one registered it; otherwise holder is nil.
//
// If a removal of the endpoint is under way, it is completed first: the tasks
// from before no longer expect the endpoint.
func (s Endpoints) AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (holder *tasker.Endpoint, err error) {
	var detached tasker.Removal
	for {
		var begun *tasker.Removal
		holder, begun, err = s.acquire(ctx, e, lease, detached)
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			// Another process has registered the new name.
			holder, begun, err = s.acquire(ctx, e, lease, detached)
		}
		if err != nil || begun == nil {
			return holder, err
		}
		if _, err := Removals(s).DetachEndpoint(ctx, *begun); err != nil {
			return nil, err
		}
		detached = *begun
	}
}

// acquire registers the endpoint and ends the removal detached. If another
// removal of it is under way, acquire returns that as begun and changes
// nothing.
func (s Endpoints) acquire(
	ctx context.Context, e tasker.Endpoint, lease time.Duration, detached tasker.Removal,
) (holder *tasker.Endpoint, begun *tasker.Removal, err error) {
	err = s.transact(ctx, "register the endpoint", func(tx *gorm.DB) error {
		holder, begun = nil, nil
		now := s.Now()
		row := map[string]any{
			"manager": e.Manager, "host": e.Host, "pid": e.PID, "version": e.Version, "labels": nil,
			"start_time": s.at(now), "last_seen": s.at(now), "lease_until": s.at(now.Add(lease)),
			"protocol": max(e.Protocol, 1), "protocol_manager": e.Manager, "gate": 1, "gated_by": e.Manager,
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
		if err := tx.Create(&types).Error; err != nil {
			return err
		}
		return awaitHolds(tx, e.TaskTypes)
	})
	return holder, begun, err
}

// lockEndpoint locks and returns an endpoint's row, with the database's time.
//
// If last_seen is in the future, the database's clock was set back. The manager
// may be alive or dead, so its lease starts over for its full length.
func (s Endpoints) lockEndpoint(tx *gorm.DB, name string) (row endpointRow, now time.Time, err error) {
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("name = ?", name).Take(&row).Error
	if err != nil {
		return row, now, err
	}
	// After the lock, which may have taken a while.
	if now, err = s.statementTime(tx); err != nil || !row.LastSeen.After(now.Add(clockError)) {
		return row, now, err
	}
	length := row.LeaseUntil.Sub(row.LastSeen.Time)
	row.LastSeen, row.LeaseUntil = dbTime{now}, dbTime{now.Add(length)}
	return row, now, tx.Model(&endpointRow{}).Where("name = ?", name).
		Updates(map[string]any{"last_seen": row.LastSeen, "lease_until": row.LeaseUntil}).Error
}

// statementTime returns the database's own time.
func (s *DB) statementTime(tx *gorm.DB) (time.Time, error) {
	if s.dialect.clock == "" || s.travels {
		return s.Now(), nil
	}
	var now dbTime
	err := tx.Raw(s.dialect.clock).Row().Scan(&now)
	return now.Time, err
}

// Heartbeat renews the leases of a manager's endpoints. held is false if
// another manager has taken over one of them.
func (s Endpoints) Heartbeat(ctx context.Context, manager string, endpoints []string, lease time.Duration) (held bool, err error) {
	err = s.withRetry(ctx, func() error {
		now := s.Now()
		update := s.conn(ctx).Model(&endpointRow{}).Where("name IN ? AND manager = ?", endpoints, manager).
			Updates(map[string]any{"last_seen": s.at(now), "lease_until": s.at(now.Add(lease))})
		held = update.RowsAffected == int64(len(endpoints))
		return update.Error
	})
	return held, s.fail("store the heartbeat", err)
}

// RenewLeases is [Endpoints.Heartbeat] for up to 100 endpoints of different
// managers, with one statement if the leases are of one length. held[i] is false
// if the manager no longer holds the endpoint.
func (s Endpoints) RenewLeases(ctx context.Context, renewals []ledger.Renewal) (held []bool, err error) {
	byLength := map[time.Duration][]ledger.Renewal{}
	for _, r := range renewals {
		byLength[r.Lease] = append(byLength[r.Lease], r)
	}
	var renewed int64
	for length, group := range byLength {
		condition, names, args := heldBy(group)
		err = s.withRetry(ctx, func() error {
			now := s.Now()
			update := s.conn(ctx).Model(&endpointRow{}).Where("name IN ?", names).Where(condition, args...).
				Updates(map[string]any{"last_seen": s.at(now), "lease_until": s.at(now.Add(length))})
			renewed += update.RowsAffected
			return update.Error
		})
		if err != nil {
			return nil, s.fail("store the heartbeats", err)
		}
	}
	if renewed == int64(len(renewals)) {
		return slices.Repeat([]bool{true}, len(renewals)), nil
	}
	_, names, _ := heldBy(renewals)
	var rows []endpointRow
	if err := s.conn(ctx).Select("name", "manager").Where("name IN ?", names).Find(&rows).Error; err != nil {
		return nil, s.fail("read who holds the endpoints", err)
	}
	holders := make(map[string]string, len(rows))
	for _, row := range rows {
		holders[row.Name] = row.Manager
	}
	held = make([]bool, len(renewals))
	for i, r := range renewals {
		held[i] = holders[r.Endpoint] == r.Manager
	}
	return held, nil
}

// heldBy returns the condition that an endpoint is one of the renewals' and held by
// its manager, and the names of all, by which the index finds them.
func heldBy(renewals []ledger.Renewal) (condition string, names []string, args []any) {
	names = make([]string, len(renewals))
	for i, r := range renewals {
		names[i] = r.Endpoint
		args = append(args, r.Endpoint, r.Manager)
	}
	return disjunction("name = ? AND manager = ?", len(renewals)), names, args
}

// CountSeen returns how many endpoints were seen since a time.
func (s Endpoints) CountSeen(ctx context.Context, since time.Time) (n int, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return 0, err
	}
	var count int64
	err = s.conn(ctx).Model(&endpointRow{}).Where("last_seen > ?", s.at(since)).Count(&count).Error
	return int(count), s.fail("count the endpoints", err)
}

// ReleaseEndpoints ends the leases of a manager's endpoints, so that another
// manager can take over at once. They stay registered, and their queues keep
// collecting tasks.
func (s Endpoints) ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error {
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Model(&endpointRow{}).Where("name IN ? AND manager = ?", endpoints, manager).
			Update("lease_until", s.at(s.Now())).Error
	})
	return s.fail("release the endpoints", err)
}

// ListEndpoints returns one page of the endpoints, by name.
func (s Endpoints) ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	find := s.conn(ctx).Where("name > ?", q.After)
	if q.TaskType != "" {
		find = find.Where("EXISTS (SELECT 1 FROM endpoint_task_types r WHERE r.task_type = ? AND r.endpoint = endpoints.name)", q.TaskType)
	}
	now := s.Now()
	if q.Names != nil {
		find = find.Where("name IN ?", q.Names)
	}
	if q.Recent {
		find = find.Where("last_seen >= ?", s.at(now.Add(-s.seenWithin)))
	}
	if q.Brief {
		find = find.Select("name", "labels", "version", "last_seen", "lease_until")
	}
	var rows []endpointRow
	if err := find.Order("name").Limit(q.Limit).Find(&rows).Error; err != nil {
		return nil, s.fail("list the endpoints", err)
	}
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
		return nil, s.fail("list the task types of the endpoints", err)
	}
	for _, t := range types {
		e := &list[index[t.Endpoint]]
		e.TaskTypes = append(e.TaskTypes, t.TaskType)
	}
	var holds []holdRow
	err := s.conn(ctx).Table("holds h").Where("h.endpoint IN ? AND "+active, found, s.at(now)).Find(&holds).Error
	for i := range holds {
		list[index[*holds[i].Endpoint]].Drain = new(holds[i].hold())
	}
	return list, s.fail("read which endpoints are drained", err)
}
