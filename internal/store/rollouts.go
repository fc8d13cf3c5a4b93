package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// Rollouts takes tasks through their endpoints in waves. What to do next is decided by
// [rollout.Decide], from rows; each decision is one transaction, which locks the task.
//
// The endpoints of a rollout are rows of rollout_targets. They become targets of the task
// when their wave opens, and not before: so nothing else in this package needs to know of
// waves. An endpoint that is not a target cannot record the task, does not find it when it
// catches up, and is not missing. tasks.targets counts all of them, so that a task with
// waves to come does not end.
//
// A rollout that is HALTED or PAUSED has a hold of its task, which keeps attempts from
// starting. The hold decides: if it ends by itself, the rollout goes on, and if there is
// one the rollout is PAUSED. Only a halted one does not depend on it.
//
// What endpoints are told follows after the transaction. relay_time says until when
// somebody is doing so, or since when somebody has to: see rolloutsend.go.
type Rollouts struct{ *DB }

// rolloutRow is the rollout of a task that has started.
type rolloutRow struct {
	TaskID          int64 `gorm:"primaryKey;autoIncrement:false"`
	Version         int64 // that of the record
	State           rollout.State
	Record          document[rollout.Record]
	Plan            document[rollout.Plan]
	Settings        document[rollout.Settings]
	Skipped         names
	NextLook        *dbTime
	RelayTime       *dbTime
	PublishAttempts int
}

// TableName returns the table of rollouts.
func (rolloutRow) TableName() string { return "rollouts" }

// rolloutTargetRow is an endpoint of a rollout.
type rolloutTargetRow struct {
	TaskID   int64  `gorm:"primaryKey;autoIncrement:false"`
	Endpoint string `gorm:"primaryKey"`
	Wave     int    // with a window, the position in the order, from 1
	Stage    int
	OpenTime *dbTime // when it may begin; NULL until its wave opens
	Late     bool
	Forgiven bool
}

// TableName returns the table of the endpoints of rollouts.
func (rolloutTargetRow) TableName() string { return "rollout_targets" }

// The stages of an endpoint of a rollout. From stageTarget on it is a target.
const (
	stageWaits  = 0 // its wave is not open
	stageOpened = 1 // it is, and OpenTime is still to come
	stageTarget = 2 // the task is to be sent to it
	stageSent   = 3
)

// frozenRollout is the rollout of a task whose endpoints are decided.
type frozenRollout struct {
	settings rollout.Settings
	plan     rollout.Plan
	order    []string // the endpoints, in the order in which they are tried
	skipped  []string // sorted
}

// freeze decides on the endpoints of a task with a rollout: those given, except the
// silent ones if they are to be skipped. The error is [tasker.Invalid] if there is none,
// or if the waves do not reach all of them.
func (s *DB) freeze(db *gorm.DB, task *tasker.Task, endpoints []string) (*frozenRollout, error) {
	var f frozenRollout
	if err := json.Unmarshal(task.Rollout.Settings, &f.settings); err != nil {
		return nil, err
	}
	if f.settings.Seed == "" && f.settings.UsesSeed() {
		f.settings.Seed = task.Identifier
	}
	known, err := s.endpointsOfRollout(db, &f.settings, endpoints)
	if err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(endpoints), func(name string) bool {
		e, found := known[name]
		return f.settings.SkipSilent > 0 && (!found || e.LastSeen.Before(s.Now().Add(-f.settings.SkipSilent)))
	})
	f.skipped = slices.DeleteFunc(slices.Clone(endpoints), func(name string) bool { return slices.Contains(left, name) })
	if len(left) == 0 {
		return nil, tasker.FieldErrorf("/rollout", "no endpoint to roll out to: %d were not seen for %s and are skipped", len(f.skipped),
			f.settings.SkipSilent)
	}
	key, _ := f.settings.LabelKey()
	f.order = f.settings.Order(left, func(name string) string {
		if e := known[name]; e.Labels != nil {
			return e.Labels.value[key]
		}
		return ""
	})
	f.plan, err = f.settings.Plan(len(f.order))
	return &f, err
}

// endpointsOfRollout reads what decides about the endpoints of a rollout.
func (s *DB) endpointsOfRollout(db *gorm.DB, settings *rollout.Settings, endpoints []string) (map[string]endpointRow, error) {
	known := map[string]endpointRow{}
	if _, byLabel := settings.LabelKey(); !byLabel && settings.SkipSilent == 0 {
		return known, nil
	}
	for part := range slices.Chunk(endpoints, maxRows) {
		var rows []endpointRow
		if err := db.Select("name", "last_seen", "labels").Where("name IN ?", part).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, row := range rows {
			known[row.Name] = row
		}
	}
	return known, nil
}

