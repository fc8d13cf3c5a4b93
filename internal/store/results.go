package store

import (
	"context"
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Results reads results and their attempts.
type Results struct{ *DB }

// attemptRow has what the result's row does not: what the attempt reported and,
// from State to EndTime, how it ended if another attempt followed or may
// follow.
type attemptRow struct {
	TaskID      int64               `gorm:"primaryKey;autoIncrement:false"`
	Endpoint    string              `gorm:"primaryKey"`
	Attempt     int                 `gorm:"primaryKey;autoIncrement:false"`
	Round       int                 `gorm:"->"` // of the task, when it ended
	State       *tasker.ResultState `gorm:"->"`
	Errnr       int                 `gorm:"->"`
	Errmsg      *string             `gorm:"->"`
	StartTime   *dbTime             `gorm:"->"`
	EndTime     *dbTime             `gorm:"->"`
	Progress    *document[tasker.Progress]
	Partial     *string
	LogLines    int64
	LogBytes    int64
	LogLeftOut  int64
	LogComplete bool
}

// TableName returns the table of attempts.
func (attemptRow) TableName() string { return "attempts" }

// history returns the attempt from its row alone.
func (r *attemptRow) history() tasker.Attempt {
	a := tasker.Attempt{
		// Older versions of tasker stored no end here.
		Attempt: r.Attempt, Round: later(r.Round), State: tasker.ResultFailed, Errnr: r.Errnr,
		StartTime: timePointer(r.StartTime), EndTime: timePointer(r.EndTime), Progress: progressPointer(r.Progress),
		Log: tasker.LogTotals{Lines: r.LogLines, Bytes: r.LogBytes, LeftOut: r.LogLeftOut, Complete: r.LogComplete},
	}
	if r.State != nil {
		a.State = *r.State
	}
	if r.Errmsg != nil {
		a.Errmsg = *r.Errmsg
	}
	if r.Partial != nil {
		a.Partial = readable([]byte(*r.Partial))
	}
	return a
}

func progressPointer(d *document[tasker.Progress]) *tasker.Progress {
	if d == nil {
		return nil
	}
	return &d.value
}

// keepHistory copies the ends of attempts that another may follow, in the
// transaction that stored them in the results.
func (s Attempts) keepHistory(tx *gorm.DB, ended []ledger.Start) error {
	condition, args := anyAt(ended, 0)
	key := []string{"task_id", "endpoint", "attempt"}
	columns := []string{"state", "errnr", "errmsg", "start_time", "end_time", "round"}
	return tx.Exec("INSERT INTO attempts (task_id, endpoint, attempt, state, errnr, errmsg, start_time, end_time, round)"+
		" SELECT task_id, endpoint, attempt, '"+string(tasker.ResultFailed)+"', errnr, errmsg, attempt_time, last_modified_time, round"+
		" FROM task_results WHERE "+condition+s.dialect.upsert(key, columns), args...).Error
}

// Attempts returns the attempts of a result, oldest first, or
// [tasker.NotFound]. The list is empty if the result has not run. Attempts that
// ended before the store kept a history are missing.
func (s Results) Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error) {
	var result resultRow
	err := s.conn(ctx).Where("task_id = ? AND endpoint = ?", taskID, endpoint).Take(&result).Error
	if err != nil {
		return nil, s.noResult(err, taskID, endpoint)
	}
	// Leave out an attempt that began meanwhile: the result read does not know
	// it.
	var rows []attemptRow
	err = s.conn(ctx).Where("task_id = ? AND endpoint = ? AND attempt <= ?", taskID, endpoint, result.Attempt).
		Order("attempt").Find(&rows).Error
	if err != nil {
		return nil, s.fail("read the attempts", err)
	}
	attempts := make([]tasker.Attempt, 0, len(rows)+1)
	current := attemptRow{Attempt: result.Attempt}
	for i := range rows {
		if rows[i].Attempt == result.Attempt {
			current = rows[i]
			continue
		}
		attempts = append(attempts, rows[i].history())
	}
	if result.Attempt > 0 {
		attempts = append(attempts, result.current(current))
	}
	return slices.Clip(attempts), nil
}

// current returns the latest attempt, from the result and the attempt's own
// row.
func (r *resultRow) current(row attemptRow) tasker.Attempt {
	a := row.history()
	state := r.State
	if r.LostFrom != nil && *r.LostFrom == tasker.Retrying {
		state = tasker.Retrying
	}
	switch {
	case row.State != nil:
		// It ended; the result's state is a later one.
		return a
	case state == tasker.Retrying:
		// An older version of tasker stored its end.
		a.EndTime = &r.LastModifiedTime.Time
	default:
		a.State = state
		if state.Finished() {
			a.EndTime = &r.LastModifiedTime.Time
		}
	}
	a.Errnr, a.Errmsg, a.StartTime, a.Round = r.Errnr, r.Errmsg, timePointer(r.AttemptTime), later(r.Round)
	return a
}

