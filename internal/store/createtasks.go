package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// maxTasksBytes bounds the payloads of one INSERT of tasks; a larger one is in a
// statement of its own.
const maxTasksBytes = 1 << 20

// taskKey is what identifies a task to its client.
type taskKey struct{ Type, Identifier string }

// newTask is a task to be created.
type newTask struct {
	key      taskKey
	row      taskRow
	start    tasker.Start
	expiry   tasker.Expiry
	frozen   *frozenRollout   // nil if it has no rollout, or starts later
	creation *ledger.Creation // what became of it
}

// CreateTasks is [Tasks.CreateTask] for many tasks in one transaction. It returns
// what became of each, in the same order: a task that conflicts with another one,
// or that the database refuses, does not affect the others. Those with a topic have
// transactions of their own. An error means that none is known to be stored.
func (s Tasks) CreateTasks(ctx context.Context, tasks []tasker.Task) ([]ledger.Creation, error) {
	creations := make([]ledger.Creation, len(tasks))
	var fresh, ofTopics []*newTask
	first := map[taskKey]*newTask{}
	var repeated []int // indexes of tasks whose identifier an earlier one has
	for i, t := range tasks {
		n, err := prepareTask(t)
		if err == nil && t.Rollout != nil && t.Status != tasker.Scheduled {
			err = s.prepareRollout(ctx, n, &t)
		}
		if err != nil {
			creations[i].Err = err
			continue
		}
		n.creation = &creations[i]
		if first[n.key] != nil {
			repeated = append(repeated, i)
			continue
		}
		first[n.key] = n
		if n.row.Topic != nil {
			ofTopics = append(ofTopics, n)
			continue
		}
		fresh = append(fresh, n)
	}
	if err := s.create(ctx, fresh); err != nil {
		return nil, err
	}
	for i, n := range ofTopics {
		if err := s.create(ctx, ofTopics[i:i+1]); err != nil {
			n.creation.Err = err
		}
	}
	for _, i := range repeated {
		if again, err := s.CreateTasks(ctx, tasks[i:i+1]); err != nil {
			creations[i].Err = err
		} else {
			creations[i] = again[0]
		}
	}
	return creations, nil
}

func prepareTask(t tasker.Task) (*newTask, error) {
	hash, err := requestHash(t)
	if err != nil {
		return nil, err
	}
	payload := string(t.Payload)
	if t.Payload == nil {
		payload = "null"
	}
	sum := sha256.Sum256([]byte(payload))
	n := &newTask{
		key:    taskKey{t.Type, t.Identifier},
		start:  t.Start,
		expiry: t.Expiry,
		row: taskRow{
			Type: t.Type, Identifier: t.Identifier, RequestHash: hash, Status: tasker.Created,
			Payload: payload, PayloadSHA256: sum[:], Endpoints: t.Endpoints,
			Targets: new(len(t.Endpoints)), PublishAttempts: 1, Priority: t.Priority,
		},
	}
	if t.CreatedBy != "" {
		n.row.CreatedBy = &t.CreatedBy
	}
	if t.Retry != nil {
		n.row.Retry = &document[tasker.RetryPolicy]{*t.Retry}
	}
	if t.Topic != "" {
		n.row.Topic, n.row.OnConflict = &t.Topic, new(string(cmp.Or(t.OnConflict, tasker.ConflictRefuse)))
	}
	if len(t.Labels) > 0 {
		n.row.Labels = &document[map[string]string]{t.Labels}
	}
	n.row.setSignature(t.Signature)
	chosen := selection{Select: t.Select, Chosen: t.Chosen, Limit: t.Limit, Seed: t.Seed}
	n.row.setPlaces(t.Deliver)
	if t.Status == tasker.Scheduled {
		n.row.Status, n.row.Targets, n.row.PublishAttempts = tasker.Scheduled, new(0), 0
		chosen.Expect, chosen.Plan = t.Expect, t.Plan
	}
	if t.Rollout != nil {
		n.row.Rollout = &document[tasker.Rollout]{tasker.Rollout{Settings: t.Rollout.Settings}}
	}
	if t.Chosen != nil || t.Status == tasker.Scheduled && chosen.chooses() {
		n.row.Selection = &document[selection]{chosen}
	}
	return n, nil
}

