package store

import (
	"context"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// runs is the condition that an attempt runs, as far as is known: a result LOST
// from RUNNING may return.
const runs = "(state = ? OR (state = ? AND lost_from = ?))"

func runsArgs() []any { return []any{tasker.Running, tasker.Lost, tasker.Running} }

// AwaitReboot stores that a running attempt asked for a reboot, in the given
// boot of its machine, and continues after it with a later step. stored is
// false if the attempt no longer runs, was canceled, or has continued with that step already.
// It may be called again after an error.
func (s Attempts) AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (stored bool, err error) {
	err = s.withRetry(ctx, func() error {
		update := s.conn(ctx).Model(&resultRow{}).
			Where("task_id = ? AND endpoint = ? AND attempt = ?", key.TaskID, key.Endpoint, attempt).
			Where(runs, runsArgs()...).
			Where("(step < ? OR (step = ? AND awaits_reboot = ?)) AND cancel_id IS NULL", step, step, boot).
			Updates(map[string]any{"step": step, "awaits_reboot": boot})
		stored = update.RowsAffected == 1
		return update.Error
	})
	return stored, s.fail("store that an attempt awaits a reboot", err)
}

// ResumeAttempts takes over up to 100 attempts that awaited a reboot, for their
// managers to run their next steps. The Attempt of a start is the number of the
// attempt that continues. resumed[i] is false if the attempt does not await a
// reboot, is not current, was canceled or has ended, if a hold applies to it, or if its
// manager does not hold the endpoint. It may be called again after an error: attempts that the same
// manager has resumed are reported as resumed.
func (s Attempts) ResumeAttempts(ctx context.Context, starts []ledger.Start) (resumed []bool, err error) {
	return byManager(starts, func(manager string, starts []ledger.Start) ([]bool, error) {
		return s.resumeAttempts(ctx, manager, starts)
	})
}

func (s Attempts) resumeAttempts(ctx context.Context, manager string, starts []ledger.Start) (resumed []bool, err error) {
	condition, keys := anyAt(starts, 0)
	var matched int
	err = s.withRetry(ctx, func() error {
		return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
			matched = 0
			allowed, _, err := s.allowed(tx, starts)
			if err == nil && len(allowed) > 0 {
				matched, err = s.takeOver(tx, manager, allowed)
			}
			return err
		})
	})
	if err != nil {
		return nil, s.fail("resume the attempts", err)
	}
	if matched == len(starts) {
		return slices.Repeat([]bool{true}, matched), nil
	}
	resumed = make([]bool, len(starts))
	// Some were not taken over by this call. Those that manager runs beyond the
	// first step were, now or before.
	var rows []resultRow
	err = s.conn(ctx).Select("task_id", "endpoint").Where(condition, keys...).Where(runs, runsArgs()...).
		Where("manager = ? AND step > 1 AND awaits_reboot IS NULL AND cancel_id IS NULL", manager).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read which attempts were resumed", err)
	}
	taken := make(map[tasker.ResultKey]bool, len(rows))
	for _, r := range rows {
		taken[r.key()] = true
	}
	for i, start := range starts {
		resumed[i] = taken[start.ResultKey]
	}
	return resumed, nil
}

// takeOver makes attempts that await a reboot run under a manager, and returns how many.
func (s Attempts) takeOver(tx *gorm.DB, manager string, starts []ledger.Start) (matched int, err error) {
	condition, keys := anyAt(starts, 0)
	// Set state last: MySQL uses the values set so far.
	args := append([]any{tasker.Lost, dbTime{s.Now()}, tasker.Running, manager}, keys...)
	args = append(append(args, runsArgs()...), manager)
	update := tx.Exec("UPDATE task_results SET"+
		" last_modified_time = CASE WHEN state = ? THEN ? ELSE last_modified_time END,"+
		" lost_from = NULL, lost_errnr = NULL, lost_errmsg = NULL, errnr = 0, errmsg = '',"+
		" state = ?, manager = ?, awaits_reboot = NULL"+
		" WHERE "+condition+" AND awaits_reboot IS NOT NULL AND cancel_id IS NULL AND "+runs+
		" AND EXISTS (SELECT 1 FROM endpoints e WHERE e.name = task_results.endpoint AND e.manager = ?)", args...)
	return int(update.RowsAffected), update.Error
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
