package store

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

// censusStatement counts the open tasks by type and status, the endpoints, the dead
// letters, the holds and the open rollouts. It reads indexes only, of tasks the part with the open ones, and a
// row for each type and status. The ids of tasks grow with their time.
const censusStatement = `SELECT 'tasks' AS kind, c.type AS type, c.status AS status, c.number AS number, t.start_time AS oldest
FROM (SELECT type, status, COUNT(*) AS number, MIN(id) AS oldest_id FROM tasks WHERE type IN ? AND status IN ? GROUP BY type, status) c
JOIN tasks t ON t.id = c.oldest_id
UNION ALL SELECT 'seen', '', '', COUNT(*), NULL FROM endpoints WHERE last_seen >= ?
UNION ALL SELECT 'silent', '', '', COUNT(*), NULL FROM endpoints WHERE last_seen < ?
UNION ALL SELECT 'dead letters', '', '', COUNT(*), NULL FROM dead_letters
UNION ALL SELECT 'drained', '', '', COUNT(*), NULL FROM holds WHERE endpoint IS NOT NULL
UNION ALL SELECT 'paused types', '', '', COUNT(*), NULL FROM holds WHERE task_type IS NOT NULL
UNION ALL SELECT 'paused tasks', '', '', COUNT(*), NULL FROM holds WHERE task_id IS NOT NULL
UNION ALL SELECT 'rollouts', '', state, COUNT(*), NULL FROM rollouts WHERE state IN ? GROUP BY state`

// Census counts the open tasks of some types, the endpoints that were seen since a
// time and those that were not, the dead letters, what is drained and paused, and the
// rollouts that have not ended.
func (s Inspection) Census(ctx context.Context, taskTypes []string, seenSince time.Time) (census ledger.Census, err error) {
	var rows []struct {
		Kind   string
		Type   string
		Status tasker.TaskStatus
		Number int
		Oldest *dbTime
	}
	statuses := []tasker.TaskStatus{tasker.Scheduled, tasker.Created, tasker.Sent, tasker.Incomplete, tasker.Canceling}
	since := s.at(seenSince)
	var going []rollout.State
	for _, state := range rollout.States() {
		if !state.Final() {
			going = append(going, state)
		}
	}
	if err := s.conn(ctx).Raw(censusStatement, taskTypes, statuses, since, since, going).Scan(&rows).Error; err != nil {
		return ledger.Census{}, s.fail("count the tasks and endpoints", err)
	}
	for _, r := range rows {
		switch r.Kind {
		case "rollouts":
			if census.Rollouts == nil {
				census.Rollouts = map[string]int{}
			}
			census.Rollouts[string(r.Status)] = r.Number
		case "seen":
			census.Seen = r.Number
		case "silent":
			census.Silent = r.Number
		case "dead letters":
			census.DeadLetters = r.Number
		case "drained":
			census.Drained = r.Number
		case "paused types":
			census.PausedTypes = r.Number
		case "paused tasks":
			census.PausedTasks = r.Number
		default:
			open := ledger.OpenTasks{Type: r.Type, Status: r.Status, Tasks: r.Number}
			if r.Oldest != nil {
				open.Oldest = r.Oldest.Time
			}
			census.Open = append(census.Open, open)
		}
	}
	return census, nil
}