// prepareRollout decides on the endpoints of a new task with a rollout that starts now.
func (s Tasks) prepareRollout(ctx context.Context, n *newTask, t *tasker.Task) error {
	if err := s.clockKnown(ctx); err != nil {
		return err
	}
	frozen, err := s.freeze(s.conn(ctx), t, t.Endpoints)
	if err != nil {
		return s.fail("prepare the rollout", err)
	}
	n.setFrozen(frozen)
	return nil
}

// setFrozen sets the endpoints of a task with a rollout.
func (n *newTask) setFrozen(f *frozenRollout) {
	n.frozen = f
	n.row.Endpoints = f.endpoints()
	n.row.Targets = new(len(n.row.Endpoints))
}

// begin sets the times of a task that is stored now.
func (n *newTask) begin(now dbTime) {
	n.row.ID, n.row.LastModifiedTime = 0, now
	if n.row.Status == tasker.Scheduled {
		start := dbTime{n.start.Time(now.Time)}
		n.row.StartTime, n.row.RelayTime, n.row.AcceptedTime = start, &start, &now
	} else {
		n.row.StartTime, n.row.RelayTime = now, &dbTime{now.Add(relayGrace)}
	}
	if n.frozen != nil {
		n.row.RelayTime = nil // its rollout has one
		n.row.Rollout = &document[tasker.Rollout]{tasker.Rollout{Settings: n.row.Rollout.value.Settings}}
	}
	if expires := n.expiry.Time(n.row.StartTime.Time); expires != nil {
		n.row.NotAfter, n.row.ExpireTime = &dbTime{*expires}, &dbTime{*expires}
	}
	if n.expiry.After > 0 {
		n.row.ExpiresIn = new(n.expiry.After.Microseconds())
	}
}

// create stores tasks with different identifiers. It assumes that all are new, and
// looks only if that was wrong.
func (s Tasks) create(ctx context.Context, tasks []*newTask) error {
	const tries = 3
	for try := 1; len(tasks) > 0; try++ {
		err := s.insertTasks(ctx, tasks)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, gorm.ErrDuplicatedKey) && try <= tries:
			if tasks, err = s.resolve(ctx, tasks); err != nil {
				return s.fail("read the tasks with those identifiers", err)
			}
		case len(tasks) == 1 && (tooLarge(err) || !passes(err)):
			tasks[0].creation.Err = s.fail("store the task", err)
			return nil
		case len(tasks) > 1 && ctx.Err() == nil && (errors.Is(err, gorm.ErrDuplicatedKey) || tooLarge(err) || !passes(err)):
			// One of them is to blame.
			for i := range tasks {
				if err := s.create(ctx, tasks[i:i+1]); err != nil {
					tasks[i].creation.Err = err
				}
			}
			return nil
		default:
			return s.fail("store the task", err)
		}
	}
	return nil
}

// insertTasks stores tasks, with the targets of those that are CREATED.
func (s Tasks) insertTasks(ctx context.Context, tasks []*newTask) error {
	ended := endedTasks{}
	err := s.withRetry(ctx, func() error {
		return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
			clear(ended)
			now := dbTime{s.Now()}
			if err := s.insertInto(tx, tasks, now); err != nil {
				return err
			}
			return s.beginTopics(tx, tasks, now, ended)
		})
	})
	if err != nil {
		return err
	}
	s.report(ended)
	for _, n := range tasks {
		*n.creation = ledger.Creation{Task: n.row.task(), Created: true}
	}
	return nil
}

// insertInto is insertTasks as a part of a transaction.
func (s *DB) insertInto(tx *gorm.DB, tasks []*newTask, now dbTime) error {
	for part := range chunksByBytes(tasks) {
		rows := make([]taskRow, len(part))
		for i, n := range part {
			n.begin(now)
			rows[i] = n.row
		}
		if err := tx.Create(&rows).Error; err != nil {
			return err
		}
		if len(part) == 1 {
			part[0].row.ID = rows[0].ID
		}
	}
	if err := readIDs(tx, tasks); err != nil {
		return err
	}
	if err := storeLabels(tx, tasks); err != nil {
		return err
	}
	if err := s.target(tx, tasks); err != nil {
		return err
	}
	if err := s.openPlaces(tx, tasks); err != nil {
		return err
	}
	return s.beginRollouts(tx, tasks)
}

