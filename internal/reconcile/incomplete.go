package reconcile

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// incomplete finds SENT tasks that lack an endpoint when the time to receive
// them has passed. It looks at each task once, at that time, since no endpoint
// goes missing later; a process that starts looks at all of them.
type incomplete struct {
	statuses Statuses
	wait     time.Duration
	after    ledger.SentPosition // looked at up to here
}

func (i *incomplete) runOnce(ctx context.Context) error {
	for {
		page, err := i.statuses.OpenTasks(ctx, tasker.Sent, i.after, i.statuses.Now().Add(-i.wait), pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		if _, err := i.statuses.Aggregate(ctx, taskIDs(page), i.wait); err != nil {
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
