package store

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A hold keeps attempts from starting. A start must not miss one that is stored at the
// same time. So each start locks the row of its endpoint, as it does against another
// manager, and looks at the gate in that row:
//
//   - Whoever stores a hold closes, in the same transaction, the gates of the endpoints
//     that it concerns. That waits for the starts that are under way there, and those
//     that come later find the gate closed.
//   - A start that finds the gate closed looks for holds, while it has the lock.
//   - Where none applies it opens the gate afterwards, so that later starts need not
//     look.
//
// A closed gate costs time and nothing else. So an endpoint closes its gate when it
// registers, since it may be new or have new types, and when it joins a task that is
// held; and the end of a hold leaves the gates as they are.

// active is the condition that a hold (h) has not ended by itself at a time, its
// argument.
const active = "(h.held_until IS NULL OR h.held_until > ?)"

// unheld is the condition that no hold applies to a result (r) and its task (t). Its
// arguments are those of unheldArgs.
const unheld = "NOT EXISTS (SELECT 1 FROM holds h WHERE h.endpoint = r.endpoint AND " + active + ")" +
	" AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.task_type = t.type AND " + active + ")" +
	" AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.task_id = r.task_id AND " + active + ")"

func (s *DB) unheldArgs() []any {
	now := s.at(s.Now())
	return []any{now, now, now}
}

// appliedHold is a hold at an endpoint that it applies to: of all tasks there, of those
// of a type, or of one task. Without an endpoint it is of one task anywhere.
type appliedHold struct {
	Endpoint  string
	TaskType  string
	TaskID    int64
	HeldUntil *dbTime
}

// holdsAt returns the holds that apply at some endpoints, and those of some tasks.
func (s *DB) holdsAt(db *gorm.DB, endpoints []string, tasks []int64) (list []appliedHold, err error) {
	join := s.dialect.orderedJoin()
	now := s.at(s.Now())
	statement := "SELECT h.endpoint AS endpoint, '' AS task_type, 0 AS task_id, h.held_until AS held_until" +
		" FROM holds h WHERE h.endpoint IN ? AND " + active +
		" UNION ALL SELECT e.endpoint, h.task_type, 0, h.held_until FROM holds h" + join + "endpoint_task_types e" +
		" ON e.task_type = h.task_type WHERE h.task_type IS NOT NULL AND e.endpoint IN ? AND " + active +
		" UNION ALL SELECT g.endpoint, '', h.task_id, h.held_until FROM holds h" + join + "task_targets g" +
		" ON g.task_id = h.task_id WHERE h.task_id IS NOT NULL AND g.endpoint IN ? AND " + active +
		// Older programs store a result without a target.
		" UNION ALL SELECT r.endpoint, '', h.task_id, h.held_until FROM holds h" + join + "task_results r" +
		" ON r.task_id = h.task_id WHERE h.task_id IS NOT NULL AND r.endpoint IN ? AND " + active
	args := []any{endpoints, now, endpoints, now, endpoints, now, endpoints, now}
	if len(tasks) > 0 {
		statement += " UNION ALL SELECT '', '', h.task_id, h.held_until FROM holds h WHERE h.task_id IN ? AND " + active
		args = append(args, tasks, now)
	}
	return list, db.Raw(statement, args...).Scan(&list).Error
}

// gated is what a start at a closed gate finds.
type gated struct {
	held map[tasker.ResultKey]bool // those of the results that must not start
	free []string                  // the endpoints where no hold applies, sorted
}

