package store

import (
	"context"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// catchUpPage limits the open tasks that one call of [Inbox.UnreceivedTasks]
// examines, so that its cost does not depend on how many are open.
const catchUpPage = 500

// endOfTime is later than every stored time.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// UnreceivedTasks returns up to limit tasks of the given types that expect an
// endpoint but have no result of it: their message was lost, or was published
// while the endpoint had no queue. They come without payload and lists of
// endpoints. next is where the following page begins, the zero value after the
// last one; a page may be empty although others follow.
//
// The order is that of [ledger.SentPosition]. First come the CREATED tasks,
// whose message may have been published just before the endpoint's queue was
// bound, then the sent ones: an endpoint that asks after binding its queue
// misses none. Tasks sent before since are skipped; the zero time means none.
func (s Inbox) UnreceivedTasks(
	ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int,
) (tasks []tasker.Task, next ledger.SentPosition, err error) {
	page, err := s.openPage(ctx, since, after, catchUpPage)
	if err != nil {
		return nil, next, s.fail("read the open tasks", err)
	}
	if len(page) == catchUpPage {
		next = page[len(page)-1]
	}
	unreceived, err := s.unreceived(ctx, endpoint, taskTypes, page)
	if err != nil {
		return nil, ledger.SentPosition{}, s.fail("read the tasks not received by the endpoint", err)
	}
	for _, p := range page {
		row, ok := unreceived[p.ID]
		if !ok {
			continue
		}
		if len(tasks) == limit {
			return tasks, position(tasks[limit-1]), nil
		}
		tasks = append(tasks, row.task())
	}
	return tasks, next, nil
}

// openPage returns the positions of up to limit open tasks after a position.
// Each status has its own statement, which reads the index in order and stops
// at the limit. For one condition on several statuses, servers read the whole
// table once a few thousand tasks are open.
func (s Inbox) openPage(ctx context.Context, since time.Time, after ledger.SentPosition, limit int) ([]ledger.SentPosition, error) {
	var page []ledger.SentPosition
	if after.SentTime.IsZero() {
		var err error
		if page, err = s.createdPage(ctx, after.ID, limit); err != nil || len(page) == limit {
			return page, err
		}
		after = ledger.SentPosition{}
	}
	if after.SentTime.Before(since) {
		after = ledger.SentPosition{SentTime: since}
	}
	var sent []ledger.SentPosition
	for _, status := range open {
		positions, err := Statuses(s).OpenTasks(ctx, status, after, endOfTime, limit)
		if err != nil {
			return nil, err
		}
		sent = append(sent, positions...)
	}
	slices.SortFunc(sent, ledger.SentPosition.Compare)
	page = append(page, sent...)
	return page[:min(limit, len(page))], nil
}

func (s Inbox) createdPage(ctx context.Context, afterID int64, limit int) ([]ledger.SentPosition, error) {
	var ids []int64
	// sent_time IS NULL is redundant, but lets the index provide the order.
	err := s.conn(ctx).Model(&taskRow{}).
		Where("status = ? AND sent_time IS NULL AND id > ?", tasker.Created, afterID).
		Order("id").Limit(limit).Pluck("id", &ids).Error
	page := make([]ledger.SentPosition, len(ids))
	for i, id := range ids {
		page[i].ID = id
	}
	return page, err
}

// unreceived returns the tasks of a page that an endpoint has not received. It
// searches the lists of endpoints as stored: names need no escaping in JSON.
func (s Inbox) unreceived(
	ctx context.Context, endpoint string, taskTypes []string, page []ledger.SentPosition,
) (map[int64]*taskRow, error) {
	found := map[int64]*taskRow{}
	name := `"` + endpoint + `"`
	for chunk := range slices.Chunk(page, batchSize) {
		ids := make([]int64, len(chunk))
		for i, p := range chunk {
			ids[i] = p.ID
		}
		var rows []taskRow
		err := s.conn(ctx).Select("id", "type", "identifier", "status", "start_time", "sent_time", "last_modified_time").
			Where("id IN ? AND type IN ? AND status IN ?", ids, taskTypes,
				[]tasker.TaskStatus{tasker.Created, tasker.Sent, tasker.Incomplete}).
			Where("NOT EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = tasks.id AND r.endpoint = ?)", endpoint).
			// A CREATED one without listed endpoints will expect the endpoint.
			Where("(status = ? AND endpoints IS NULL OR INSTR(COALESCE(expected, endpoints), ?) > 0)", tasker.Created, name).
			Where("INSTR(COALESCE(removed_endpoints, ''), ?) = 0", name).
			Find(&rows).Error
		if err != nil {
			return nil, err
		}
		for i := range rows {
			found[rows[i].ID] = &rows[i]
		}
	}
	return found, nil
}

// position returns the position of a task in the order in which tasks were
// sent.
func position(t tasker.Task) ledger.SentPosition {
	if t.SentTime == nil {
		return ledger.SentPosition{ID: t.ID}
	}
	return ledger.SentPosition{SentTime: *t.SentTime, ID: t.ID}
}
