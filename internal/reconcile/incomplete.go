package reconcile

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// incomplete finds SENT tasks whose time to be received has passed with an
// endpoint missing. Each task is looked at once, at that moment, since no
// endpoint goes missing later; a process that starts looks at all of them.
type incomplete struct {
	store Store
	wait  time.Duration
	after ledger.SentPosition // the tasks up to here were looked at
}

func (i *incomplete) runOnce(ctx context.Context) error {
	for {
		page, err := i.store.OpenTasks(ctx, tasker.Sent, i.after, i.store.Now().Add(-i.wait), pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		if _, err := i.store.Aggregate(ctx, taskIDs(page), i.wait); err != nil {
			return err
		}
		i.after = page[len(page)-1]
	}
}

func taskIDs(page []ledger.SentPosition) []int64 {
	ids := make([]int64, len(page))
	for i, p := range page {
		ids[i] = p.ID
	}
	return ids
}
