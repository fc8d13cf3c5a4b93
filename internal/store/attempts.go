package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Attempts stores the attempts of results, and finds the results that wait for
// one.
type Attempts struct{ *DB }

// anyOf returns the condition that a result is one of keys. All versions of
// MySQL and MariaDB use the index for a disjunction of keys.
func anyOf(keys []tasker.ResultKey) (condition string, args []any) {
	for _, key := range keys {
		args = append(args, key.TaskID, key.Endpoint)
	}
	return disjunction("task_id = ? AND endpoint = ?", len(keys)), args
}

// anyAt returns the condition that a result is one of starts, and its attempt
// is the one given there plus further.
func anyAt(starts []ledger.Start, further int) (condition string, args []any) {
	for _, start := range starts {
		args = append(args, start.TaskID, start.Endpoint, start.Attempt+further)
	}
	return disjunction("task_id = ? AND endpoint = ? AND attempt = ?", len(starts)), args
}

func disjunction(term string, n int) string {
	return "((" + strings.Join(slices.Repeat([]string{term}, n), ") OR (") + "))"
}

// StartAttempts begins the next attempts of up to 100 waiting results: it
// counts them and moves the results to RUNNING, before their handlers start.
// started[i] is false if the result is at another attempt or has ended, or if
// its manager does not hold the endpoint. It may be called again after an
// error: attempts that the same manager has started are reported as started,
// even if their endpoint was marked lost meanwhile, unless they have asked for
// a reboot since.
func (s Attempts) StartAttempts(ctx context.Context, starts []ledger.Start) (started []bool, err error) {
	return byManager(starts, func(manager string, starts []ledger.Start) ([]bool, error) {
		return s.startAttempts(ctx, manager, starts)
	})
}

// byManager calls fn with the starts of each manager, and returns what it
// returned in the order of starts.
func byManager(starts []ledger.Start, fn func(manager string, starts []ledger.Start) ([]bool, error)) ([]bool, error) {
	indexes := map[string][]int{}
	for i, start := range starts {
		indexes[start.Manager] = append(indexes[start.Manager], i)
	}
	all := make([]bool, len(starts))
	for _, manager := range slices.Sorted(maps.Keys(indexes)) {
		part := make([]ledger.Start, len(indexes[manager]))
		for n, i := range indexes[manager] {
			part[n] = starts[i]
		}
		answers, err := fn(manager, part)
		if err != nil {
			return nil, err
		}
		for n, i := range indexes[manager] {
			all[i] = answers[n]
		}
	}
	return all, nil
}

func (s Attempts) startAttempts(ctx context.Context, manager string, starts []ledger.Start) (started []bool, err error) {
	var matched int
	err = s.withRetry(ctx, func() (err error) {
		matched, err = s.start(ctx, manager, starts)
		return err
	})
	if err != nil {
		return nil, s.fail("start the attempts", err)
	}
	if matched == len(starts) {
		return slices.Repeat([]bool{true}, matched), nil
	}
	started = make([]bool, len(starts))
	// Some were at another attempt. Those now at the next one, by this manager,
	// have been started.
	begun, err := s.begun(ctx, manager, starts)
	if err != nil {
		return nil, s.fail("read which attempts were started", err)
	}
	for i, start := range starts {
		started[i] = begun[start.ResultKey]
	}
	return started, nil
}

func (s Attempts) start(ctx context.Context, manager string, starts []ledger.Start) (matched int, err error) {
	condition, args := anyAt(starts, 0)
	now := dbTime{s.Now()}
	update := s.conn(ctx).Model(&resultRow{}).Where(condition, args...).Where("state IN ?", waiting).
		Where("EXISTS (SELECT 1 FROM endpoints e WHERE e.name = task_results.endpoint AND e.manager = ?)", manager).
		Updates(map[string]any{
			"state": tasker.Running, "attempt": gorm.Expr("attempt + 1"), "manager": manager, "errnr": 0, "errmsg": "",
			"retry_time": nil, "last_modified_time": now, "attempt_time": now, "step": 0, "awaits_reboot": nil,
		})
	return int(update.RowsAffected), update.Error
}

