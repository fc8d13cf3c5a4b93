package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
)

const (
	// purgeTasks and purgeResults bound what one transaction deletes.
	purgeTasks   = 200
	purgeResults = 1000
	// purgeDelay is how long the results of a deleted task stay: longer than
	// any request may take that had read the task before.
	purgeDelay = time.Minute
	// purgePause lies between two transactions, so that deleting takes a part
	// of the database only.
	purgePause = 50 * time.Millisecond
	// maxUnfinished bounds the tasks that a run passes over.
	maxUnfinished = 1000
)

// purge deletes tasks, with their results, whose time to be kept has passed
// since they ended, or since anything happened to them where they are INCOMPLETE;
// and dead letters. All other tasks are kept, however old they are.
type purge struct {
	store Store
	// retention is the time to be kept of each configured type, 0 for ever; it
	// may be exchanged at any time.
	retention  atomic.Pointer[map[string]time.Duration]
	incomplete time.Duration // the time of INCOMPLETE tasks, 0 for ever
	letters    time.Duration // the time of dead letters, 0 for ever
	batch      int           // tasks of a transaction
	pause      time.Duration
	log        *slog.Logger
	told       map[int64]bool // unfinished tasks that the log has
}

func newPurge(store Store, cfg Config, log *slog.Logger) *purge {
	p := &purge{store: store, batch: purgeTasks, pause: purgePause, log: log, told: map[int64]bool{}}
	p.incomplete, p.letters = cfg.IncompleteRetention, cfg.DeadLetterRetention
	p.retention.Store(&cfg.Retention)
	return p
}

// runOnce deletes all that is to be deleted now. What fails for one type does
// not hold up the others.
func (p *purge) runOnce(ctx context.Context) error {
	var errs []error
	for taskType := ""; ; {
		var err error
		if taskType, err = p.store.NextTaskType(ctx, taskType); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if taskType == "" {
			break
		}
		keep, configured := (*p.retention.Load())[taskType]
		if !configured {
			keep = tasker.DefaultRetention
		}
		if keep == 0 {
			continue
		}
		if err := p.tasks(ctx, taskType, keep); err != nil {
			errs = append(errs, fmt.Errorf("delete old tasks of type %s: %w", taskType, err))
		}
		if err := p.stayedIncomplete(ctx, taskType, keep); err != nil {
			errs = append(errs, fmt.Errorf("delete incomplete tasks of type %s: %w", taskType, err))
		}
	}
	return errors.Join(append(errs, p.results(ctx), p.deadLetters(ctx))...)
}

// tasks deletes the tasks of a type that ended longer ago than keep.
func (p *purge) tasks(ctx context.Context, taskType string, keep time.Duration) error {
	var deleted int
	defer func() {
		if deleted > 0 {
			p.log.InfoContext(ctx, "deleted old tasks", "type", taskType, "tasks", deleted, "retention", keep)
		}
	}()
	var passedOver []int64
	for {
		n, unfinished, err := p.store.PurgeTasks(ctx, taskType, p.store.Now().Add(-keep), passedOver, p.batch)
		if err != nil {
			return err
		}
		deleted += n
		p.tell(ctx, taskType, unfinished)
		if passedOver = append(passedOver, unfinished...); len(passedOver) > maxUnfinished {
			return fmt.Errorf("more than %d tasks have ended with results that have not", maxUnfinished)
		}
		if n+len(unfinished) < p.batch {
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// stayedIncomplete deletes the INCOMPLETE tasks of a type that nothing has
// happened to for as long as those are kept, and no shorter than ended ones. The
// log names them: nobody was told before that they end so.
func (p *purge) stayedIncomplete(ctx context.Context, taskType string, keep time.Duration) error {
	if p.incomplete == 0 {
		return nil
	}
	keep = max(keep, p.incomplete)
	for {
		purged, err := p.store.PurgeIncomplete(ctx, taskType, p.store.Now().Add(-keep), p.batch)
		if err != nil {
			return err
		}
		if len(purged) > 0 {
			p.log.WarnContext(ctx, "deleted tasks that stayed INCOMPLETE", "type", taskType, "task_ids", purged, "retention", keep)
		}
		if len(purged) < p.batch {
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// deadLetters deletes the dead letters that were kept long enough.
func (p *purge) deadLetters(ctx context.Context) error {
	if p.letters == 0 {
		return nil
	}
	for {
		n, err := p.store.PurgeDeadLetters(ctx, p.store.Now().Add(-p.letters), purgeTasks)
		if err != nil {
			return fmt.Errorf("delete old dead letters: %w", err)
		}
		if n > 0 {
			p.log.WarnContext(ctx, "deleted old dead letters", "letters", n, "retention", p.letters)
		}
		if n < purgeTasks {
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// tell logs tasks that contradict themselves, each once.
func (p *purge) tell(ctx context.Context, taskType string, unfinished []int64) {
	for _, id := range unfinished {
		if !p.told[id] && len(p.told) < maxUnfinished {
			p.told[id] = true
			p.log.ErrorContext(ctx, "a task has ended and has a result that has not: it is not deleted", "task_id", id, "type", taskType)
		}
	}
}

// results deletes those of tasks that were deleted.
func (p *purge) results(ctx context.Context) error {
	for {
		_, more, err := p.store.PurgeResults(ctx, p.store.Now().Add(-purgeDelay), purgeResults)
		if err != nil || !more {
			return err
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

func (p *purge) wait(ctx context.Context) error {
	select {
	case <-time.After(p.pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