// look finds which results must not start. Their endpoints must be locked.
func (s *DB) look(tx *gorm.DB, keys []tasker.ResultKey) (gated, error) {
	var endpoints []string
	var tasks []int64
	for _, key := range keys {
		endpoints, tasks = append(endpoints, key.Endpoint), append(tasks, key.TaskID)
	}
	slices.Sort(endpoints)
	slices.Sort(tasks)
	endpoints, tasks = slices.Compact(endpoints), slices.Compact(tasks)
	holds, err := s.holdsAt(tx, endpoints, tasks)
	if err != nil || len(holds) == 0 {
		return gated{free: endpoints}, err
	}
	drained, ofType, ofTask := map[string]bool{}, map[string]bool{}, map[int64]bool{}
	applies := map[string]bool{}
	for _, h := range holds {
		applies[h.Endpoint] = true
		switch {
		case h.TaskID != 0:
			ofTask[h.TaskID] = true
		case h.TaskType != "":
			ofType[h.TaskType] = true
		default:
			drained[h.Endpoint] = true
		}
	}
	types := map[int64]string{}
	if len(ofType) > 0 {
		if types, err = typesOf(tx, tasks); err != nil {
			return gated{}, err
		}
	}
	found := gated{held: map[tasker.ResultKey]bool{}}
	for _, key := range keys {
		if drained[key.Endpoint] || ofTask[key.TaskID] || ofType[types[key.TaskID]] {
			found.held[key] = true
		}
	}
	found.free = slices.DeleteFunc(endpoints, func(name string) bool { return applies[name] })
	return found, nil
}

// typesOf returns the types of tasks.
func typesOf(tx *gorm.DB, tasks []int64) (map[int64]string, error) {
	var rows []taskRow
	err := tx.Select("id", "type").Where("id IN ?", tasks).Find(&rows).Error
	types := make(map[int64]string, len(rows))
	for i := range rows {
		types[rows[i].ID] = rows[i].Type
	}
	return types, err
}

// awaitHolds waits for the holds of task types that are just being stored. Whoever
// registers an endpoint for these types does so last, and whoever stores one reads the
// registrations with locks: so either the one finds the registration, or what starts at
// the endpoint finds the hold.
func awaitHolds(tx *gorm.DB, taskTypes []string) error {
	var ids []int64
	return tx.Model(&holdRow{}).Clauses(clause.Locking{Strength: "SHARE"}).Where("task_type IN ?", taskTypes).Pluck("id", &ids).Error
}

// closeGates closes the gates of endpoints, and waits for the starts that are under way
// there: until the transaction ends, no other one gets further.
func closeGates(tx *gorm.DB, endpoints []string) error {
	for part := range slices.Chunk(endpoints, maxRows) {
		err := tx.Model(&endpointRow{}).Where("name IN ?", part).Update("gate", 1).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// openGates opens the gates of endpoints where no hold applies. An error does not
// matter: the next start tries again.
func (s *DB) openGates(ctx context.Context, endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	err := s.transact(ctx, "let attempts start without a look for holds", func(tx *gorm.DB) error {
		locked, err := lockEndpoints(tx, endpoints, "UPDATE")
		if err != nil {
			return err
		}
		names := slices.DeleteFunc(slices.Clone(endpoints), func(name string) bool { return locked[name].Gate == 0 })
		if len(names) == 0 {
			return nil
		}
		holds, err := s.holdsAt(tx, names, nil)
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(name string) bool {
			return slices.ContainsFunc(holds, func(h appliedHold) bool { return h.Endpoint == name })
		})
		if len(names) == 0 {
			return nil
		}
		return tx.Model(&endpointRow{}).Where("name IN ?", names).Update("gate", 0).Error
	})
	if err != nil {
		s.log.DebugContext(ctx, "could not open the gates of endpoints", "err", err)
	}
}

// HoldsAt returns what keeps attempts from starting at some endpoints.
func (s Endpoints) HoldsAt(ctx context.Context, endpoints []string) ([]ledger.Hold, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	found, err := s.holdsAt(s.conn(ctx), endpoints, nil)
	if err != nil {
		return nil, s.fail("read the holds at the endpoints", err)
	}
	list := make([]ledger.Hold, len(found))
	for i, h := range found {
		list[i] = ledger.Hold{Endpoint: h.Endpoint, TaskType: h.TaskType, TaskID: h.TaskID, Until: timePointer(h.HeldUntil)}
	}
	return list, nil
}
