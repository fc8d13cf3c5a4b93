package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// purgeTasks and purgeResults limit what one transaction deletes.
	purgeTasks   = 200
	purgeResults = 1000
	// purgeDelay is how long the results of a deleted task stay: longer than
	// any request that read the task before.
	purgeDelay = time.Minute
	// purgePause is the pause between two transactions, to leave the database
	// to others.
	purgePause = 50 * time.Millisecond
	// maxUnfinished limits the tasks that one run skips.
	maxUnfinished = 1000
)

// Retention deletes tasks.
type Retention interface {
	NextTaskType(ctx context.Context, after string) (string, error)
	PurgeTasks(
		ctx context.Context, taskType string, endedBefore time.Time, except []int64, limit int,
	) (purged int, unfinished []int64, err error)
	PurgeIncomplete(ctx context.Context, taskType string, unchangedSince time.Time, limit int) (purged []int64, err error)
	PurgeResults(ctx context.Context, purgedBefore time.Time, limit int) (deleted int, more bool, err error)
	Now() time.Time
}

// purge deletes tasks, with their results, when their retention has passed
// since they ended, or since anything happened to them if they are INCOMPLETE;
// and dead letters. It keeps all other tasks, however old they are.
type purge struct {
	store  Retention
	stored DeadLetters
	// retention is the retention of each configured type, 0 for ever; it may be
	// replaced at any time.
	retention  atomic.Pointer[map[string]time.Duration]
	incomplete time.Duration // the retention of INCOMPLETE tasks, 0 for ever
	letters    time.Duration // the retention of dead letters, 0 for ever
	batch      int           // tasks per transaction
	pause      time.Duration
	log        *slog.Logger
	logged     map[int64]bool // unfinished tasks that were logged
}

func newPurge(store Retention, stored DeadLetters, cfg Config, log *slog.Logger) *purge {
	p := &purge{store: store, stored: stored, batch: purgeTasks, pause: purgePause, log: log, logged: map[int64]bool{}}
	p.incomplete, p.letters = cfg.IncompleteRetention, cfg.DeadLetterRetention
	p.retention.Store(&cfg.Retention)
	return p
}

// runOnce deletes all that is due. A failure for one type does not hold up the
// others.
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
		p.report(ctx, taskType, unfinished)
		if passedOver = append(passedOver, unfinished...); len(passedOver) > maxUnfinished {
			return fmt.Errorf("more than %d tasks have ended but have unfinished results", maxUnfinished)
		}
		if n+len(unfinished) < p.batch {
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// stayedIncomplete deletes the INCOMPLETE tasks of a type to which nothing has
// happened for their retention, which is at least that of ended ones. It logs
// their ids: nobody was told before that they end this way.
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

// deadLetters deletes the dead letters whose retention has passed.
func (p *purge) deadLetters(ctx context.Context) error {
	if p.letters == 0 {
		return nil
	}
	for {
		n, err := p.stored.PurgeDeadLetters(ctx, p.store.Now().Add(-p.letters), purgeTasks)
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

// report logs tasks in an impossible state, each once.
func (p *purge) report(ctx context.Context, taskType string, unfinished []int64) {
	for _, id := range unfinished {
		if !p.logged[id] && len(p.logged) < maxUnfinished {
			p.logged[id] = true
			p.log.ErrorContext(ctx, "task not deleted: it has ended but has an unfinished result", "task_id", id, "type", taskType)
		}
	}
}

// results deletes the results of deleted tasks.
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
	return clock.Sleep(ctx, p.pause)
}
