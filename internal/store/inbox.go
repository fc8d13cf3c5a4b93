package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Inbox records the messages that reach endpoints, and finds tasks whose
// message did not.
type Inbox struct{ *DB }

// ReceiveResults records up to 100 messages that reached endpoints, of one
// manager or of several, each as one row per task and endpoint, and returns what
// became of each. A message whose manager does not hold its endpoint is
// [ledger.NotOwner], and the others are recorded. On an error it is unknown which were recorded: call it again, and those
// that were are Duplicate and Own.
//
// The stored task decides, not the message. A message is refused if its task is
// not stored, if type or identifier differ, or if the task does not list the
// endpoint; and if the task has ended without the endpoint. The endpoints'
// leases are locked meanwhile, so that no other manager takes over in between.
// Tasks that expect the endpoint are not locked, since they cannot end without
// its result; others are.
func (s Inbox) ReceiveResults(ctx context.Context, incoming []ledger.Incoming) ([]ledger.Recording, error) {
	if len(incoming) == 0 {
		return nil, nil
	}
	recordings, done, err := s.receiveFast(ctx, incoming)
	if done || err != nil {
		return recordings, err
	}
	err = s.transact(ctx, "record the received tasks", func(tx *gorm.DB) error {
		var err error
		recordings, err = s.receive(tx, incoming)
		return err
	})
	return recordings, err
}

func (s Inbox) receive(tx *gorm.DB, incoming []ledger.Incoming) ([]ledger.Recording, error) {
	holders, err := lockHolders(tx, incoming)
	if err != nil {
		return nil, err
	}
	tasks, err := readTasks(tx, incoming)
	if err == nil {
		err = lockJoined(tx, incoming, tasks)
	}
	if err != nil {
		return nil, err
	}
	recordings := make([]ledger.Recording, len(incoming))
	var open, ended []int // indexes of those to record, and of those whose task has ended
	for i, a := range incoming {
		task, ok := tasks[a.TaskID]
		reason := refusal(a, task, ok)
		holder, held := holders[a.Endpoint]
		switch {
		case !held || holder != a.Manager:
			recordings[i].Outcome = ledger.NotOwner
		case reason != "":
			recordings[i] = ledger.Recording{Outcome: ledger.Refused, Reason: reason}
		case task.Status.Final(), task.Removed(a.Endpoint):
			ended = append(ended, i)
		default:
			recordings[i].Task = task
			open = append(open, i)
		}
	}
	if err := s.insertResults(tx, incoming, open, recordings); err != nil {
		return nil, err
	}
	if len(ended) == 0 {
		return recordings, nil
	}
	known, err := knownResults(tx, incoming, ended)
	if err != nil {
		return nil, err
	}
	for _, i := range ended {
		row, ok := known[incoming[i].ResultKey]
		if ok {
			recordings[i] = row.recording(incoming[i].Manager, tasks[incoming[i].TaskID])
			continue
		}
		recordings[i] = ledger.Recording{Outcome: ledger.Refused, Reason: tooLate(tasks[incoming[i].TaskID], incoming[i].Endpoint)}
	}
	return recordings, nil
}

// insertResults records those at the given indexes. It assumes that none is a
// duplicate, and looks only if that was wrong.
func (s Inbox) insertResults(
	tx *gorm.DB, incoming []ledger.Incoming, indexes []int, recordings []ledger.Recording,
) error {
	if len(indexes) == 0 {
		return nil
	}
	insert := func(indexes []int) error {
		chosen := make([]ledger.Incoming, len(indexes))
		for n, i := range indexes {
			chosen[n] = incoming[i]
		}
		statement, args := s.insertHeld(chosen)
		return tx.Exec(statement, args...).Error
	}
	err := insert(indexes)
	if !errors.Is(err, gorm.ErrDuplicatedKey) {
		return err
	}
	known, err := knownResults(tx, incoming, indexes)
	if err != nil {
		return err
	}
	var fresh []int
	for _, i := range indexes {
		key := incoming[i].ResultKey
		if row, ok := known[key]; ok {
			recordings[i] = row.recording(incoming[i].Manager, recordings[i].Task)
			continue
		}
		// One batch may have the same message twice.
		known[key] = resultRow{State: incoming[i].State, Manager: incoming[i].Manager}
		fresh = append(fresh, i)
	}
	if len(fresh) == 0 {
		return nil
	}
	return insert(fresh)
}

// lockHolders locks the endpoints of the messages, and returns who holds each.
func lockHolders(tx *gorm.DB, incoming []ledger.Incoming) (holders map[string]string, err error) {
	wanted := make([]string, 0, len(incoming))
	for _, a := range incoming {
		wanted = append(wanted, a.Endpoint)
	}
	slices.Sort(wanted)
	var found []endpointRow
	err = tx.Clauses(clause.Locking{Strength: "SHARE"}).Select("name", "manager").
		Where("name IN ?", slices.Compact(wanted)).Order("name").Find(&found).Error
	holders = make(map[string]string, len(found))
	for _, row := range found {
		holders[row.Name] = row.Manager
	}
	return holders, err
}

