package model

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/taskerhq/tasker"
)

// taskRow and resultRow are the stored rows, as the model sees them.
type taskRow struct {
	typ, identifier string
	status          tasker.TaskStatus
	expected        []string // its targets
	targets         int      // their number, as stored
	round           int
	canceled        bool      // as a whole
	places, untaken int       // 0 if it is for all of its endpoints
	expires         time.Time // zero is never
	expireTime      time.Time // when it is looked at for that; zero is never
}

type resultRow struct {
	state    tasker.ResultState
	lostFrom tasker.ResultState
	attempt  int
	manager  string
	errnr    int
	errmsg   string
	payload  string // "" is NULL
	round    int
	stopping bool // it was told to stop
	newer    bool // a newer task of its topic has superseded it
	expires  time.Time
}

// reader reads all rows, bypassing the store.
type reader struct {
	db                      *sql.DB
	tasks, targets, results *sql.Stmt
	untaken, claims, begun  *sql.Stmt
	rollouts, waves, halts  *sql.Stmt
}

func newReader(driver, dsn string) (*reader, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	r := &reader{db: db}
	for query, statement := range map[string]**sql.Stmt{
		"SELECT id, type, identifier, status, COALESCE(targets, -1), COALESCE(places, 0), round, cancellation," +
			" not_after, expire_time FROM tasks": &r.tasks,
		"SELECT task_id, untaken FROM task_places":                              &r.untaken,
		"SELECT task_id, endpoint FROM place_claims":                            &r.claims,
		"SELECT task_id, endpoint FROM task_targets ORDER BY task_id, endpoint": &r.targets,
		"SELECT task_id, endpoint, state, lost_from, attempt, manager, errnr, errmsg, payload, round," +
			" cancel_id IS NOT NULL, superseded_by IS NOT NULL, not_after FROM task_results": &r.results,
		"SELECT task_id FROM topic_tasks ORDER BY id":                           &r.begun,
		"SELECT task_id, state, publish_attempts FROM rollouts":                 &r.rollouts,
		"SELECT task_id, endpoint, wave, stage, open_time FROM rollout_targets": &r.waves,
		"SELECT task_id FROM holds WHERE requested_by = 'rollout'":              &r.halts,
	} {
		if *statement, err = db.Prepare(query); err != nil {
			return nil, err
		}
	}
	return r, nil
}

type snapshot struct {
	tasks   map[int64]taskRow
	results map[tasker.ResultKey]resultRow
	claims  map[tasker.ResultKey]bool // places that were taken and may not be recorded, or were lost
	begun   []int64                   // the tasks of the topic, the newest last

	rollouts map[int64]rolloutRow
	waves    map[tasker.ResultKey]waveRow // the endpoints of rollouts
	halted   map[int64]bool               // tasks that their rollouts hold
}

func (s snapshot) outcomes(task int64) []tasker.Outcome {
	var outcomes []tasker.Outcome
	for _, key := range sortedKeys(s.results) {
		if key.TaskID == task {
			outcomes = append(outcomes, tasker.Outcome{Endpoint: key.Endpoint, State: s.results[key].state})
		}
	}
	return outcomes
}

