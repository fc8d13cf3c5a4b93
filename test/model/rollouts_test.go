package model

import (
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// rolloutSettings are those of the rollouts: one that nothing halts, one that a bad endpoint
// halts, and one that waits for an approval. Their endpoints come in the order of their names.
var rolloutSettings = []json.RawMessage{
	settingsOf(`{"batch": 1, "order": "name", "max_failures": "100%", "wave_max_failures": "100%"}`),
	settingsOf(`{"batch": 1, "order": "name"}`),
	settingsOf(`{"batch": [1, "100%"], "order": "name", "approve": true, "max_failures": "100%", "wave_max_failures": "100%"}`),
}

func settingsOf(object string) json.RawMessage {
	settings, err := rollout.Decode([]byte(object))
	if err != nil {
		panic(err)
	}
	canonical, err := json.Marshal(settings)
	if err != nil {
		panic(err)
	}
	return canonical
}

// rolloutRow and waveRow are a stored rollout and one of its endpoints.
type rolloutRow struct {
	state   rollout.State
	attempt int // the last one to send it
}

type waveRow struct {
	wave   int
	target bool // the task is to be sent to it, or was
	opened time.Time
}

// firstTargetStage is the stage from which an endpoint of a rollout is a target.
const firstTargetStage = 2

// lookAtRollouts adds the rollouts, their endpoints, and the tasks that they hold.
func (w *world) lookAtRollouts(s snapshot) error {
	err := each(w.ctx, w.rows.rollouts, func(rows *sql.Rows) error {
		var id int64
		var r rolloutRow
		err := rows.Scan(&id, &r.state, &r.attempt)
		s.rollouts[id] = r
		return err
	})
	if err == nil {
		err = each(w.ctx, w.rows.waves, func(rows *sql.Rows) error {
			var key tasker.ResultKey
			var r waveRow
			var stage int
			err := rows.Scan(&key.TaskID, &key.Endpoint, &r.wave, &stage, (*storedTime)(&r.opened))
			r.target = stage >= firstTargetStage
			s.waves[key] = r
			return err
		})
	}
	if err != nil {
		return err
	}
	return each(w.ctx, w.rows.halts, func(rows *sql.Rows) error {
		var id sql.NullInt64
		err := rows.Scan(&id)
		s.halted[id.Int64] = true
		return err
	})
}

// unopened returns the endpoints of a task whose wave is not open.
func (s snapshot) unopened(task int64) (list []string) {
	for _, key := range sortedKeys(s.waves) {
		if key.TaskID == task && !s.waves[key].target {
			list = append(list, key.Endpoint)
		}
	}
	return list
}

// waveJob is an attempt to send a task to the endpoints whose wave is open.
func waveJob(claim ledger.WaveClaim) *dispatch {
	return &dispatch{task: tasker.Task{ID: claim.TaskID}, stage: waving, claim: claim}
}

// sendWave sends a task to the next endpoints, and reports whether the attempt has ended.
func (w *world) sendWave(c chance, d *dispatch) (done bool) {
	var wave ledger.Wave
	var current bool
	var err error
	d.busy = true
	w.call(func() { wave, current, err = w.store.Outbox.NextWave(w.ctx, d.claim, relayLease, 2) })
	d.busy = false
	w.logf("NextWave %+v: to %v, current %v", d.claim, wave.Endpoints, current)
	if w.failed("NextWave", err) {
		return false
	}
	if r := w.before.rollouts[d.claim.TaskID]; w.alone && current != (r.attempt == d.claim.Attempt) {
		w.violate(1, "attempt %d to send task %d is current: %v, and the last one is %d", d.claim.Attempt, d.claim.TaskID, current,
			r.attempt)
	}
	if !current || len(wave.Endpoints) == 0 {
		return true
	}
	for _, name := range wave.Endpoints {
		if w.alone && !slices.Contains(w.before.tasks[d.claim.TaskID].expected, name) {
			w.violate(5, "task %d is to be sent to %s, and expects %v", d.claim.TaskID, name, w.before.tasks[d.claim.TaskID].expected)
		}
	}
	task := wave.Task
	task.Endpoints = wave.Endpoints
	var unserved []string
	outcome := c(8, "publish")
	if outcome != 5 {
		unserved = w.publish(c, task)
	}
	switch outcome {
	case 5, 6: // not published, or the confirm was lost
		pause := time.Duration(c(2, "pause")) * 5 * time.Second
		w.callFor(d, "ReleaseWave", func() error { return w.store.Outbox.ReleaseWave(w.ctx, d.claim, pause) })
		return true
	case 7:
		w.logf("it is published to %v, and the process dies", wave.Endpoints)
		return true
	}
	w.callFor(d, "SaveWave", func() error { return w.store.Outbox.SaveWave(w.ctx, d.claim, wave.Endpoints, unserved) })
	return false
}

// callFor makes a call of a dispatch.
func (w *world) callFor(d *dispatch, what string, do func() error) {
	var err error
	d.busy = true
	w.call(func() { err = do() })
	d.busy = false
	w.failed(what, err)
}

// claimWaves has a relay send what is left of opened waves.
func (w *world) claimWaves(r *relay) {
	var claims []ledger.WaveClaim
	var err error
	w.call(func() { claims, err = w.store.Outbox.ClaimWaves(w.ctx, 10, relayLease) })
	if w.failed("ClaimWaves", err) {
		return
	}
	for _, claim := range claims {
		r.jobs = append(r.jobs, waveJob(claim))
	}
	w.logf("ClaimWaves: %+v", claims)
}

// advanceRollouts makes what decisions are due. The process may die after any.
func (w *world) advanceRollouts(c chance) {
	var due []int64
	var err error
	w.call(func() { due, err = w.store.Rollouts.DueRollouts(w.ctx, 10) })
	if w.failed("DueRollouts", err) {
		return
	}
	for _, id := range due {
		for range 10 {
			var a ledger.Advance
			w.call(func() { a, err = w.store.Rollouts.Advance(w.ctx, id, waitForAll) })
			if w.failed("Advance", err) {
				return
			}
			w.logf("Advance %d: changed %v, %s, wave %d, %s", id, a.Changed, a.State, a.Wave, a.Reason)
			if c.oneIn(6, "dies") {
				return
			}
			w.follow(a)
			if !a.Changed {
				break
			}
		}
	}
}

// follow does what has to follow a decision.
func (w *world) follow(a ledger.Advance) {
	if a.Send.Attempt > 0 {
		w.relays[0].jobs = append(w.relays[0].jobs, waveJob(a.Send))
	}
	if a.Changed || a.Behind {
		w.hinted = append(w.hinted, a.TaskID)
	}
}

// stepRollout is a person who approves the next wave of a rollout, or resumes it.
func (w *world) stepRollout(c chance) {
	var ids []int64
	for _, key := range sortedKeys(w.before.waves) {
		if !slices.Contains(ids, key.TaskID) && w.tasks[key.TaskID] != nil {
			ids = append(ids, key.TaskID)
		}
	}
	if len(ids) > 0 {
		w.actOnRollout(pick(c, ids, "rollout"), c(2, "approve") == 0)
	}
}

// actOnRollout approves the next wave of a rollout, or resumes it.
func (w *world) actOnRollout(id int64, approve bool) {
	act := tasker.RolloutAct{Type: taskType, Identifier: w.tasks[id].Identifier, By: "ann"}
	do, possible := w.store.Rollouts.ResumeRollout, rollout.Halted
	if approve {
		do, possible = w.store.Rollouts.Approve, rollout.WaitingApproval
	}
	var a ledger.Advance
	var err error
	w.call(func() { a, err = do(w.ctx, act, waitForAll) })
	w.logf("rollout of task %d, approve %v: %s, wave %d, %v", id, approve, a.State, a.Wave, err)
	state := w.before.rollouts[id].state
	if tasker.CodeOf(err) == tasker.Conflict {
		if w.alone && state == possible {
			w.violate(1, "the rollout of task %d was %s, and an act on it was refused: %v", id, state, err)
		}
		return
	}
	if !w.failed("act on the rollout", err) {
		w.follow(a)
	}
}

// continueRollouts has a person approve and resume what waits for that.
func (w *world) continueRollouts() {
	for _, key := range sortedKeys(w.before.waves) {
		w.check()
		switch w.before.rollouts[key.TaskID].state {
		case rollout.WaitingApproval:
			w.actOnRollout(key.TaskID, true)
		case rollout.Halted:
			w.actOnRollout(key.TaskID, false)
		default:
		}
	}
}

// checkWaves checks that a rollout expects the endpoints whose waves are open and no others,
// and opens none before all of the earlier ones have ended.
func (w *world) checkWaves(now snapshot, id int64, old, t taskRow) {
	state := now.rollouts[id].state
	if before := w.before.rollouts[id].state; before.Final() && before != state {
		w.violate(4, "the rollout of task %d went from %s to %s", id, before, state)
	}
	if state == rollout.Halted && !now.halted[id] && !t.status.Final() && t.status != tasker.Canceling {
		w.violate(4, "the rollout of task %d is %s, and does not hold it", id, state)
	}
	all := 0
	for _, key := range sortedKeys(now.waves) {
		if key.TaskID != id {
			continue
		}
		all++
		if expected := slices.Contains(t.expected, key.Endpoint); expected != now.waves[key].target {
			w.violate(5, "task %d expects %v, and the endpoint %s is %+v", id, t.expected, key.Endpoint, now.waves[key])
		}
		opens := now.waves[key].target && !w.before.waves[key].target && t.status != tasker.Canceling && !t.status.Final()
		if w.alone && opens && !now.results[key].state.Finished() {
			w.checkOpened(key, now)
		}
	}
	if w.alone && (t.targets != all || len(old.expected) > len(t.expected)) {
		w.violate(5, "task %d has %d targets and expects %v, of %d endpoints; it expected %v", id, t.targets, t.expected, all, old.expected)
	}
}

// checkOpened checks that the wave before had ended when that of an endpoint was opened.
// Whatever comes back from LOST, or is retried, after its wave had ended is not waited for.
func (w *world) checkOpened(opened tasker.ResultKey, now snapshot) {
	state := w.before.rollouts[opened.TaskID].state
	if state == rollout.Halted && now.halted[opened.TaskID] {
		w.violate(5, "the wave of %v was opened while the rollout was %s", opened, state)
	}
	for key, earlier := range w.before.waves {
		if key.TaskID != opened.TaskID || earlier.wave != now.waves[opened].wave-1 || state != rollout.Running {
			continue
		}
		row, ok := w.before.results[key]
		ended := row.state.Finished() || row.state == tasker.Lost || !ok && w.passed(earlier.opened.Add(waitForAll))
		if again := row.round > 1; !again && (!earlier.target || !ended) {
			w.violate(5, "the wave of %v was opened when %v of an earlier one was %+v: %+v", opened, key, earlier, row)
		}
	}
}
