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

// Holds pauses tasks and task types, and drains endpoints. See gate.go for how a start
// finds them.
type Holds struct{ *DB }

// holdRow is a hold. One of Endpoint, TaskType and TaskID is set.
type holdRow struct {
	ID          int64 `gorm:"primaryKey"`
	Endpoint    *string
	TaskType    *string
	TaskID      *int64
	RequestedBy string
	Reason      string
	HoldTime    dbTime
	HeldUntil   *dbTime
}

// TableName returns the table of holds.
func (holdRow) TableName() string { return "holds" }

func (r *holdRow) hold() tasker.Hold {
	return tasker.Hold{By: r.RequestedBy, At: r.HoldTime.Time, Reason: r.Reason, Until: timePointer(r.HeldUntil)}
}

// Hold pauses a task or a task type, or drains an endpoint. If that is held already,
// the new reason and time replace the old ones. The error is [tasker.NotFound] if there
// is no such task or endpoint, [tasker.Conflict] if the task has ended or is being
// canceled, and [tasker.Invalid] with the field if the time has passed.
//
// From the moment at which this returns, nothing that it is about starts: every start
// either was stored before, and is among those that run, or is refused.
func (s Holds) Hold(ctx context.Context, request tasker.HoldRequest) (outcome tasker.HoldOutcome, err error) {
	request.By = text.CutValid(request.By, maxPrincipal)
	err = s.transact(ctx, "store the hold", func(tx *gorm.DB) error {
		if err := Rollouts(s).pauseRollout(tx, request); err != nil {
			return err
		}
		outcome, err = s.store(tx, request)
		return err
	})
	if err != nil {
		return tasker.HoldOutcome{}, err
	}
	// What runs from now on did before.
	err = s.lookAt(ctx, request.HoldSubject, &outcome)
	return outcome, s.fail("read what runs in spite of the hold", err)
}

// store stores a hold and closes the gates of the endpoints that it concerns.
func (s Holds) store(tx *gorm.DB, request tasker.HoldRequest) (outcome tasker.HoldOutcome, err error) {
	now := s.Now()
	until := request.Until.Time(now)
	if until != nil && !until.After(now) {
		return outcome, tasker.FieldErrorf("/until", "invalid until: %s has passed, it is %s", until.Format(time.RFC3339Nano),
			now.UTC().Format(time.RFC3339Nano))
	}
	outcome.Hold = tasker.Hold{By: request.By, At: now.UTC().Truncate(time.Microsecond), Reason: request.Reason, Until: until}
	key, value := "task_type", any(request.TaskType)
	switch {
	case request.Endpoint != "":
		key, value = "endpoint", request.Endpoint
	case request.Identifier != "":
		row, err := s.lockTask(tx, request.TaskType, request.Identifier)
		if err != nil {
			return outcome, err
		}
		if err := pausable(row.task()); err != nil {
			return outcome, err
		}
		outcome.TaskID = row.ID
		key, value = "task_id", row.ID
		err = tx.Model(&taskRow{}).Where("id = ?", row.ID).Update("hold", document[tasker.Hold]{outcome.Hold}).Error
		if err != nil {
			return outcome, err
		}
	}
	columns := []string{"requested_by", "reason", "hold_time", "held_until"}
	var end any
	if until != nil {
		end = dbTime{*until}
	}
	err = tx.Exec("INSERT INTO holds ("+key+", requested_by, reason, hold_time, held_until) VALUES (?, ?, ?, ?, ?)"+
		s.dialect.upsert([]string{key}, columns), value, request.By, request.Reason, dbTime{now}, end).Error
	if err != nil {
		return outcome, err
	}
	locking := tx.Clauses(clause.Locking{Strength: "SHARE"}) // see awaitHolds
	if outcome.Endpoints, err = concerned(tx, locking, request.HoldSubject, outcome.TaskID); err != nil {
		return outcome, err
	}
	if request.Endpoint != "" && len(outcome.Endpoints) == 0 {
		return outcome, notRegistered(request.Endpoint)
	}
	return outcome, closeGates(tx, outcome.Endpoints)
}