// look reads all rows, bypassing the store.
func (w *world) look() (snapshot, error) {
	s := snapshot{
		tasks: map[int64]taskRow{}, results: map[tasker.ResultKey]resultRow{}, claims: map[tasker.ResultKey]bool{},
		rollouts: map[int64]rolloutRow{}, waves: map[tasker.ResultKey]waveRow{}, halted: map[int64]bool{},
	}
	err := each(w.ctx, w.rows.tasks, func(rows *sql.Rows) error {
		var id int64
		var t taskRow
		var cancellation sql.NullString
		err := rows.Scan(&id, &t.typ, &t.identifier, &t.status, &t.targets, &t.places, &t.round, &cancellation,
			(*storedTime)(&t.expires), (*storedTime)(&t.expireTime))
		if err == nil && cancellation.Valid {
			var by tasker.Cancellation
			err = json.Unmarshal([]byte(cancellation.String), &by)
			t.canceled = by.All
		}
		s.tasks[id] = t
		return err
	})
	if err == nil {
		err = each(w.ctx, w.rows.targets, func(rows *sql.Rows) error {
			var id int64
			var endpoint string
			err := rows.Scan(&id, &endpoint)
			if t, ok := s.tasks[id]; ok { // or it was stored meanwhile
				t.expected = append(t.expected, endpoint)
				s.tasks[id] = t
			}
			return err
		})
	}
	if err == nil {
		err = w.lookAtPlaces(s)
	}
	if err == nil {
		err = w.lookAtRollouts(s)
	}
	if err == nil {
		err = each(w.ctx, w.rows.begun, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			s.begun = append(s.begun, id)
			return err
		})
	}
	if err != nil {
		return s, err
	}
	return s, w.lookAtResults(s)
}

func (w *world) lookAtResults(s snapshot) error {
	return each(w.ctx, w.rows.results, func(rows *sql.Rows) error {
		var key tasker.ResultKey
		var r resultRow
		var lostFrom, payload sql.NullString
		err := rows.Scan(&key.TaskID, &key.Endpoint, &r.state, &lostFrom, &r.attempt, &r.manager, &r.errnr, &r.errmsg, &payload, &r.round,
			&r.stopping, &r.newer, (*storedTime)(&r.expires))
		if err != nil {
			return err
		}
		r.lostFrom, r.payload = tasker.ResultState(lostFrom.String), payload.String
		if _, twice := s.results[key]; twice {
			w.violate(2, "task %d has two rows of %s", key.TaskID, key.Endpoint)
		}
		s.results[key] = r
		return nil
	})
}

// storedTime is a time as it is stored; zero for NULL.
type storedTime time.Time

// timeForm is the form of a stored time.
const timeForm = "2006-01-02 15:04:05.000000"

// Scan reads the time.
func (t *storedTime) Scan(value any) error {
	if at, ok := value.(time.Time); ok {
		*t = storedTime(at.UTC())
		return nil
	}
	var text sql.NullString
	if err := text.Scan(value); err != nil || !text.Valid {
		*t = storedTime{}
		return err
	}
	parsed, err := time.Parse(timeForm, text.String)
	*t = storedTime(parsed)
	return err
}

// learn reads what the model knows by itself when calls do not overlap: with
// overlapping calls it cannot know which came last.
func (w *world) learn() error {
	endpoints, err := w.rows.db.PrepareContext(w.ctx, "SELECT name, manager, last_seen, lease_until FROM endpoints")
	if err != nil {
		return err
	}
	defer func() { _ = endpoints.Close() }()
	err = each(w.ctx, endpoints, func(rows *sql.Rows) error {
		var name, manager string
		var seen, until storedTime
		err := rows.Scan(&name, &manager, &seen, &until)
		if err == nil {
			w.holder[name], w.lastSeen[name], w.leaseUntil[name] = manager, time.Time(seen), time.Time(until)
		}
		return err
	})
	if err != nil {
		return err
	}
	tasks, err := w.rows.db.PrepareContext(w.ctx, "SELECT id, relay_time, publish_attempts FROM tasks WHERE relay_time IS NOT NULL")
	if err != nil {
		return err
	}
	defer func() { _ = tasks.Close() }()
	return each(w.ctx, tasks, func(rows *sql.Rows) error {
		var id int64
		var relayTime storedTime
		var attempt int
		err := rows.Scan(&id, &relayTime, &attempt)
		if t := w.tasks[id]; err == nil && t != nil {
			t.attempt, t.relayTime = attempt, time.Time(relayTime)
		}
		return err
	})
}

func each(ctx context.Context, query *sql.Stmt, scan func(*sql.Rows) error) error {
	rows, err := query.QueryContext(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