// endpoints returns the endpoints, sorted.
func (f *frozenRollout) endpoints() []string { return slices.Sorted(slices.Values(f.order)) }

// beginRollout stores the rollout of a locked task that starts now, and makes its first
// steps.
func (s Rollouts) beginRollout(tx *gorm.DB, n *newTask) error {
	now := s.Now()
	f := n.frozen
	rows := make([]rolloutTargetRow, len(f.order))
	for i, name := range f.order {
		rows[i] = rolloutTargetRow{TaskID: n.row.ID, Endpoint: name, Wave: f.plan.WaveAt(i)}
	}
	for part := range slices.Chunk(rows, maxRows/2) {
		if err := tx.Create(&part).Error; err != nil {
			return err
		}
	}
	record := rollout.New(now)
	row := rolloutRow{
		TaskID: n.row.ID, Version: record.Version, State: record.State, Record: document[rollout.Record]{record},
		Plan: document[rollout.Plan]{f.plan}, Settings: document[rollout.Settings]{f.settings}, Skipped: f.skipped,
		NextLook: &dbTime{now},
	}
	if err := tx.Create(&row).Error; err != nil {
		return err
	}
	r := rolloutTx{DB: s.DB, tx: tx, task: n.row, row: row, wait: never}
	if err := r.steps(); err != nil {
		return err
	}
	n.row.Rollout = r.task.Rollout
	setPlan(&n.row.Rollout.value, f.plan)
	n.row.Rollout.value.Skipped = f.skipped
	return nil
}

// never is a time within which an endpoint should receive a task that does not pass.
const never = 100 * 365 * 24 * time.Hour

// setPlan sets the plan of a rollout in its form for people.
func setPlan(public *tasker.Rollout, p rollout.Plan) {
	public.Endpoints, public.HaltsAt, public.MaxConcurrency, public.Ramp, public.BadAtMost = p.N, p.HaltsAt, p.Window, p.Ramp, p.BadAtMost
	public.Waves = make([]tasker.RolloutWave, len(p.Waves))
	for i, w := range p.Waves {
		public.Waves[i] = tasker.RolloutWave(w)
	}
}

// publicRollout returns a rollout in its form for people, without its plan.
func publicRollout(r rollout.Record, s rollout.Settings) (tasker.Rollout, error) {
	settings, err := json.Marshal(s)
	if err != nil {
		return tasker.Rollout{}, err
	}
	public := tasker.Rollout{State: string(r.State), Reason: r.Reason, Wave: r.Opened, Since: &r.Since, By: r.By, Settings: settings}
	if !r.Until.IsZero() {
		public.Until = &r.Until
	}
	return public, nil
}

// lockRollout locks the rollout of a locked task. found is false if it has none, or has
// not started.
func (s Rollouts) lockRollout(tx *gorm.DB, task *taskRow, wait time.Duration) (r *rolloutTx, found bool, err error) {
	if task.Rollout == nil {
		return nil, false, nil
	}
	var rows []rolloutRow
	err = forUpdate(tx).Where("task_id = ?", task.ID).Limit(1).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, false, err
	}
	return &rolloutTx{DB: s.DB, tx: tx, task: *task, row: rows[0], wait: wait}, true, nil
}

// advance returns what the transaction did, for its caller.
func (r *rolloutTx) advance() ledger.Advance {
	record := &r.row.Record.value
	a := r.out
	a.TaskID, a.Type, a.Identifier = r.task.ID, r.task.Type, r.task.Identifier
	a.State, a.Reason, a.Wave = string(record.State), record.Reason, record.Opened
	return a
}

// describe says where a rollout is, for an error.
func (r *rolloutTx) describe() string {
	record, plan := &r.row.Record.value, &r.row.Plan.value
	if plan.Window > 0 {
		return fmt.Sprintf("it is %s, %d of %d endpoints are open", record.State, record.Opened, plan.N)
	}
	return fmt.Sprintf("it is %s, wave %d of %d is open", record.State, record.Opened, len(plan.Waves))
}

// PlanRollout returns the rollout that a new task with these endpoints would have, as
// [Tasks.CreateTask] would decide, and its error.
func (s Rollouts) PlanRollout(ctx context.Context, task *tasker.Task, endpoints []string) (*tasker.Rollout, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	f, err := s.freeze(s.conn(ctx), task, endpoints)
	if err != nil {
		return nil, s.fail("plan the rollout", err)
	}
	public := tasker.Rollout{Settings: task.Rollout.Settings, Skipped: f.skipped}
	setPlan(&public, f.plan)
	return &public, nil
}
