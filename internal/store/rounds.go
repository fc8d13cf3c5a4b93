package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Rounds begins further rounds of tasks.
type Rounds struct{ *DB }

// A task is retried in place, in one transaction, which locks it: two retries are two
// rounds, or the second one finds nothing to retry.
//
//   - A result that has ended becomes RECEIVED again, if it is still as it was read,
//     and its endpoint finds it there. How its last attempt ended is kept as history
//     first. Attempts are counted on, and earlier_attempts says from where the retry
//     policy counts. So what an earlier attempt still sends is never taken for the new
//     one.
//   - A result that is LOST and ran stays LOST, and becomes RECEIVED when its endpoint
//     is back. Should that run end late, its end is not stored.
//   - An endpoint without a result looks for the task like for any whose message was
//     lost: see [Inbox.UnreceivedTasks]. The unique key of results keeps a message of an earlier round,
//     which may still be in a queue, from running it twice.
//
// The marks of a cancellation and of a newer task of its topic go with the round. The task
// is SENT, and ends anew.

// roundRow is a round from the second on.
type roundRow struct {
	ID             int64 `gorm:"primaryKey"`
	TaskID         int64
	Round          int
	IdempotencyKey *string
	RequestHash    []byte
	Outcome        document[roundOutcome]
	RequestedBy    string
	Reason         string
	RoundTime      dbTime
}

// TableName returns the table of rounds.
func (roundRow) TableName() string { return "rounds" }

// roundOutcome is the part of an outcome that is stored.
type roundOutcome struct {
	Retried    []string            `json:"retried"`
	Missing    []string            `json:"missing,omitempty"`
	NotRetried []tasker.NotRetried `json:"not_retried,omitempty"`
}

// errDryRun rolls back what a dry run has done.
var errDryRun = errors.New("dry run")

// RetryTask begins a new round of a task at some of its endpoints, and returns which.
// The error is [tasker.NotFound] if the task does not exist, [tasker.Invalid] with the
// field if it is not for a named endpoint, and [tasker.Conflict] if the task cannot be
// retried, no endpoint can, or the key belongs to another request.
//
// The same key again returns the outcome of the first request, with the task as it is
// now.
func (s Rounds) RetryTask(ctx context.Context, request tasker.RetryRequest) (outcome tasker.RetryOutcome, err error) {
	request.By = text.CutValid(request.By, maxPrincipal)
	err = s.transact(ctx, "retry the task", func(tx *gorm.DB) error {
		outcome, err = s.retry(tx, request)
		if err == nil && request.DryRun {
			return errDryRun
		}
		return err
	})
	if errors.Is(err, errDryRun) {
		return outcome, nil
	}
	if err != nil {
		return tasker.RetryOutcome{}, err
	}
	return outcome, nil
}

// retry is RetryTask in a transaction.
func (s Rounds) retry(tx *gorm.DB, request tasker.RetryRequest) (tasker.RetryOutcome, error) {
	row, err := lockNamed(tx, request.Type, request.Identifier)
	if err != nil {
		return tasker.RetryOutcome{}, err
	}
	r := round{Rounds: s, tx: tx, request: request, row: row, now: dbTime{s.Now()}}
	if known, found, err := r.known(); found || err != nil {
		return known, err
	}
	task := row.task()
	if err := task.CheckRetry(request.Expires, r.now.Time); err != nil {
		return tasker.RetryOutcome{}, err
	}
	if row.Targets == nil {
		if err := s.convertLocked(tx, []int64{row.ID}); err != nil {
			return tasker.RetryOutcome{}, err
		}
	}
	if err := checkEndpoints(tx, &task, request.Endpoints); err != nil {
		return tasker.RetryOutcome{}, err
	}
	outcome, err := r.reopen()
	if err == nil && len(outcome.Retried) == 0 {
		err = r.nothing(outcome.NotRetried)
	}
	if err == nil {
		err = r.open(roundOutcome{outcome.Retried, outcome.Missing, outcome.NotRetried})
	}
	if err != nil {
		return tasker.RetryOutcome{}, err
	}
	outcome.Round = row.Round + 1
	outcome.Task, err = r.read()
	return outcome, err
}

// lockNamed locks and reads a task, without its payload.
func lockNamed(tx *gorm.DB, taskType, identifier string) (row taskRow, err error) {
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Omit("payload", "request_hash", "expected").
		Where("type = ? AND identifier = ?", taskType, identifier).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, tasker.Errorf(tasker.NotFound, "task %q of type %q not found", identifier, taskType)
	}
	return row, err
}

// round is one call of [Rounds.RetryTask].
type round struct {
	Rounds
	tx      *gorm.DB
	request tasker.RetryRequest
	row     taskRow // locked
	now     dbTime
}

// read returns the task as it is now.
func (r *round) read() (tasker.Task, error) {
	var row taskRow
	err := r.tx.Omit("payload", "request_hash", "expected").Where("id = ?", r.row.ID).Take(&row).Error
	task := row.task()
	task.Payload, task.Expected = nil, nil
	return task, err
}

// hash returns a digest of what the request asks for.
func (r *round) hash() []byte {
	q := &r.request
	canonical, err := json.Marshal([]any{q.Class, q.Endpoints, q.Expires.String(), q.Reason})
	if err != nil {
		panic(err) // strings can be encoded
	}
	sum := sha256.Sum256(canonical)
	return sum[:]
}