// refusal returns why a message does not belong to its task, or "". ok is false
// if there is no such task.
func refusal(a ledger.Incoming, task tasker.Task, ok bool) string {
	switch {
	case !ok:
		return fmt.Sprintf("task %d not found", a.TaskID)
	case task.Type != a.Type || task.Identifier != a.Identifier:
		return fmt.Sprintf("task %d is %s/%s, but the message says %s/%s", a.TaskID, task.Type, task.Identifier, a.Type, a.Identifier)
	case a.PayloadSHA256 != "" && task.PayloadSHA256 != "" && a.PayloadSHA256 != task.PayloadSHA256:
		return fmt.Sprintf("the payload of task %d has SHA-256 %s, but the message says %s", a.TaskID, task.PayloadSHA256, a.PayloadSHA256)
	case !task.Addressed(a.Endpoint) && !task.Removed(a.Endpoint):
		return fmt.Sprintf("task %d is not for endpoint %s", a.TaskID, a.Endpoint)
	}
	return ""
}

// tooLate returns why an endpoint can no longer record a result.
func tooLate(task tasker.Task, endpoint string) string {
	if task.Removed(endpoint) {
		return fmt.Sprintf("endpoint %s was removed after task %d was created: the task no longer expects it", endpoint, task.ID)
	}
	return fmt.Sprintf("task %d has ended without endpoint %s", task.ID, endpoint)
}

// readTasks reads the tasks of the messages.
func readTasks(db *gorm.DB, incoming []ledger.Incoming) (map[int64]tasker.Task, error) {
	ids := make([]int64, 0, len(incoming))
	for _, a := range incoming {
		ids = append(ids, a.TaskID)
	}
	slices.Sort(ids)
	var rows []taskRow
	err := db.Select(workColumns).Where("id IN ?", slices.Compact(ids)).Find(&rows).Error
	tasks := make(map[int64]tasker.Task, len(rows))
	for i := range rows {
		tasks[rows[i].ID] = rows[i].work()
	}
	return tasks, err
}

// joins reports whether an endpoint would join a task that does not expect it.
// A task that is still CREATED will expect all registered endpoints.
func joins(task tasker.Task, endpoint string) bool {
	return slices.Contains(open, task.Status) && !slices.Contains(task.Expected, endpoint)
}

// lockJoined locks the tasks that an endpoint would join, and reads them again.
func lockJoined(tx *gorm.DB, incoming []ledger.Incoming, tasks map[int64]tasker.Task) error {
	var joined []int64
	for _, a := range incoming {
		if joins(tasks[a.TaskID], a.Endpoint) {
			joined = append(joined, a.TaskID)
		}
	}
	if len(joined) == 0 {
		return nil
	}
	slices.Sort(joined)
	var rows []taskRow
	err := tx.Clauses(clause.Locking{Strength: "SHARE"}).Select(workColumns).
		Where("id IN ?", slices.Compact(joined)).Order("id").Find(&rows).Error
	for i := range rows {
		tasks[rows[i].ID] = rows[i].work()
	}
	return err
}

// smallPayload selects a task's payload, or "" if it is large: what is read for
// many tasks at once must be limited in bytes. See [Inbox.TaskPayload]. The
// limit is in bytes on MySQL and in characters on SQLite.
func smallPayload(column string) string {
	return "CASE WHEN LENGTH(" + column + ") <= 16384 THEN " + column + " ELSE '' END AS payload"
}

// workColumns are the columns of a task that a manager needs.
var workColumns = []string{
	"id", "type", "identifier", "status", smallPayload("payload"), "payload_sha256",
	"endpoints", "expected", "removed_endpoints", "start_time", "last_modified_time",
}

func knownResults(tx *gorm.DB, incoming []ledger.Incoming, indexes []int) (map[tasker.ResultKey]resultRow, error) {
	keys := make([]tasker.ResultKey, len(indexes))
	for n, i := range indexes {
		keys[n] = incoming[i].ResultKey
	}
	condition, args := anyOf(keys)
	var rows []resultRow
	err := tx.Select("task_id", "endpoint", "state", "lost_from", "attempt", "manager").Where(condition, args...).Find(&rows).Error
	known := make(map[tasker.ResultKey]resultRow, len(rows))
	for _, r := range rows {
		known[r.key()] = r
	}
	return known, err
}

func (r *resultRow) recording(manager string, task tasker.Task) ledger.Recording {
	state := r.State
	if state == tasker.Lost && r.LostFrom != nil {
		state = *r.LostFrom
	}
	return ledger.Recording{
		Outcome: ledger.Duplicate, Task: task, State: state, Attempt: r.Attempt, Own: r.Manager == manager,
	}
}
