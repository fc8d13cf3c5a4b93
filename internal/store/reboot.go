package store

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// runs is the condition that an attempt runs, as far as is known: what is LOST
// from there may come back.
const runs = "(state = ? OR (state = ? AND lost_from = ?))"

func runsArgs() []any { return []any{tasker.Running, tasker.Lost, tasker.Running} }

// AwaitReboot stores that the running attempt of a result asked, in a boot of
// its machine, for a reboot, and shall go on after it as a later step. stored
// is false where the attempt does not run any more, or has gone on as that
// step already. It may be called again after an error.
func (s Runs) AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (stored bool, err error) {
	err = s.withRetry(ctx, func() error {
		update := s.conn(ctx).Model(&resultRow{}).
			Where("task_id = ? AND endpoint = ? AND attempt = ?", key.TaskID, key.Endpoint, attempt).
			Where(runs, runsArgs()...).
			Where("(step < ? OR (step = ? AND awaits_reboot = ?))", step, step, boot).
			Updates(map[string]any{"step": step, "awaits_reboot": boot})
		stored = update.RowsAffected == 1
		return update.Error
	})
	return stored, s.fail("store that an attempt awaits a reboot", err)
}

// ResumeAttempts takes over up to 100 attempts that awaited a reboot: manager
// runs their next steps. The Attempt of a start is here the number of the
// attempt that goes on. resumed tells of each whether it was taken over; it is
// not where it does not await a reboot, is not the result's current attempt or
// has ended, or manager does not hold the endpoint. It may be called again
// after an error: what manager had resumed with an answer that was lost is
// resumed.
func (s Runs) ResumeAttempts(ctx context.Context, manager string, starts []ledger.Start) (resumed []bool, err error) {
	if len(starts) == 0 {
		return nil, nil
	}
	condition, keys := anyAt(starts, 0)
	var matched int
	err = s.withRetry(ctx, func() error {
		// The state is set last: MySQL sees what is set already.
		args := append([]any{tasker.Lost, dbTime{s.Now()}, tasker.Running, manager}, keys...)
		args = append(append(args, runsArgs()...), manager)
		update := s.conn(ctx).Exec("UPDATE task_results SET"+
			" last_modified_time = CASE WHEN state = ? THEN ? ELSE last_modified_time END,"+
			" lost_from = NULL, lost_errnr = NULL, lost_errmsg = NULL, errnr = 0, errmsg = '',"+
			" state = ?, manager = ?, awaits_reboot = NULL"+
			" WHERE "+condition+" AND awaits_reboot IS NOT NULL AND "+runs+
			" AND EXISTS (SELECT 1 FROM endpoints e WHERE e.name = task_results.endpoint AND e.manager = ?)", args...)
		matched = int(update.RowsAffected)
		return update.Error
	})
	if err != nil {
		return nil, s.fail("resume the attempts", err)
	}
	resumed = make([]bool, len(starts))
	if matched == len(starts) {
		for i := range resumed {
			resumed[i] = true
		}
		return resumed, nil
	}
	// Some were not taken over now: those that manager runs beyond their first
	// step are the ones that were, now or before.
	var rows []resultRow
	err = s.conn(ctx).Select("task_id", "endpoint").Where(condition, keys...).Where(runs, runsArgs()...).
		Where("manager = ? AND step > 1 AND awaits_reboot IS NULL", manager).Find(&rows).Error
	if err != nil {
		return nil, s.fail("see which attempts were resumed", err)
	}
	taken := make(map[tasker.ResultKey]bool, len(rows))
	for _, r := range rows {
		taken[tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}] = true
	}
	for i, start := range starts {
		resumed[i] = taken[start.ResultKey]
	}
	return resumed, nil
}
