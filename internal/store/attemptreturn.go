package store

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// ReturnAttempts undoes the start of attempts that have not begun, up to some
// hundreds, and makes their results RECEIVED again, or SUPERSEDED if a newer task of
// their topic has come. The Attempt of a start is the
// number of the attempt. returned[i] is false if it is not current, was canceled or has ended, or
// if its manager does not run it or does not hold the endpoint. It may be called
// again after an error: attempts that were given back are reported as such.
//
// Only an attempt that was counted when its result was recorded can be given back,
// and so only once: a call that was delayed, while another one was answered and the
// attempt was started again, has no effect.
func (s Attempts) ReturnAttempts(ctx context.Context, starts []ledger.Start) (returned []bool, err error) {
	if len(starts) == 0 {
		return nil, nil
	}
	var matched int
	err = s.withRetry(ctx, func() (err error) {
		matched, err = s.giveBack(ctx, starts)
		return err
	})
	if err != nil {
		return nil, s.fail("give back attempts", err)
	}
	if matched == len(starts) {
		return slices.Repeat([]bool{true}, matched), nil
	}
	// Some were not running. Those that wait for their first attempt were given back.
	condition, args := anyAt(starts, -1)
	var rows []resultRow
	err = s.conn(ctx).Select("task_id", "endpoint", "manager").Where(condition, args...).
		Where("COALESCE(lost_from, state) = ?", tasker.Received).Find(&rows).Error
	if err != nil {
		return nil, s.fail("read which attempts were given back", err)
	}
	waits := make(map[tasker.ResultKey]string, len(rows))
	for _, r := range rows {
		waits[r.key()] = r.Manager
	}
	returned = make([]bool, len(starts))
	for i, start := range starts {
		returned[i] = start.Manager != "" && waits[start.ResultKey] == start.Manager
	}
	return returned, nil
}

// giveBack returns how many attempts it has given back.
func (s Attempts) giveBack(ctx context.Context, starts []ledger.Start) (matched int, err error) {
	update := joinedUpdate{
		columns: []string{"manager"}, held: true,
		set: [][2]string{
			{"state", "CASE WHEN r.superseded_by IS NULL THEN ? ELSE ? END"},
			{"attempt", "v.attempt - 1"},
			{"attempt_time", "NULL"},
			{"errnr", "CASE WHEN r.superseded_by IS NULL THEN 0 ELSE ? END"},
			{"errmsg", "CASE WHEN r.superseded_by IS NULL THEN '' ELSE ? END"},
			{"last_modified_time", "?"},
			{"lost_from", "NULL"},
			{"lost_errnr", "NULL"},
			{"lost_errmsg", "NULL"},
		},
		// The first attempt began at another time than its result if it was
		// started later.
		where: "(r.state = ? OR r.state = ? AND r.lost_from = ?) AND r.manager = v.manager AND r.attempt_time = r.start_time" +
			" AND r.attempt = 1 AND r.step = 0 AND r.cancel_id IS NULL",
		args: append([]any{
			tasker.Received, tasker.Superseded, tasker.ErrnrSuperseded, tasker.SupersededErrmsg(""), dbTime{s.Now()},
		}, runsArgs()...),
	}
	// Lock the endpoints in the same order as heartbeats do.
	ordered := slices.SortedFunc(slices.Values(starts), func(a, b ledger.Start) int {
		return cmp.Or(strings.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.TaskID, b.TaskID))
	})
	for _, start := range ordered {
		update.add(start.ResultKey, start.Attempt, start.Manager)
	}
	return update.exec(&s.dialect, s.conn(ctx))
}
