package store

import (
	"fmt"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// parts returns the named endpoints in parts for one statement each, or nil alone for
// a class.
func (r *round) parts() [][]string {
	if r.request.Endpoints == nil {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(r.request.Endpoints, maxRows))
}

// found is a result that was asked for.
type found struct {
	Endpoint string
	State    tasker.ResultState
	LostFrom *tasker.ResultState
	Attempt  int
	CancelID *int64
}

// reason returns why the endpoint does not run the task again, or "" if it does. A
// class selects DONE results only if they are to be run again.
func (f *found) reason(named bool) string {
	switch {
	case f.State == tasker.ResultDone && named:
		return tasker.NotRetriedDone
	case f.State == tasker.Lost && (f.LostFrom == nil || *f.LostFrom != tasker.Running):
		return tasker.NotRetriedLost
	case f.State.CanRetry():
		return ""
	case f.State == tasker.Running && f.CancelID != nil:
		return tasker.NotRetriedStopping
	case f.State == tasker.Running:
		return tasker.NotRetriedRunning
	}
	return tasker.NotRetriedWaiting
}

// reopen makes the results that were asked for RECEIVED again, and returns at which
// endpoints it did, and those without a result.
func (r *round) reopen() (outcome tasker.RetryOutcome, err error) {
	not := map[string][]string{}
	for _, part := range r.parts() {
		again, err := r.choose(part, not)
		for step := range slices.Chunk(again, maxRows) {
			if err == nil {
				err = r.receiveAgain(step)
			}
		}
		if err != nil {
			return outcome, err
		}
		for _, f := range again {
			outcome.Retried = append(outcome.Retried, f.Endpoint)
		}
		missing, err := r.missing(part)
		if err != nil {
			return outcome, err
		}
		outcome.Missing = append(outcome.Missing, missing...)
		outcome.Retried = append(outcome.Retried, missing...)
	}
	slices.Sort(outcome.Retried)
	for _, reason := range tasker.NotRetriedReasons() {
		if endpoints := not[reason]; endpoints != nil {
			outcome.NotRetried = append(outcome.NotRetried, tasker.NotRetried{Reason: reason, Endpoints: endpoints})
		}
	}
	return outcome, nil
}

// choose locks the results of a part that were asked for, and returns those to run
// again. It adds the others to not, by reason.
func (r *round) choose(part []string, not map[string][]string) (again []found, err error) {
	find := r.tx.Model(&resultRow{}).Clauses(clause.Locking{Strength: "UPDATE"}).
		Select("endpoint", "state", "lost_from", "attempt", "cancel_id").
		Where("task_id = ? AND errnr <> ?", r.row.ID, tasker.ErrnrRemoved)
	if part != nil {
		find = find.Where("endpoint IN ?", part)
	} else {
		find = find.Where("state IN ?", append(r.request.Class.Results(), "")) // never an empty list
	}
	var results []found
	if err := find.Order("endpoint").Find(&results).Error; err != nil {
		return nil, err
	}
	registered, err := r.registered(results)
	if err != nil {
		return nil, err
	}
	for _, f := range results {
		reason := f.reason(part != nil)
		if reason == "" && !registered[f.Endpoint] {
			reason = tasker.NotRetriedRemoved
		}
		switch {
		case r.row.RemovedEndpoints.contain(f.Endpoint):
		case reason != "":
			not[reason] = append(not[reason], f.Endpoint)
		default:
			again = append(again, f)
		}
	}
	return again, nil
}

// missing returns the endpoints of a part that were asked for and have no result.
func (r *round) missing(part []string) (missing []string, err error) {
	find := withoutResult(r.tx, []int64{r.row.ID})
	switch {
	case part != nil:
		find = find.Where("g.endpoint IN ?", part)
	case !r.request.Class.Missing():
		return nil, nil
	}
	err = find.Order("g.endpoint").Pluck("g.endpoint", &missing).Error
	return slices.DeleteFunc(missing, r.row.RemovedEndpoints.contain), err
}

// registered returns at which of the results' endpoints somebody may run them, and
// locks these: whoever removes one afterwards finds what waits there.
func (r *round) registered(results []found) (map[string]bool, error) {
	registered := make(map[string]bool, len(results))
	for part := range slices.Chunk(results, maxRows) {
		endpoints := make([]string, len(part))
		for i, f := range part {
			endpoints[i] = f.Endpoint
		}
		var names []string
		err := r.tx.Model(&endpointRow{}).Clauses(clause.Locking{Strength: "SHARE"}).Where("name IN ?", endpoints).
			Order("name").Pluck("name", &names).Error
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			registered[name] = true
		}
	}
	return registered, nil
}