func notRegistered(endpoint string) error {
	return tasker.Errorf(tasker.NotFound, "endpoint %q not found: it is not registered", endpoint)
}

// pausable returns an error if a task cannot be paused.
func pausable(task tasker.Task) error {
	const form = "task %q of type %q %s: nothing was paused"
	switch {
	case task.Status.Final():
		return tasker.Errorf(tasker.Conflict, form, task.Identifier, task.Type,
			"has ended: it is "+string(task.Status)+" since "+task.LastModifiedTime.Format(time.RFC3339))
	case task.Status == tasker.Canceling:
		return tasker.Errorf(tasker.Conflict, form, task.Identifier, task.Type, "is being canceled")
	}
	return nil
}

// concerned returns the registered endpoints, sorted, that a hold is about: the one
// that it names, those of the type, or those that the task expects or that have a result
// of it. types is what reads the registrations for a type.
func concerned(tx, types *gorm.DB, subject tasker.HoldSubject, taskID int64) (endpoints []string, err error) {
	switch {
	case subject.Endpoint != "":
		err = tx.Model(&endpointRow{}).Where("name = ?", subject.Endpoint).Pluck("name", &endpoints).Error
	case subject.Identifier != "":
		err = tx.Raw("SELECT endpoint FROM task_targets WHERE task_id = ? UNION SELECT endpoint FROM task_results WHERE task_id = ?",
			taskID, taskID).Scan(&endpoints).Error
	default:
		err = types.Model(&endpointTypeRow{}).Where("task_type = ?", subject.TaskType).Pluck("endpoint", &endpoints).Error
	}
	slices.Sort(endpoints)
	return endpoints, err
}

// lookAt completes an outcome: what runs, how much waits, and who does not know holds.
func (s Holds) lookAt(ctx context.Context, subject tasker.HoldSubject, outcome *tasker.HoldOutcome) error {
	db := s.conn(ctx)
	running := "(r.state = ? OR r.state = ? AND r.lost_from = ?)"
	args := runsArgs()
	waits := "(r.state IN ? OR r.state = ? AND r.lost_from IN ?)"
	waitArgs := []any{waiting, tasker.Lost, waiting}
	count := func(rows *gorm.DB) error {
		var n int64
		err := rows.Count(&n).Error
		outcome.Waiting += int(n)
		return err
	}
	switch {
	case subject.Endpoint != "":
		var rows []taskRow
		err := db.Table("task_results r").Joins("JOIN tasks t ON t.id = r.task_id").Select("t.type, t.identifier").
			Where("r.endpoint = ?", subject.Endpoint).Where(running, args...).Order("t.type, t.identifier").Find(&rows).Error
		if err != nil {
			return err
		}
		for i := range rows {
			outcome.Running = append(outcome.Running, rows[i].Type+"/"+rows[i].Identifier)
		}
		if err := count(db.Table("task_results r").Where("r.endpoint = ?", subject.Endpoint).Where(waits, waitArgs...)); err != nil {
			return err
		}
	case subject.Identifier != "":
		of := func() *gorm.DB { return db.Table("task_results r").Where("r.task_id = ?", outcome.TaskID) }
		if err := of().Where(running, args...).Order("r.endpoint").Pluck("r.endpoint", &outcome.Running).Error; err != nil {
			return err
		}
		if err := count(of().Where(waits, waitArgs...)); err != nil {
			return err
		}
	default:
		for part := range slices.Chunk(outcome.Endpoints, maxRows) {
			of := func() *gorm.DB {
				return db.Table("task_results r").Joins("JOIN tasks t ON t.id = r.task_id AND t.type = ?", subject.TaskType).
					Where("r.endpoint IN ?", part)
			}
			var names []string
			if err := of().Where(running, args...).Distinct("r.endpoint").Pluck("r.endpoint", &names).Error; err != nil {
				return err
			}
			outcome.Running = append(outcome.Running, names...)
			if err := count(of().Where(waits, waitArgs...)); err != nil {
				return err
			}
		}
		slices.Sort(outcome.Running)
	}
	return s.unaware(db, outcome)
}

