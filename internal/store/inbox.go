package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Inbox records the messages that reach endpoints, and finds tasks whose
// message did not.
type Inbox struct{ *DB }

// ReceiveResults records up to 500 messages that reached endpoints, of one
// manager or of several, each as one row per task and endpoint, and returns what
// became of each. A message whose manager does not hold its endpoint is
// [ledger.NotOwner], and the others are recorded. On an error it is unknown which
// were recorded: call it again, and those that were are Duplicate and Own.
//
// The stored task decides, not the message. A message is refused if its task is
// not stored, if type or identifier differ, or if the task does not list the
// endpoint; and if the task has ended without the endpoint. If it was canceled as
// a whole, the message is a Duplicate, whose result is CANCELED. Of a task that has
// expired an EXPIRED result is recorded, and of one that a newer task of its topic has
// superseded a SUPERSEDED one, and the message is a Duplicate; so is that of
// a task that must not start because of a hold, whose result is recorded as RECEIVED
// in place of RUNNING. The endpoints' leases are locked meanwhile, so that no other
// manager takes over in between.
// Tasks whose target the endpoint is are not locked, since they cannot end
// without its result; others are.
func (s Inbox) ReceiveResults(ctx context.Context, incoming []ledger.Incoming) ([]ledger.Recording, error) {
	if len(incoming) == 0 {
		return nil, nil
	}
	recordings, rest, err := s.receiveFast(ctx, incoming)
	if len(rest) == 0 || err != nil {
		return recordings, err
	}
	slow := make([]ledger.Incoming, len(rest))
	for n, i := range rest {
		slow[n] = incoming[i]
	}
	var free []string
	err = s.transact(ctx, "record the received tasks", func(tx *gorm.DB) error {
		var part []ledger.Recording
		var err error
		part, free, err = s.receive(tx, slow)
		for n, i := range rest {
			if err == nil {
				recordings[i] = part[n]
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.openGates(ctx, free)
	return recordings, nil
}

// receive records messages in a transaction. It also returns the endpoints whose gates
// are closed for no reason.
func (s Inbox) receive(tx *gorm.DB, incoming []ledger.Incoming) (recordings []ledger.Recording, free []string, err error) {
	holders, err := lockEndpoints(tx, endpointsOf(incoming), "SHARE")
	if err != nil {
		return nil, nil, err
	}
	tasks, err := s.readTasks(tx, incoming)
	if err != nil {
		return nil, nil, err
	}
	targets, err := targeted(tx, keysOf(incoming))
	if err != nil {
		return nil, nil, err
	}
	if err := s.lockJoined(tx, incoming, tasks, targets); err != nil {
		return nil, nil, err
	}
	holds, err := s.holdsOfArrivals(tx, incoming, holders, targets)
	if err != nil {
		return nil, nil, err
	}
	superseded, err := supersededAt(tx, incoming, tasks, targets)
	if err != nil {
		return nil, nil, err
	}
	recordings, err = s.recordLocked(tx, incoming, received{holders, tasks, targets, holds.held, superseded})
	return recordings, holds.free, err
}

// received is what was read for messages, at endpoints that are locked.
type received struct {
	holders map[string]endpointRow
	tasks   map[int64]storedTask
	targets map[tasker.ResultKey]bool
	held    map[tasker.ResultKey]bool // must not start
	// superseded has the newer tasks that replace those which endpoints would join.
	superseded map[tasker.ResultKey]string
}

// holdsOfArrivals finds which messages must not be recorded as RUNNING. At open gates
// none applies to the tasks that the endpoints expect; one that joins a task closes
// its gate, since that may be held.
func (s Inbox) holdsOfArrivals(
	tx *gorm.DB, incoming []ledger.Incoming, holders map[string]endpointRow, targets map[tasker.ResultKey]bool,
) (gated, error) {
	var keys []tasker.ResultKey
	var joining []string
	for _, a := range incoming {
		closed := holders[a.Endpoint].Gate != 0
		if a.State == tasker.Running && closed || !targets[a.ResultKey] {
			keys = append(keys, a.ResultKey)
		}
		if !closed && !targets[a.ResultKey] {
			joining = append(joining, a.Endpoint)
		}
	}
	if len(keys) == 0 {
		return gated{}, nil
	}
	found, err := s.look(tx, keys)
	if err != nil || len(found.held) == 0 {
		found.free = slices.DeleteFunc(found.free, func(name string) bool { return holders[name].Gate == 0 })
		return found, err
	}
	slices.Sort(joining)
	return found, closeGates(tx, slices.Compact(joining))
}

// recordLocked records messages whose endpoints are locked, and the tasks that these
// join.
func (s Inbox) recordLocked(tx *gorm.DB, incoming []ledger.Incoming, r received) ([]ledger.Recording, error) {
	tasks, targets := r.tasks, r.targets
	recordings := make([]ledger.Recording, len(incoming))
	asked := incoming
	incoming = slices.Clone(incoming)
	var open, ended []int // indexes of those to record, and of those whose task has ended
	for i, a := range incoming {
		task := tasks[a.TaskID]
		reason := task.refusal(a)
		if reason == "" && !targets[a.ResultKey] {
			reason = task.notFor(a)
		}
		switch {
		case a.Manager == "" || r.holders[a.Endpoint].Manager != a.Manager:
			recordings[i].Outcome = ledger.NotOwner
		case reason != "":
			recordings[i] = ledger.Recording{Outcome: ledger.Refused, Reason: reason}
		case !slices.Contains(receivable(), task.Status), task.Removed(a.Endpoint):
			ended = append(ended, i)
		default:
			recordings[i].Task, recordings[i].StartOrder = task.Task, task.startOrder()
			open = append(open, i)
			switch a := &incoming[i]; {
			case task.expired:
				a.State, a.Errnr, a.Errmsg = tasker.Expired, tasker.ErrnrExpired, expiredMessage(task.Expires)
			case r.superseded[a.ResultKey] != "":
				a.State, a.Errnr = tasker.Superseded, tasker.ErrnrSuperseded
				a.Errmsg = tasker.SupersededErrmsg(r.superseded[a.ResultKey])
			case r.held[a.ResultKey] && a.State == tasker.Running:
				a.State = tasker.Received
			}
		}
	}
	if err := s.insertResults(tx, incoming, tasks, open, recordings); err != nil {
		return nil, err
	}
	for _, i := range open {
		if state := incoming[i].State; state != asked[i].State && recordings[i].Outcome == ledger.Recorded {
			recordings[i].Outcome, recordings[i].State = ledger.Duplicate, state
		}
	}
	if err := s.join(tx, incoming, open, tasks, targets); err != nil || len(ended) == 0 {
		return recordings, err
	}
	return recordings, receiveEnded(tx, incoming, ended, tasks, recordings)
}

// receiveEnded says what becomes of the messages of tasks that have ended, whose
// indexes are given.
func receiveEnded(
	tx *gorm.DB, incoming []ledger.Incoming, ended []int, tasks map[int64]storedTask, recordings []ledger.Recording,
) error {
	known, err := knownResults(tx, incoming, ended)
	if err != nil {
		return err
	}
	for _, i := range ended {
		task := tasks[incoming[i].TaskID].Task
		if row, ok := known[incoming[i].ResultKey]; ok {
			recordings[i] = row.recording(incoming[i].Manager, task)
			continue
		}
		recordings[i] = withoutResultOf(tasks[task.ID], incoming[i].Endpoint)
	}
	return nil
}

// withoutResultOf returns what becomes of the message of a task that an endpoint can
// no longer record.
func withoutResultOf(task storedTask, endpoint string) ledger.Recording {
	// If the endpoint would have joined, its message is no mistake.
	switch {
	case task.Removed(endpoint):
	case task.Cancel != nil && task.Cancel.All:
		return ledger.Recording{Outcome: ledger.Duplicate, Task: task.Task, State: tasker.ResultCanceled}
	case task.expired:
		return ledger.Recording{Outcome: ledger.Duplicate, Task: task.Task, State: tasker.Expired}
	case task.Superseded != nil:
		return ledger.Recording{Outcome: ledger.Duplicate, Task: task.Task, State: tasker.Superseded}
	}
	return ledger.Recording{Outcome: ledger.Refused, Reason: tooLate(task.Task, endpoint)}
}

// join makes the endpoints of recorded messages targets of their tasks, unless
// they are. A task that an older program accepted has no targets yet.
func (s Inbox) join(
	tx *gorm.DB, incoming []ledger.Incoming, recorded []int, tasks map[int64]storedTask, targets map[tasker.ResultKey]bool,
) error {
	var joining []tasker.ResultKey
	for _, i := range recorded {
		if key := incoming[i].ResultKey; !targets[key] && tasks[key.TaskID].converted {
			joining = append(joining, key)
		}
	}
	if len(joining) == 0 {
		return nil
	}
	return s.addTargets(tx, joining)
}

// insertResults records those at the given indexes. It assumes that none is a
// duplicate, and looks only if that was wrong.
func (s Inbox) insertResults(
	tx *gorm.DB, incoming []ledger.Incoming, tasks map[int64]storedTask, indexes []int, recordings []ledger.Recording,
) error {
	if len(indexes) == 0 {
		return nil
	}
	insert := func(indexes []int) error {
		chosen := make([]ledger.Incoming, len(indexes))
		for n, i := range indexes {
			chosen[n] = incoming[i]
		}
		statement, args := s.insertHeld(chosen, tasks, dbTime{s.Now()}, false)
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
		known[key] = resultRow{State: incoming[i].State, Manager: incoming[i].Manager, StartOrder: recordings[i].StartOrder}
		fresh = append(fresh, i)
	}
	if len(fresh) == 0 {
		return nil
	}
	return insert(fresh)
}

// lockEndpoints locks endpoints, which are sorted, in the order of their names, and
// returns those that are registered: who holds each, and whether its gate is closed.
func lockEndpoints(tx *gorm.DB, names []string, strength string) (map[string]endpointRow, error) {
	var found []endpointRow
	err := tx.Clauses(clause.Locking{Strength: strength}).Select("name", "manager", "gate").
		Where("name IN ?", names).Order("name").Find(&found).Error
	rows := make(map[string]endpointRow, len(found))
	for _, row := range found {
		rows[row.Name] = row
	}
	return rows, err
}

// endpointsOf returns the endpoints of the messages, sorted.
func endpointsOf(incoming []ledger.Incoming) []string {
	list := make([]string, len(incoming))
	for i, a := range incoming {
		list[i] = a.Endpoint
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func keysOf(incoming []ledger.Incoming) []tasker.ResultKey {
	list := make([]tasker.ResultKey, len(incoming))
	for i, a := range incoming {
		list[i] = a.ResultKey
	}
	return list
}

// storedTask is a task as far as it decides who may record it. The task has no
// lists of endpoints, except RemovedEndpoints.
type storedTask struct {
	tasker.Task
	expired   bool
	stored    bool
	listed    bool // it lists endpoints
	converted bool // it has targets
}

// refusal returns why a message does not belong to the task, or "".
func (t *storedTask) refusal(a ledger.Incoming) string {
	switch {
	case !t.stored:
		return fmt.Sprintf("task %d not found", a.TaskID)
	case t.Type != a.Type || t.Identifier != a.Identifier:
		return fmt.Sprintf("task %d is %s/%s, but the message says %s/%s", a.TaskID, t.Type, t.Identifier, a.Type, a.Identifier)
	case t.Status == tasker.Scheduled:
		return fmt.Sprintf("task %d starts at %s: no endpoint has it before", a.TaskID, t.StartTime.Format(time.RFC3339Nano))
	case a.PayloadSHA256 != "" && t.PayloadSHA256 != "" && a.PayloadSHA256 != t.PayloadSHA256:
		return fmt.Sprintf("the payload of task %d has SHA-256 %s, but the message says %s", a.TaskID, t.PayloadSHA256, a.PayloadSHA256)
	}
	return ""
}

// notFor returns why the task is not for an endpoint that is no target of it, or
// "" if the endpoint may join, or was removed.
func (t *storedTask) notFor(a ledger.Incoming) string {
	if !t.listed || t.Removed(a.Endpoint) {
		return ""
	}
	return fmt.Sprintf("task %d is not for endpoint %s", a.TaskID, a.Endpoint)
}

// tooLate returns why an endpoint can no longer record a result.
func tooLate(task tasker.Task, endpoint string) string {
	if task.Removed(endpoint) {
		return fmt.Sprintf("endpoint %s was removed after task %d was created: the task no longer expects it", endpoint, task.ID)
	}
	return fmt.Sprintf("task %d has ended without endpoint %s", task.ID, endpoint)
}

// readTasks reads the tasks of the messages.
func (s Inbox) readTasks(db *gorm.DB, incoming []ledger.Incoming) (map[int64]storedTask, error) {
	ids := make([]int64, len(incoming))
	for i, a := range incoming {
		ids[i] = a.TaskID
	}
	slices.Sort(ids)
	tasks := make(map[int64]storedTask, len(ids))
	return tasks, s.readWork(db, slices.Compact(ids), tasks)
}

func (s Inbox) readWork(db *gorm.DB, ids []int64, tasks map[int64]storedTask) error {
	var rows []struct {
		Row     taskRow `gorm:"embedded"`
		Listed  bool
		Expired bool
	}
	columns := strings.Join(workColumns, ", ") + ", (not_after IS NOT NULL AND not_after <= ?) AS expired"
	err := db.Table("tasks").Select(columns, s.at(s.Now())).
		Where("id IN ?", ids).Order("id").Find(&rows).Error
	for i := range rows {
		row := &rows[i]
		tasks[row.Row.ID] = storedTask{row.Row.work(), row.Expired, true, row.Listed, row.Row.Targets != nil}
	}
	return err
}

// lockJoined locks the tasks that an endpoint would join, and reads them again.
func (s Inbox) lockJoined(tx *gorm.DB, incoming []ledger.Incoming, tasks map[int64]storedTask, targets map[tasker.ResultKey]bool) error {
	var joined []int64
	for _, a := range incoming {
		if task := tasks[a.TaskID]; task.stored && !task.Status.Final() && !targets[a.ResultKey] {
			joined = append(joined, a.TaskID)
		}
	}
	if len(joined) == 0 {
		return nil
	}
	slices.Sort(joined)
	return s.readWork(tx.Clauses(clause.Locking{Strength: "UPDATE"}), slices.Compact(joined), tasks)
}

// smallPayload selects a task's payload, or "" if it is large: what is read for
// many tasks at once must be limited in bytes. See [Inbox.TaskPayload]. The
// limit is in bytes on MySQL and in characters on SQLite.
func smallPayload(column string) string {
	return "CASE WHEN LENGTH(" + column + ") <= 16384 THEN " + column + " ELSE '' END AS payload"
}

// workColumns are the columns of a task that a manager needs, and those that
// decide who may record it. None grows with the number of endpoints, except the
// list of those that were removed.
var workColumns = []string{
	"id", "type", "identifier", "status", smallPayload("payload"), "payload_sha256", "targets",
	"endpoints IS NOT NULL AS listed", "removed_endpoints", "cancellation", "retry", "priority",
	"topic", "on_conflict", "superseded", "signature", "signature_proof",
	"round", "round_time", "start_time", "not_after", "last_modified_time",
}

func knownResults(tx *gorm.DB, incoming []ledger.Incoming, indexes []int) (map[tasker.ResultKey]resultRow, error) {
	keys := make([]tasker.ResultKey, len(indexes))
	for n, i := range indexes {
		keys[n] = incoming[i].ResultKey
	}
	condition, args := anyOf(keys)
	var rows []resultRow
	err := tx.Select("task_id", "endpoint", "state", "lost_from", "attempt", "earlier_attempts", "start_order", "manager").
		Where(condition, args...).Find(&rows).Error
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
		Outcome: ledger.Duplicate, Task: task, State: state, Attempt: r.Attempt, Earlier: r.EarlierAttempts, StartOrder: r.StartOrder,
		Own: r.Manager == manager,
	}
}