// contain reports whether the list has a name.
func (n names) contain(name string) bool { return slices.Contains(n, name) }

// receiveAgain makes locked results RECEIVED. Those that are LOST become so when their
// endpoint is back.
func (r *round) receiveAgain(results []found) error {
	var ended, lost []string
	for _, f := range results {
		if f.State == tasker.Lost {
			lost = append(lost, f.Endpoint)
		} else {
			ended = append(ended, f.Endpoint)
		}
	}
	if err := r.keepEnds(slices.Concat(ended, lost)); err != nil {
		return err
	}
	set := map[string]any{
		"state": tasker.Received, "errnr": 0, "errmsg": "", "payload": nil, "retry_time": nil, "cancel_id": nil, "superseded_by": nil,
		"step": 0, "awaits_reboot": nil, "round": r.row.Round + 1, "earlier_attempts": gorm.Expr("attempt"),
		"not_after": r.row.NotAfter, "last_modified_time": r.now,
		"priority": r.row.Priority, "start_order": ledger.StartOrder(r.now.Time, r.row.Priority),
	}
	var rows int64
	if len(ended) > 0 {
		update := r.tx.Model(&resultRow{}).Where("task_id = ? AND endpoint IN ? AND state IN ?",
			r.row.ID, ended, tasker.RetryAll.Results()).
			Updates(set)
		if update.Error != nil {
			return update.Error
		}
		rows += update.RowsAffected
	}
	if len(lost) > 0 {
		for _, column := range []string{"state", "errnr", "errmsg"} {
			delete(set, column) // they say that it is LOST
		}
		set["lost_from"], set["lost_errnr"], set["lost_errmsg"] = tasker.Received, nil, nil
		update := r.tx.Model(&resultRow{}).Where("task_id = ? AND endpoint IN ? AND state = ? AND lost_from = ?", r.row.ID, lost,
			tasker.Lost, tasker.Running).Updates(set)
		if update.Error != nil {
			return update.Error
		}
		rows += update.RowsAffected
	}
	if int(rows) != len(results) { // they are locked
		return fmt.Errorf("only %d of %d results to retry are as they were read", rows, len(results))
	}
	return nil
}

// keepEnds keeps how the last attempts of results ended in their history, unless that
// is there already: an attempt that another one was to follow, which did not begin.
func (r *round) keepEnds(endpoints []string) error {
	key := []string{"task_id", "endpoint", "attempt"}
	columns := []string{"state", "errnr", "errmsg", "start_time", "end_time", "round"}
	return r.tx.Exec("INSERT INTO attempts (task_id, endpoint, attempt, state, errnr, errmsg, start_time, end_time, round)"+
		" SELECT r.task_id, r.endpoint, r.attempt, r.state, r.errnr, r.errmsg, r.attempt_time, r.last_modified_time, r.round"+
		" FROM task_results r WHERE r.task_id = ? AND r.endpoint IN ? AND r.attempt > r.earlier_attempts"+
		" AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.task_id = r.task_id AND a.endpoint = r.endpoint"+
		" AND a.attempt = r.attempt AND a.state IS NOT NULL)"+r.dialect.upsert(key, columns), r.row.ID, endpoints).Error
}