// known returns the outcome of an earlier request with the same key.
func (r *round) known() (outcome tasker.RetryOutcome, found bool, err error) {
	if r.request.Key == "" {
		return outcome, false, nil
	}
	var row roundRow
	err = r.tx.Where("task_id = ? AND idempotency_key = ?", r.row.ID, r.request.Key).Take(&row).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return outcome, false, nil
	case err != nil:
		return outcome, false, err
	case !bytes.Equal(row.RequestHash, r.hash()):
		return outcome, false, tasker.Errorf(tasker.Conflict,
			"idempotency key %q belongs to another retry of task %q of type %q: choose another key",
			r.request.Key, r.row.Identifier, r.row.Type)
	}
	o := row.Outcome.value
	outcome = tasker.RetryOutcome{Round: row.Round, Retried: o.Retried, Missing: o.Missing, NotRetried: o.NotRetried}
	outcome.Task, err = r.read()
	return outcome, true, err
}

// open opens the task, and stores its round.
func (r *round) open(outcome roundOutcome) error {
	next := r.row.Round + 1
	set := map[string]any{
		"status": tasker.Sent, "round": next, "round_time": r.now, "last_modified_time": r.now,
		"sent_time":  gorm.Expr("COALESCE(sent_time, ?)", r.now), // one that was canceled or expired may not have been sent
		"relay_time": nil, "sent_to": nil, "refusal": nil, "errmsg": nil,
	}
	if at := r.request.Expires.Time(r.now.Time); at != nil {
		r.row.NotAfter = &dbTime{*at}
		set["not_after"] = r.row.NotAfter
		err := r.tx.Model(&resultRow{}).Where("task_id = ? AND state IN ?", r.row.ID, tasker.UnfinishedResultStates()).
			Update("not_after", r.row.NotAfter).Error
		if err != nil {
			return err
		}
	}
	set["expire_time"] = r.row.NotAfter
	if r.row.Cancellation != nil {
		cancellation, err := r.cancellation()
		if err != nil {
			return err
		}
		set["cancellation"] = cancellation
	}
	if r.row.Superseded != nil {
		left, err := r.superseded()
		if err != nil {
			return err
		}
		if !left {
			set["superseded"] = nil
		}
	}
	move := r.tx.Model(&taskRow{}).Where("id = ? AND status IN ?", r.row.ID, tasker.RetriableTaskStatuses()).Updates(set)
	if move.Error != nil {
		return move.Error
	}
	if err := reopenTopic(r.tx, &r.row); err != nil {
		return err
	}
	if r.row.Rollout != nil {
		if err := retryRollout(r.tx, r.row.ID, outcome, r.now); err != nil {
			return err
		}
	}
	if r.row.Places != nil {
		if err := reopenPlaces(r.tx, &r.row); err != nil {
			return err
		}
	}
	row := roundRow{
		TaskID: r.row.ID, Round: next, RequestHash: r.hash(), Outcome: document[roundOutcome]{outcome},
		RequestedBy: r.request.By, Reason: r.request.Reason, RoundTime: r.now,
	}
	if r.request.Key != "" {
		row.IdempotencyKey = &r.request.Key
	}
	return r.tx.Create(&row).Error
}

// cancellation returns who canceled the task at the endpoints that are not retried:
// nil if it was canceled at none of them.
func (r *round) cancellation() (any, error) {
	var left []string
	err := r.tx.Model(&resultRow{}).Where("task_id = ? AND (state = ? OR cancel_id IS NOT NULL) AND errnr <> ?",
		r.row.ID, tasker.ResultCanceled, tasker.ErrnrRemoved).Limit(1).Pluck("endpoint", &left).Error
	if err != nil || len(left) == 0 {
		return nil, err
	}
	by := r.row.Cancellation.value
	by.All = false // or its endpoints would start nothing
	return document[tasker.Cancellation]{by}, nil
}

// superseded reports whether the task is superseded at an endpoint that is not retried.
func (r *round) superseded() (bool, error) {
	var left []string
	err := r.tx.Model(&resultRow{}).Where("task_id = ? AND superseded_by IS NOT NULL", r.row.ID).Limit(1).Pluck("endpoint", &left).Error
	return len(left) > 0, err
}

// nothing returns the error for a task with nothing to retry.
func (r *round) nothing(not []tasker.NotRetried) error {
	why := "no endpoint is " + string(r.request.Class)
	switch {
	case r.row.Errmsg != nil && r.row.Targets != nil && *r.row.Targets == 0: // it never started
		why = *r.row.Errmsg + ": post it again"
	case r.request.Class == tasker.RetryAll:
		why = "no endpoint has ended or is missing"
	}
	if not != nil {
		var sets []string
		for _, set := range not {
			sets = append(sets, fmt.Sprintf("%s: %d", set.Reason, len(set.Endpoints)))
		}
		why = "its endpoints are " + strings.Join(sets, ", ")
	}
	return tasker.Errorf(tasker.Conflict, "nothing to retry in task %q of type %q: %s", r.row.Identifier, r.row.Type, why)
}