// unaware finds the endpoints whose managers are alive and do not know holds.
func (s Holds) unaware(db *gorm.DB, outcome *tasker.HoldOutcome) error {
	for part := range slices.Chunk(outcome.Endpoints, maxRows) {
		var names []string
		err := db.Model(&endpointRow{}).Where("name IN ? AND lease_until > ?", part, s.at(s.Now())).
			Where("(gated_by IS NULL OR gated_by <> manager)").Order("name").Pluck("name", &names).Error
		if err != nil {
			return err
		}
		outcome.Unaware = append(outcome.Unaware, names...)
	}
	return nil
}

// Resume ends a hold. resumed is false if there is none. The error is [tasker.NotFound]
// if there is no such task, and neither such an endpoint nor a hold of it.
func (s Holds) Resume(ctx context.Context, subject tasker.HoldSubject) (ended tasker.EndedHold, resumed bool, err error) {
	err = s.transact(ctx, "end the hold", func(tx *gorm.DB) error {
		ended, resumed = tasker.EndedHold{HoldSubject: subject}, false
		var row holdRow
		find := tx.Clauses(clause.Locking{Strength: "UPDATE"})
		switch {
		case subject.Endpoint != "":
			find = find.Where("endpoint = ?", subject.Endpoint)
		case subject.Identifier != "":
			task, err := s.lockTask(tx, subject.TaskType, subject.Identifier)
			if err != nil {
				return err
			}
			ended.TaskID = task.ID
			find = find.Where("task_id = ?", task.ID)
		default:
			find = find.Where("task_type = ?", subject.TaskType)
		}
		var err error
		if ended.Endpoints, err = concerned(tx, tx, subject, ended.TaskID); err != nil {
			return err
		}
		err = find.Take(&row).Error
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound) && subject.Endpoint != "" && len(ended.Endpoints) == 0:
			return notRegistered(subject.Endpoint)
		case errors.Is(err, gorm.ErrRecordNotFound):
			return nil
		case err != nil:
			return err
		}
		resumed = true
		ended.Scheduled, err = s.end(tx, row)
		return err
	})
	return ended, resumed, err
}

// end deletes a hold. Of one of a task it returns the start time if that has not
// started yet.
func (s Holds) end(tx *gorm.DB, row holdRow) (scheduled *time.Time, err error) {
	if row.TaskID != nil {
		var task taskRow
		err := tx.Select("id", "status", "start_time").Where("id = ?", *row.TaskID).Limit(1).Find(&task).Error
		if err != nil {
			return nil, err
		}
		if task.Status == tasker.Scheduled {
			scheduled = &task.StartTime.Time
		}
		if err := tx.Model(&taskRow{}).Where("id = ?", *row.TaskID).Update("hold", nil).Error; err != nil {
			return nil, err
		}
	}
	return scheduled, tx.Where("id = ?", row.ID).Delete(&holdRow{}).Error
}

// EndHolds ends up to limit holds whose time has passed, or whose tasks have ended, and
// returns the former. Fewer than limit does not mean that no more are left. If another
// process ends one at the same time, one of the two returns it.
func (s Holds) EndHolds(ctx context.Context, limit int) (list []tasker.EndedHold, err error) {
	const what = "end the holds whose time has passed"
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var over, useless []int64
	err = s.conn(ctx).Table("holds h").Where("h.held_until <= ?", s.at(s.Now())).Order("h.id").Limit(limit).Pluck("h.id", &over).Error
	if err == nil {
		err = s.conn(ctx).Table("holds h").Joins("LEFT JOIN tasks t ON t.id = h.task_id").
			Where("h.task_id IS NOT NULL AND (t.id IS NULL OR t.status IN ?)", ended()).
			Order("h.id").Limit(limit).Pluck("h.id", &useless).Error
	}
	if err != nil {
		return nil, s.fail("read the holds whose time has passed", err)
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(over, useless)))) {
		var one *tasker.EndedHold
		err := s.transact(ctx, what, func(tx *gorm.DB) (err error) {
			one, err = s.endOver(tx, id)
			return err
		})
		if err != nil {
			return list, err
		}
		if one != nil {
			list = append(list, *one)
		}
	}
	return list, nil
}