// beginRollouts stores the rollouts of tasks that start now.
func (s *DB) beginRollouts(tx *gorm.DB, tasks []*newTask) error {
	for _, n := range tasks {
		if n.frozen == nil {
			continue
		}
		if err := (Rollouts{s}).beginRollout(tx, n); err != nil {
			return err
		}
	}
	return nil
}

// chunksByBytes yields the tasks in parts whose payloads fit into a statement.
func chunksByBytes(tasks []*newTask) func(yield func([]*newTask) bool) {
	return func(yield func([]*newTask) bool) {
		from, size := 0, 0
		for i, n := range tasks {
			if size += len(n.row.Payload); i > from && size > maxTasksBytes {
				if !yield(tasks[from:i]) {
					return
				}
				from, size = i, len(n.row.Payload)
			}
		}
		if from < len(tasks) {
			yield(tasks[from:])
		}
	}
}

// readIDs reads the ids of tasks that were inserted together: which ones a server
// assigns to the rows of one statement depends on its settings.
func readIDs(tx *gorm.DB, tasks []*newTask) error {
	byType := map[string][]string{}
	unknown := map[taskKey]*newTask{}
	for _, n := range tasks {
		if n.row.ID == 0 {
			byType[n.row.Type] = append(byType[n.row.Type], n.row.Identifier)
			unknown[n.key] = n
		}
	}
	for name, identifiers := range byType {
		var rows []taskRow
		err := tx.Select("id", "type", "identifier").Where("type = ? AND identifier IN ?", name, identifiers).Find(&rows).Error
		if err != nil {
			return err
		}
		for _, row := range rows {
			unknown[taskKey{row.Type, row.Identifier}].row.ID = row.ID
			delete(unknown, taskKey{row.Type, row.Identifier})
		}
	}
	if len(unknown) > 0 {
		return errors.New("tasks just inserted are not found")
	}
	return nil
}

// target stores the targets of new tasks, except those that are SCHEDULED, and those of
// rollouts and places.
func (s *DB) target(tx *gorm.DB, tasks []*newTask) error {
	var targets []targetRow
	var toAll []int64
	for _, n := range tasks {
		switch {
		case n.row.Status == tasker.Scheduled, n.frozen != nil, n.row.Places != nil:
			continue
		case n.row.Endpoints == nil:
			toAll = append(toAll, n.row.ID)
		}
		for _, name := range n.row.Endpoints {
			targets = append(targets, targetRow{TaskID: n.row.ID, Endpoint: name})
		}
	}
	for part := range slices.Chunk(targets, maxRows) {
		if err := tx.Create(&part).Error; err != nil {
			return err
		}
	}
	if len(toAll) == 0 {
		return nil
	}
	return s.targetRegistered(tx, toAll)
}

// resolve finds out which of the tasks exist, or have the signature of another one, and
// returns the others: new ones, and those that were purged meanwhile.
func (s Tasks) resolve(ctx context.Context, tasks []*newTask) (left []*newTask, err error) {
	byType := map[string][]string{}
	for _, n := range tasks {
		byType[n.row.Type] = append(byType[n.row.Type], n.row.Identifier)
	}
	existing := map[taskKey]*taskRow{}
	for name, identifiers := range byType {
		var hashes []taskRow
		err := s.conn(ctx).Select("id", "type", "identifier").Where("type = ? AND identifier IN ?", name, identifiers).
			Find(&hashes).Error
		if err != nil {
			return nil, err
		}
		for _, found := range hashes { // one by one: payloads may be large
			var row taskRow
			err := s.conn(ctx).Where("id = ?", found.ID).Take(&row).Error
			if errors.Is(err, gorm.ErrRecordNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			existing[taskKey{row.Type, row.Identifier}] = &row
		}
	}
	for _, n := range tasks {
		switch row := existing[n.key]; {
		case row == nil:
			left = append(left, n)
		case !bytes.Equal(row.RequestHash, n.row.RequestHash):
			n.creation.Err = tasker.Errorf(tasker.Conflict,
				"identifier %q of task type %q is taken by a task with another payload or other endpoints: "+
					"choose another identifier", n.key.Identifier, n.key.Type)
		default:
			n.creation.Task = row.task()
		}
	}
	return s.refuseUsed(s.conn(ctx), left)
}
