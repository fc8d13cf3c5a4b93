package store

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
)

// IDs follow the times at which tasks were accepted, so a window of time is one of IDs
// and needs no index of its own. They follow them only nearly: transactions overlap, and
// a clock may be set back. So the IDs bound what is looked at, with room to spare, and
// the times of each task decide.

const (
	// createdTime is when a task was accepted.
	createdTime = "COALESCE(accepted_time, start_time)"
	// createdSlack is by how much the order of IDs and that of times may differ.
	createdSlack = time.Hour
	// maxChanges is how many changes are looked at for the IDs of the tasks that changed
	// in a window of time. Of more, the IDs are not bounded.
	maxChanges = 500_000
)

// idBounds are the IDs of the tasks that a search looks at: at least from, and less
// than before; 0 is no bound.
type idBounds struct{ from, before int64 }

// none is what no task has.
var none = idBounds{from: 1, before: 1}

func (b idBounds) empty() bool { return b.before > 0 && b.from >= b.before }

// above adds a lower bound, and below an upper one.
func (b *idBounds) above(id int64) { b.from = max(b.from, id) }

func (b *idBounds) below(id int64) {
	if id > 0 && (b.before == 0 || id < b.before) {
		b.before = id
	}
}

// searchBounds returns the IDs that tasks within the times of a search can have.
func (s Tasks) searchBounds(ctx context.Context, q tasker.TaskSearch) (bounds idBounds, err error) {
	bounds.below(q.Before)
	if !q.Since.IsZero() {
		changed, err := s.changedIDs(ctx, q.Since, q.Until)
		if err != nil || changed.empty() {
			return changed, err
		}
		bounds.above(changed.from)
		bounds.below(changed.before)
	}
	if !q.CreatedSince.IsZero() {
		id, err := s.firstCreated(ctx, q.CreatedSince.Add(-createdSlack))
		if err != nil {
			return bounds, err
		}
		bounds.above(id)
	}
	until := q.CreatedUntil
	if !q.Until.IsZero() && (until.IsZero() || q.Until.Before(until)) {
		until = q.Until // no task changes before it is accepted
	}
	if !until.IsZero() {
		id, err := s.firstCreated(ctx, until.Add(createdSlack))
		if err != nil {
			return bounds, err
		}
		bounds.below(id)
	}
	return bounds, nil
}

// changedIDs returns the IDs of the tasks whose status changed last at a time or later
// and, unless until is zero, before that.
func (s Tasks) changedIDs(ctx context.Context, since, until time.Time) (idBounds, error) {
	where, values := "last_modified_time >= ?", []any{dbTime{since}}
	if !until.IsZero() {
		where, values = where+" AND last_modified_time < ?", append(values, dbTime{until})
	}
	var found struct{ Changed, Lowest, Highest int64 }
	err := s.conn(ctx).Raw("SELECT COUNT(*) AS changed, COALESCE(MIN(id), 0) AS lowest, COALESCE(MAX(id), 0) AS highest FROM"+
		" (SELECT id FROM tasks WHERE "+where+" ORDER BY last_modified_time LIMIT ?) c", append(values, maxChanges+1)...).
		Scan(&found).Error
	switch {
	case err != nil || found.Changed > maxChanges:
		return idBounds{}, err
	case found.Changed == 0:
		return none, nil
	case until.IsZero():
		return idBounds{from: found.Lowest}, nil // what changes from now on is later, too
	}
	return idBounds{from: found.Lowest, before: found.Highest + 1}, nil
}

// firstCreated returns the ID from which on tasks were accepted at a time or later, by
// halving the IDs: about 30 rows are read. It is more than any task has if none was.
func (s Tasks) firstCreated(ctx context.Context, at time.Time) (int64, error) {
	var ids struct{ Lowest, Highest int64 }
	err := s.conn(ctx).Raw("SELECT COALESCE((SELECT MIN(id) FROM tasks), 1) AS lowest," +
		" COALESCE((SELECT MAX(id) FROM tasks), 0) AS highest").Scan(&ids).Error
	if err != nil {
		return 0, err
	}
	low, high := ids.Lowest, ids.Highest+1 // those before low came earlier, and those from high on did not
	for low < high {
		middle := low + (high-low)/2
		var found []struct {
			ID      int64
			Created dbTime
		}
		err := s.conn(ctx).Raw("SELECT id, "+createdTime+" AS created FROM tasks WHERE id >= ? AND id < ?"+
			" ORDER BY id LIMIT 1", middle, high).Scan(&found).Error
		switch {
		case err != nil:
			return 0, err
		case len(found) > 0 && found[0].Created.Before(at):
			low = found[0].ID + 1
		default:
			high = middle
		}
	}
	return low, nil
}
