package reconcile

import (
	"context"
	"time"
)

// turnLength is for how long a process has a job to itself: as long the job
// rests where that process dies.
const turnLength = 5 * time.Second

// turn is one process's part in a job that goes through all tasks, which need
// not be done by every API process at once. It is about effort only: should
// two have the turn for a moment, nothing goes wrong.
type turn struct {
	store       Store
	job, holder string
	until       time.Time // the end of a turn that is this process's
}

// mine tells whether the job is this process's to do now. It asks the
// database where the answer is not known for a while.
func (t *turn) mine(ctx context.Context) (bool, error) {
	now := t.store.Now()
	if t.until.Sub(now) > turnLength/2 {
		return true, nil
	}
	taken, err := t.store.TakeTurn(ctx, t.job, t.holder, turnLength)
	t.until = time.Time{}
	if err == nil && taken {
		t.until = now.Add(turnLength)
	}
	return taken, err
}

// The jobs that are done in turn.
const (
	jobIncomplete = "incomplete"
	jobLost       = "lost"
	jobAggregate  = "aggregate"
	jobPurge      = "purge"
)

// inTurn makes a job one that runs in this process's turn only.
func (r *Reconciler) inTurn(job string, runOnce func(context.Context) error) func(context.Context) error {
	t := &turn{store: r.store, job: job, holder: r.holder}
	return func(ctx context.Context) error {
		mine, err := t.mine(ctx)
		if err != nil || !mine {
			return err
		}
		return runOnce(ctx)
	}
}

// endTurns lets other processes go on at once when this one stops.
func (r *Reconciler) endTurns(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.store.EndTurns(ctx, r.holder, []string{jobIncomplete, jobLost, jobAggregate, jobPurge}); err != nil {
		r.log.DebugContext(ctx, "the turns were not ended: others wait until they are over", "err", err)
	}
}