// FindResult returns an endpoint's result for a task, with its progress and its
// position, or [tasker.NotFound].
func (s Results) FindResult(ctx context.Context, taskID int64, endpoint string) (tasker.TaskResult, error) {
	var row struct {
		Result   resultRow `gorm:"embedded"`
		Progress *document[tasker.Progress]
	}
	err := s.conn(ctx).Table("task_results r").Select("r.*, a.progress").
		Joins("LEFT JOIN attempts a ON a.task_id = r.task_id AND a.endpoint = r.endpoint AND a.attempt = r.attempt").
		Where("r.task_id = ? AND r.endpoint = ?", taskID, endpoint).Take(&row).Error
	if err != nil {
		return tasker.TaskResult{}, s.noResult(err, taskID, endpoint)
	}
	result := row.Result.result()
	result.Progress = progressPointer(row.Progress)
	result.Position, err = s.position(ctx, &row.Result)
	return result, err
}

func (s Results) noResult(err error, taskID int64, endpoint string) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return tasker.Errorf(tasker.NotFound, "task %[2]d has no result of endpoint %[1]s", endpoint, taskID)
	}
	return s.fail("read the result", err)
}

// addProgress sets the progress of a task's unfinished results, which are those of
// endpoints unless that is nil. If all are finished it reads nothing. A query of
// its own is cheaper than a join of thousands of results, since few attempts report
// progress.
func (s Results) addProgress(ctx context.Context, results []tasker.TaskResult, endpoints []string) error {
	unfinished := map[string]*tasker.TaskResult{}
	for i := range results {
		if r := &results[i]; r.Attempt > 0 && !r.State.Finished() {
			unfinished[r.Endpoint] = r
		}
	}
	if len(unfinished) == 0 {
		return nil
	}
	var rows []attemptRow
	find := s.conn(ctx).Select("endpoint", "attempt", "progress").Where("task_id = ? AND progress IS NOT NULL", results[0].TaskID)
	if endpoints != nil {
		find = find.Where("endpoint IN ?", endpoints)
	}
	err := find.Find(&rows).Error
	for _, row := range rows {
		if r := unfinished[row.Endpoint]; r != nil && r.Attempt == row.Attempt {
			r.Progress = progressPointer(row.Progress)
		}
	}
	return s.fail("read the progress of the results", err)
}

// TaskResults returns a task's results by endpoint, the unfinished ones with
// their progress.
func (s Results) TaskResults(ctx context.Context, taskID int64) ([]tasker.TaskResult, error) {
	return s.results(ctx, s.conn(ctx).Where("task_id = ?", taskID), nil)
}

// PeekResults is TaskResults without payloads longer than maxPayload bytes.
func (s Results) PeekResults(ctx context.Context, taskID, maxPayload int64) ([]tasker.TaskResult, error) {
	return s.results(ctx, s.conn(ctx).Where("task_id = ?", taskID).Select(peekedColumns, maxPayload), nil)
}

// peekedColumns are those of a [peekedResult].
const peekedColumns = "id, task_id, endpoint, state, attempt, errnr, errmsg," +
	" start_time, last_modified_time, retry_time, cancel_id, round," + peekedPayload

// ResultsOf returns the results of some endpoints for a task, like TaskResults.
func (s Results) ResultsOf(ctx context.Context, taskID int64, endpoints []string) ([]tasker.TaskResult, error) {
	return s.results(ctx, s.conn(ctx).Where("task_id = ? AND endpoint IN ?", taskID, endpoints), endpoints)
}

// PeekResultsOf is ResultsOf without the payloads.
func (s Results) PeekResultsOf(ctx context.Context, taskID int64, endpoints []string) ([]tasker.TaskResult, error) {
	return s.results(ctx, s.conn(ctx).Where("task_id = ? AND endpoint IN ?", taskID, endpoints).Select(peekedColumns, 0), endpoints)
}

// results reads results of a task: those of endpoints, unless that is nil.
func (s Results) results(ctx context.Context, db *gorm.DB, endpoints []string) ([]tasker.TaskResult, error) {
	var rows []peekedResult
	if err := db.Table("task_results").Order("endpoint").Find(&rows).Error; err != nil {
		return nil, s.fail("read the task's results", err)
	}
	results := make([]tasker.TaskResult, len(rows))
	for i := range rows {
		results[i] = rows[i].result()
		rows[i].Payload = nil
	}
	return results, s.addProgress(ctx, results, endpoints)
}

// peekedResult is a result whose payload may have been left out.
type peekedResult struct {
	ID               int64
	TaskID           int64
	Endpoint         string
	State            tasker.ResultState
	Attempt          int
	Errnr            int
	Errmsg           string
	StartTime        dbTime
	LastModifiedTime dbTime
	RetryTime        *dbTime
	CancelID         *int64
	Round            int
	Payload          []byte
	PayloadSize      int64
}

func (r *peekedResult) result() tasker.TaskResult {
	row := resultRow{
		ID: r.ID, TaskID: r.TaskID, Endpoint: r.Endpoint, State: r.State, Attempt: r.Attempt,
		Errnr: r.Errnr, Errmsg: r.Errmsg, StartTime: r.StartTime, LastModifiedTime: r.LastModifiedTime, RetryTime: r.RetryTime,
		CancelID: r.CancelID, Round: r.Round,
	}
	t := row.result()
	t.Payload = readable(r.Payload)
	if r.Payload == nil {
		t.PayloadSize = r.PayloadSize
	}
	return t
}
