package store

import (
	"context"
	"time"
)

// Daemon is a process that is using the database.
type Daemon struct {
	Host      string
	PID       int
	Endpoints []string // those that it serves, by name
}

// Living returns the managers whose leases run, and whether the reconciler of
// an API process does, for any version of the schema.
func (s Inspection) Living(ctx context.Context) (managers []Daemon, api bool, err error) {
	const what = "find the daemons that use it"
	if err := s.clockKnown(ctx); err != nil {
		return nil, false, err
	}
	now := dbTime{s.Now()}
	if there, err := s.hasTable(ctx, endpointRow{}.TableName()); err != nil {
		return nil, false, s.fail(what, err)
	} else if there {
		var rows []endpointRow
		err := s.conn(ctx).Select("name", "manager", "host", "pid").
			// Later ones were written before the clock was set back.
			Where("lease_until > ? AND last_seen <= ?", now, dbTime{now.Add(time.Minute)}).
			Order("host, pid, manager, name").Find(&rows).Error
		if err != nil {
			return nil, false, s.fail(what, err)
		}
		last := ""
		for _, r := range rows {
			if r.Manager != last || len(managers) == 0 {
				managers = append(managers, Daemon{Host: r.Host, PID: r.PID})
				last = r.Manager
			}
			d := &managers[len(managers)-1]
			d.Endpoints = append(d.Endpoints, r.Name)
		}
	}
	if there, err := s.hasTable(ctx, leaseRow{}.TableName()); err != nil || !there {
		return managers, false, s.fail(what, err)
	}
	var leases int64
	err = s.conn(ctx).Model(&leaseRow{}).Where("turn_until > ?", now).Count(&leases).Error
	return managers, leases > 0, s.fail(what, err)
}