func (s Attempts) begun(ctx context.Context, manager string, starts []ledger.Start) (map[tasker.ResultKey]bool, error) {
	condition, args := anyAt(starts, 1)
	var rows []resultRow
	err := s.conn(ctx).Select("task_id", "endpoint").Where(condition, args...).
		Where(runs+" AND manager = ? AND step = 0", append(runsArgs(), manager)...).
		Find(&rows).Error
	begun := make(map[tasker.ResultKey]bool, len(rows))
	for _, r := range rows {
		begun[r.key()] = true
	}
	return begun, err
}

// waiting are the states from which an attempt starts.
var waiting = []tasker.ResultState{tasker.Received, tasker.Retrying}

// errSomeLost rolls back a batch if not every attempt is current.
var errSomeLost = errors.New("an attempt of the batch is not current")

// FinishAttempts stores the ends of up to 100 attempts. stored[i] is false if
// the attempt is not the current one, or the result has ended: it lost a race.
// On an error it is unknown which were stored: call it again.
//
// The end of an attempt that may be followed by another is kept in its history
// as well, since the result will show the next attempt only.
func (s Attempts) FinishAttempts(ctx context.Context, ends []ledger.End) (stored []bool, err error) {
	stored = make([]bool, len(ends))
	if len(ends) > 1 {
		err = s.transact(ctx, "store the results", func(tx *gorm.DB) error {
			for _, group := range groupAlike(ends) {
				matched, err := s.finish(tx, group)
				if err != nil {
					return err
				}
				if matched != len(group) {
					return tasker.WrapError(tasker.Conflict, errSomeLost, "store the results")
				}
			}
			return nil
		})
		if err == nil {
			return slices.Repeat([]bool{true}, len(ends)), nil
		}
		if !errors.Is(err, errSomeLost) {
			return nil, err
		}
	}
	for i := range ends {
		one := func(db *gorm.DB) error {
			matched, err := s.finish(db, ends[i:i+1])
			stored[i] = matched == 1
			return err
		}
		err := s.withRetry(ctx, func() error {
			db := s.conn(ctx)
			if ends[i].State == tasker.Retrying {
				return db.Transaction(one) // the history is a second statement
			}
			return one(db)
		})
		if err != nil {
			return nil, s.fail("store the result", err)
		}
	}
	return stored, nil
}

// groupAlike groups ends that differ in their keys only, for one statement
// each.
func groupAlike(ends []ledger.End) [][]ledger.End {
	type kind struct {
		state   tasker.ResultState
		errnr   int
		errmsg  string
		payload string
		null    bool
		delay   time.Duration
	}
	index := map[kind]int{}
	var groups [][]ledger.End
	for _, f := range ends {
		k := kind{f.State, f.Errnr, f.Errmsg, string(f.Payload), f.Payload == nil, f.RetryDelay}
		n, ok := index[k]
		if !ok {
			n = len(groups)
			index[k] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], f)
	}
	return groups
}

// finish stores a group of [groupAlike] and returns how many of it were
// current. For Retrying, db must be a transaction; the caller must roll it back
// unless all were current.
func (s Attempts) finish(db *gorm.DB, group []ledger.End) (matched int, err error) {
	current := make([]ledger.Start, len(group))
	for i, f := range group {
		current[i] = ledger.Start{ResultKey: f.ResultKey, Attempt: f.Attempt}
	}
	now := s.Now()
	first := group[0]
	set := map[string]any{
		"state": first.State, "errnr": first.Errnr, "errmsg": first.Errmsg, "payload": nil,
		"lost_from": nil, "lost_errnr": nil, "lost_errmsg": nil, "retry_time": nil, "last_modified_time": dbTime{now},
		"awaits_reboot": nil,
	}
	if first.Payload != nil {
		set["payload"] = string(first.Payload)
	}
	if first.State == tasker.Retrying {
		set["retry_time"] = s.at(now.Add(first.RetryDelay))
	}
	condition, args := anyAt(current, 0)
	// A result LOST from RETRYING has no running attempt: the end of its last
	// one is stored, or it was interrupted.
	update := db.Model(&resultRow{}).Where(condition, args...).
		Where("state IN ? AND (state <> ? OR lost_from = ?)", tasker.ResultStatesBefore(first.State), tasker.Lost,
			tasker.Running).Updates(set)
	matched = int(update.RowsAffected)
	if update.Error == nil && matched == len(group) && first.State == tasker.Retrying {
		return matched, s.keepHistory(db, current)
	}
	return matched, update.Error
}

// Attempts is [Results.Attempts].
func (s Attempts) Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error) {
	return Results(s).Attempts(ctx, taskID, endpoint)
}