// endOver ends a hold if its time has passed, and returns it, or if its task has ended.
func (s Holds) endOver(tx *gorm.DB, id int64) (one *tasker.EndedHold, err error) {
	var row holdRow
	if err := tx.Where("id = ?", id).Limit(1).Find(&row).Error; err != nil || row.ID == 0 {
		return nil, err
	}
	subject, over := tasker.EndedHold{}, false
	if row.TaskID != nil { // locked before the hold, as when somebody pauses it
		var task taskRow
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Select("id", "type", "identifier", "status").
			Where("id = ?", *row.TaskID).Limit(1).Find(&task).Error
		if err != nil {
			return nil, err
		}
		over = task.ID == 0 || task.Status.Final()
		subject.TaskID, subject.TaskType, subject.Identifier = task.ID, task.Type, task.Identifier
	}
	row = holdRow{}
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil
	}
	past := row.HeldUntil != nil && !row.HeldUntil.After(s.Now())
	if err != nil || !over && !past {
		return nil, err
	}
	if subject.Scheduled, err = s.end(tx, row); err != nil || over {
		return nil, err
	}
	if row.Endpoint != nil {
		subject.Endpoint = *row.Endpoint
	}
	if row.TaskType != nil {
		subject.TaskType = *row.TaskType
	}
	subject.Endpoints, err = concerned(tx, tx, subject.HoldSubject, subject.TaskID)
	return &subject, err
}

// HoldsOf returns the hold of a task type, nil if it is not paused, and the drains of
// those of some endpoints that are drained; nil means of all.
func (s Holds) HoldsOf(
	ctx context.Context, taskType string, endpoints []string,
) (ofType *tasker.Hold, drains map[string]tasker.Hold, err error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, nil, err
	}
	now := s.at(s.Now())
	find := "SELECT h.* FROM holds h WHERE h.task_type = ? AND " + active +
		" UNION ALL SELECT h.* FROM holds h WHERE h.endpoint IS NOT NULL AND " + active
	args := []any{taskType, now, now}
	if endpoints != nil {
		find, args = find+" AND h.endpoint IN ?", append(args, append([]string{""}, endpoints...))
	}
	var rows []holdRow
	if err := s.conn(ctx).Raw(find, args...).Scan(&rows).Error; err != nil {
		return nil, nil, s.fail("read the holds", err)
	}
	drains = map[string]tasker.Hold{}
	for i := range rows {
		hold := rows[i].hold()
		if rows[i].Endpoint == nil {
			ofType = &hold
			continue
		}
		drains[*rows[i].Endpoint] = hold
	}
	return ofType, drains, nil
}

// HeldTypes returns the holds of the task types that are paused.
func (s Holds) HeldTypes(ctx context.Context) (map[string]tasker.Hold, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var rows []holdRow
	err := s.conn(ctx).Table("holds h").Where("h.task_type IS NOT NULL AND "+active, s.at(s.Now())).Find(&rows).Error
	held := make(map[string]tasker.Hold, len(rows))
	for i := range rows {
		held[*rows[i].TaskType] = rows[i].hold()
	}
	return held, s.fail("read which task types are paused", err)
}

// PausedTypes is [Holds.HeldTypes].
func (s Inspection) PausedTypes(ctx context.Context) (map[string]tasker.Hold, error) {
	return Holds(s).HeldTypes(ctx)
}

// countHeld counts the results of a task that wait because of a hold.
func (s *DB) countHeld(ctx context.Context, task *tasker.Task, waits int) (int, error) {
	now := s.Now()
	switch {
	case waits == 0 || task.Status.Final():
		return 0, nil
	case task.Hold != nil && !task.Hold.Over(now):
		return waits, nil
	}
	var ofType, drained int64
	err := s.conn(ctx).Table("holds h").Where("h.task_type = ? AND "+active, task.Type, s.at(now)).Count(&ofType).Error
	if err != nil || ofType > 0 {
		return waits, err
	}
	err = s.conn(ctx).Table("task_results r").Joins("JOIN holds h ON h.endpoint = r.endpoint").
		Where("r.task_id = ? AND r.state IN ? AND "+active, task.ID, waiting, s.at(now)).Count(&drained).Error
	return int(drained), err
}
