package store

import (
	"cmp"
	"context"
	"errors"
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

// StartAttempts begins the next attempts of waiting results, up to some
// hundreds: it counts them and moves the results to RUNNING, before their
// handlers start. started[i] is false if the result is at another attempt or
// has ended, if its task has expired, which makes it EXPIRED, or was superseded, if a hold applies to it,
// or if its manager does not hold the endpoint. It may be called
// again after an error: attempts that the same manager has started are reported
// as started, even if their endpoint was marked lost meanwhile, unless they
// have asked for a reboot or were canceled since.
func (s Attempts) StartAttempts(ctx context.Context, starts []ledger.Start) (started []bool, err error) {
	if len(starts) == 0 {
		return nil, nil
	}
	var matched int
	err = s.withRetry(ctx, func() (err error) {
		matched, err = s.start(s.conn(ctx), starts, " AND e.gate = 0")
		return err
	})
	if err == nil && matched < len(starts) {
		var more int
		more, err = s.startGated(ctx, starts)
		matched += more
	}
	if err != nil {
		return nil, s.fail("start the attempts", err)
	}
	if matched == len(starts) {
		return slices.Repeat([]bool{true}, matched), nil
	}
	if err := s.expireWaiting(ctx, starts); err != nil {
		return nil, s.fail("store which results expired", err)
	}
	err = s.withRetry(ctx, func() error { return supersedeMarked(s.conn(ctx), starts, dbTime{s.Now()}) })
	if err != nil {
		return nil, s.fail("store which results were superseded", err)
	}
	started = make([]bool, len(starts))
	// Some were at another attempt. Those now at the next one, by the same
	// manager, have been started.
	begun, err := s.begun(ctx, starts)
	if err != nil {
		return nil, s.fail("read which attempts were started", err)
	}
	for i, start := range starts {
		started[i] = start.Manager != "" && begun[start.ResultKey] == start.Manager
	}
	return started, nil
}

// startGated starts attempts whose endpoints may have had closed gates, unless a hold
// applies to them, and returns how many. By now a gate may be open.
func (s Attempts) startGated(ctx context.Context, starts []ledger.Start) (matched int, err error) {
	var free []string
	err = s.withRetry(ctx, func() error {
		return s.conn(ctx).Transaction(func(tx *gorm.DB) error {
			matched = 0
			allowed, found, err := s.allowed(tx, starts)
			if free = found; err != nil || len(allowed) == 0 {
				return err
			}
			matched, err = s.start(tx, allowed, "")
			return err
		})
	})
	if err == nil {
		s.openGates(ctx, free)
	}
	return matched, err
}

// allowed locks the endpoints of some starts, and returns those of the starts to which
// no hold applies, and the endpoints whose gates are closed for no reason.
func (s *DB) allowed(tx *gorm.DB, starts []ledger.Start) (allowed []ledger.Start, free []string, err error) {
	locked, err := lockEndpoints(tx, endpointsOfStarts(starts), "SHARE")
	if err != nil {
		return nil, nil, err
	}
	keys := make([]tasker.ResultKey, len(starts))
	for i, start := range starts {
		keys[i] = start.ResultKey
	}
	found, err := s.look(tx, keys)
	allowed = slices.DeleteFunc(slices.Clone(starts), func(start ledger.Start) bool { return found.held[start.ResultKey] })
	free = slices.DeleteFunc(found.free, func(name string) bool { return locked[name].Gate == 0 })
	return allowed, free, err
}

// endpointsOfStarts returns the endpoints of some starts, sorted.
func endpointsOfStarts(starts []ledger.Start) []string {
	list := make([]string, len(starts))
	for i, start := range starts {
		list[i] = start.Endpoint
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// start starts attempts by one statement, as far as a condition on their endpoints (e)
// holds, and returns how many.
func (s Attempts) start(db *gorm.DB, starts []ledger.Start, condition string) (matched int, err error) {
	now := dbTime{s.Now()}
	update := joinedUpdate{
		columns: []string{"manager"}, held: true,
		set: [][2]string{
			{"state", "?"},
			{"attempt", "v.attempt + 1"},
			{"manager", "v.manager"},
			{"errnr", "0"},
			{"errmsg", "''"},
			{"retry_time", "NULL"},
			{"last_modified_time", "?"},
			{"attempt_time", "?"},
			{"step", "0"},
			{"awaits_reboot", "NULL"},
		},
		where: "r.state IN ? AND r.superseded_by IS NULL AND " + unexpired("r.") + condition,
		args:  []any{tasker.Running, now, now, waiting, s.at(now.Time)},
	}
	// Lock the endpoints in the same order as heartbeats do.
	ordered := slices.SortedFunc(slices.Values(starts), func(a, b ledger.Start) int {
		return cmp.Or(strings.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.TaskID, b.TaskID))
	})
	for _, start := range ordered {
		update.add(start.ResultKey, start.Attempt, start.Manager)
	}
	return update.exec(&s.dialect, db)
}

// begun returns by whom the attempts after the given ones were begun.
func (s Attempts) begun(ctx context.Context, starts []ledger.Start) (map[tasker.ResultKey]string, error) {
	condition, args := anyAt(starts, 1)
	var rows []resultRow
	err := s.conn(ctx).Select("task_id", "endpoint", "manager").Where(condition, args...).
		Where(runs+" AND step = 0 AND cancel_id IS NULL", runsArgs()...).Find(&rows).Error
	begun := make(map[tasker.ResultKey]string, len(rows))
	for _, r := range rows {
		begun[r.key()] = r.Manager
	}
	return begun, err
}

// waiting are the states from which an attempt starts.
var waiting = []tasker.ResultState{tasker.Received, tasker.Retrying}

// errUnclear rolls back a batch if the database does not say which of its ends
// were stored.
var errUnclear = errors.New("it is unclear which ends of the batch were stored")

// FinishAttempts stores the ends of attempts, up to some hundreds. stored[i] is
// false if the attempt is not the current one, or the result has ended: it lost
// a race. On an error it is unknown which were stored: call it again.
//
// The end of an attempt that may be followed by another is kept in its history
// as well, since the result will show the next attempt only. If the result was told
// to stop, it is CANCELED instead of RETRYING; if a newer task superseded it, SUPERSEDED.
func (s Attempts) FinishAttempts(ctx context.Context, ends []ledger.End) (stored []bool, err error) {
	stored = make([]bool, len(ends))
	if len(ends) > 1 {
		current, err := s.finishTogether(ctx, ends)
		if err == nil {
			for i := range ends {
				stored[i] = current[ends[i].ResultKey]
			}
			return stored, nil
		}
		if !errors.Is(err, errUnclear) {
			return nil, err
		}
	}
	for i := range ends {
		one := func(db *gorm.DB) error {
			current, err := s.finish(db, ends[i:i+1])
			stored[i] = len(current) == 1
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

// finishTogether stores ends in one transaction and returns of which results.
// It locks these in the order of their keys, as others do, to avoid deadlocks.
func (s Attempts) finishTogether(ctx context.Context, ends []ledger.End) (stored map[tasker.ResultKey]bool, err error) {
	ends = slices.SortedFunc(slices.Values(ends), func(a, b ledger.End) int { return compareKeys(a.ResultKey, b.ResultKey) })
	if !distinct(ends, func(e ledger.End) tasker.ResultKey { return e.ResultKey }) {
		return nil, errUnclear
	}
	const what = "store the results"
	err = s.transact(ctx, what, func(tx *gorm.DB) error {
		stored = make(map[tasker.ResultKey]bool, len(ends))
		return inParts(ends, func(e ledger.End) int { return len(e.Payload) + len(e.Errmsg) }, func(part []ledger.End) error {
			current, err := s.finish(tx, part)
			for _, end := range current {
				stored[end.ResultKey] = true
			}
			if errors.Is(err, errUnclear) {
				return tasker.WrapError(tasker.Conflict, err, what)
			}
			return err
		})
	})
	return stored, err
}

// finish stores ends by one statement and returns those that it has stored,
// whose attempts were current. With several, or one that is Retrying, db must
// be a transaction, to be rolled back on an error.
func (s Attempts) finish(db *gorm.DB, ends []ledger.End) (stored []ledger.End, err error) {
	now := s.Now()
	matched, err := s.updateEnded(db, ends, now)
	switch {
	case err != nil || matched == 0:
		return nil, err
	case matched < len(ends):
		if ends, err = s.endedAt(db, ends, now); err != nil {
			return nil, err
		}
		if len(ends) != matched {
			return nil, errUnclear
		}
	}
	var followed []ledger.Start
	for _, end := range ends {
		if end.State == tasker.Retrying {
			followed = append(followed, ledger.Start{ResultKey: end.ResultKey, Attempt: end.Attempt})
		}
	}
	if len(followed) > 0 {
		if err := s.keepHistory(db, followed); err != nil {
			return ends, err
		}
		if err = s.cancelRetries(db, followed, now); err == nil {
			err = supersedeMarked(db, followed, dbTime{now})
		}
	}
	return ends, err
}

// updateEnded stores the ends of the attempts that are current, and returns how
// many were.
func (s Attempts) updateEnded(db *gorm.DB, ends []ledger.End, now time.Time) (matched int, err error) {
	targets := make([]tasker.ResultState, len(ends))
	for i, end := range ends {
		targets[i] = end.State
	}
	guard, args := guardedBy(targets)
	update := joinedUpdate{
		columns: []string{"state", "errnr", "errmsg", "payload", "retry_time", "due"},
		set: [][2]string{
			{"state", "v.state"},
			{"errnr", "v.errnr"},
			{"errmsg", "v.errmsg"},
			{"payload", "v.payload"},
			{"retry_time", "v.retry_time"},
			// The next attempt waits from when it is due.
			{"start_order", "COALESCE(v.due - r.priority * ?, r.start_order)"},
			{"last_modified_time", "?"},
			{"lost_from", "NULL"},
			{"lost_errnr", "NULL"},
			{"lost_errmsg", "NULL"},
			{"awaits_reboot", "NULL"},
		},
		// Only an attempt that runs can end. A result that is RECEIVED, RETRYING or LOST
		// from there has none: the end of its last one is stored, or it was interrupted,
		// and an end that comes late must not be taken for that of the next round.
		where: guard + " AND (r.state = ? OR r.lost_from = ?)",
		args: slices.Concat([]any{tasker.PriorityAge.Microseconds(), dbTime{now}}, args,
			[]any{tasker.Running, tasker.Running}),
	}
	for _, end := range ends {
		var payload, retry, due any
		if end.Payload != nil {
			payload = string(end.Payload)
		}
		if end.State == tasker.Retrying {
			at := now.Add(end.RetryDelay)
			retry, due = s.at(at), ledger.StartOrder(at, 0)
		}
		update.add(end.ResultKey, end.Attempt, end.State, end.Errnr, end.Errmsg, payload, retry, due)
	}
	return update.exec(&s.dialect, db)
}

// endedAt returns the ends that results show with this time: those that the
// transaction has just stored there, and any that was stored at the same
// microsecond.
func (s Attempts) endedAt(db *gorm.DB, ends []ledger.End, now time.Time) ([]ledger.End, error) {
	keys := make([]ledger.Start, len(ends))
	for i, end := range ends {
		keys[i] = ledger.Start{ResultKey: end.ResultKey, Attempt: end.Attempt}
	}
	condition, args := anyAt(keys, 0)
	var rows []resultRow
	err := db.Select("task_id", "endpoint", "state").Where(condition, args...).
		Where("last_modified_time = ?", dbTime{now}).Find(&rows).Error
	state := make(map[tasker.ResultKey]tasker.ResultState, len(rows))
	for _, r := range rows {
		state[r.key()] = r.State
	}
	return slices.DeleteFunc(slices.Clone(ends), func(end ledger.End) bool { return state[end.ResultKey] != end.State }), err
}

// Attempts is [Results.Attempts].
func (s Attempts) Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error) {
	return Results(s).Attempts(ctx, taskID, endpoint)
}
