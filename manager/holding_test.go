package manager

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// timed is a jobRunner whose jobs take as long as the test says.
type timed struct{ run1 time.Duration }

func (r *timed) run(_, _ context.Context, j job) followUp {
	d := r.run1
	time.Sleep(d)
	j.freeSlot(d)
	return followUp{}
}

func (r *timed) start(taking, running context.Context, j job) followUp {
	return r.run(taking, running, j)
}

func (r *timed) awaitReboot(taking, running context.Context, j job) followUp {
	return r.run(taking, running, j)
}

func (r *timed) giveBack(work []ledger.Work) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(work)), nil
}

// intake records what the holding returns, as a recorder does.
type intake struct {
	*holding
	queue  chan incoming
	pool   *pool
	states map[tasker.ResultState][]int64
}

// newIntake returns an intake for a pool of so many slots that has run one task.
func newIntake(t *testing.T, r *timed, slots, limit int) *intake {
	i := &intake{
		holding: newHolding(limit), queue: make(chan incoming, 1000), pool: poolOf(r, slots),
		states: map[tasker.ResultState][]int64{},
	}
	i.pool.turnover.freed = i.freed
	arrive(t.Context(), i.pool, 1000)
	synctest.Wait()
	time.Sleep(r.run1)
	synctest.Wait()
	return i
}

func (i *intake) arrive(from, to int64) {
	for id := from; id < to; id++ {
		i.queue <- incoming{pool: i.pool, message: wire.Task{TaskID: id, Identifier: "one", Type: "job"}}
	}
}

// run records until ctx ends; write is how long the database takes for a batch.
func (i *intake) run(ctx context.Context, write time.Duration) (batches int) {
	for {
		tasks := i.next(ctx, i.queue)
		if tasks == nil {
			return batches
		}
		batches++
		time.Sleep(write)
		for _, in := range tasks {
			i.states[in.record.State] = append(i.states[in.record.State], in.message.TaskID)
			i.pool.onRecorded(ctx, in.record.State, ledger.Recording{Task: tasker.Task{ID: in.message.TaskID, Type: "job"}}, in.claim)
		}
	}
}

func ids(from, to int64) (list []int64) {
	for id := from; id < to; id++ {
		list = append(list, id)
	}
	return list
}

// Tasks that a slot will be free for in a moment are recorded when it is, as
// RUNNING, in order and by as few batches as there are rounds of slots; where runs are
// very brief, by fewer.
func TestHoldsForBriefRuns(t *testing.T) {
	for name, test := range map[string]struct {
		run         time.Duration
		least, most int // batches
	}{
		"brief":      {5 * time.Millisecond, 10, 40},
		"very brief": {time.Millisecond, 2, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIntake(t, &timed{test.run}, 4, 100)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				i.arrive(0, 40)
				batches := i.run(ctx, 100*time.Millisecond/10)
				if got := i.states[tasker.Running]; !slices.Equal(got, ids(0, 40)) || len(i.states) != 1 {
					t.Errorf("recorded %v", i.states)
				}
				if batches > test.most || batches < test.least {
					t.Errorf("%d batches", batches)
				}
				if len(i.pools)+len(i.tasks) > 0 || !isIdle(i.pool) || i.pool.busy() != 0 {
					t.Errorf("%d pools are left, %d slots taken", len(i.pools), i.pool.busy())
				}
			})
		})
	}
}

// Tasks that find no slot in time are recorded as RECEIVED, at once where runs are
// long, and after a moment if runs have become long.
func TestHoldsForAMomentOnly(t *testing.T) {
	for name, test := range map[string]struct {
		before, now time.Duration
		after       time.Duration // when all are recorded
	}{
		"long runs":        {time.Second, time.Hour, 0},
		"suddenly long":    {time.Millisecond, time.Hour, 2 * slotPause},
		"few runs a while": {10 * time.Millisecond, 200 * time.Millisecond, maxHold},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &timed{test.before}
				i := newIntake(t, r, 1, 100)
				for range 20 { // what it has learned is not forgotten at once
					i.pool.turnover.ran(test.before)
				}
				r.run1 = test.now
				i.arrive(0, 30)
				ctx, cancel := context.WithTimeout(t.Context(), test.after+time.Millisecond)
				defer cancel()
				i.run(ctx, 0)
				if n := len(i.states[tasker.Running]) + len(i.states[tasker.Received]); n != 30 || len(i.states[tasker.Received]) == 0 {
					t.Errorf("recorded %v", i.states)
				}
				i.pool.suspend()
				synctest.Wait()
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// A pool with many tasks does not keep those of others from a batch.
func TestHoldingIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10
		h := newHolding(limit)
		r := newBlocking()
		pools := []*pool{poolOf(r, 1), poolOf(r, 1), poolOf(r, 1)}
		id := int64(0)
		for n, p := range pools {
			for range []int{25, 12, 3}[n] {
				id++
				h.add(incoming{pool: p, message: wire.Task{TaskID: id, Type: "job"}}, time.Now())
			}
		}
		var order []int
		for range 4 {
			batch := h.take(time.Now())
			if len(batch) != limit {
				t.Fatalf("a batch of %d", len(batch))
			}
			order = append(order, slices.Index(pools, batch[0].pool), slices.Index(pools, batch[limit-1].pool))
		}
		if want := []int{0, 0, 1, 1, 2, 0, 1, 0}; !slices.Equal(order, want) {
			t.Logf("batches of %v", order)
		}
		if len(h.take(time.Now())) > 0 || len(h.pools) > 0 {
			t.Error("some are left")
		}
	})
}
