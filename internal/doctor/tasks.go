package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

const groupTasks = "tasks"

const (
	// unsentAfter is much longer than a publish and the relay take.
	unsentAfter = time.Minute
	// overdueGrace is how long the reconciler may take to set an overdue task
	// INCOMPLETE.
	overdueGrace = time.Minute
)

// TaskStore is what the checks read of the tasks.
type TaskStore interface {
	Unsent(ctx context.Context, since time.Time) (ledger.Backlog, error)
	// RefusedTasks counts the tasks that the broker refuses, and returns up to
	// limit of them.
	RefusedTasks(ctx context.Context, limit int) (total int, tasks []tasker.RefusedTask, err error)
	Overdue(ctx context.Context, sentUntil time.Time) (ledger.Backlog, error)
	IncompleteTasks(ctx context.Context, limit int) (total int, latest []ledger.IncompleteTask, err error)
	LostResults(ctx context.Context, limit int) (total int, endpoints []string, err error)
	CountDeadLetters(ctx context.Context) (int, error)
	// PausedTypes returns the holds of the task types that are paused.
	PausedTypes(ctx context.Context) (map[string]tasker.Hold, error)
	// WaitingRollouts counts the rollouts that wait for a person, and returns up to limit of
	// their tasks.
	WaitingRollouts(ctx context.Context, limit int) (total int, tasks []tasker.Task, err error)
}

func (e *examination) checkTasks(ctx context.Context) {
	if !e.facts.schema {
		e.skip(groupTasks, "all", "they are in the database")
		return
	}
	db, now := e.Tasks, e.Database.Now
	e.check(ctx, groupTasks, "unsent", func(ctx context.Context) []Finding {
		backlog, err := db.Unsent(ctx, now().Add(-unsentAfter))
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case backlog.Tasks == 0:
			return okay("no task has waited for more than %s to be sent", ago(unsentAfter))
		}
		return one(Problem, "an API must run, and reach RabbitMQ: its log and /readyz say why it does not send them",
			"%s CREATED and not sent, the oldest for %s", areTasks(backlog.Tasks), ago(now().Sub(backlog.Oldest)))
	})
	e.check(ctx, groupTasks, "refused", func(ctx context.Context) []Finding {
		total, tasks, err := db.RefusedTasks(ctx, mostNames)
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case total == 0:
			return okay("RabbitMQ refuses no task")
		}
		return refused(total, tasks)
	})
	e.check(ctx, groupTasks, "overdue", func(ctx context.Context) []Finding {
		backlog, err := db.Overdue(ctx, now().Add(-e.Settings.WaitForEndpoints-overdueGrace))
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case backlog.Tasks == 0:
			return okay("no overdue task is still SENT")
		}
		return one(Problem, "an API must run: its reconciler updates them",
			"%s SENT and past api.wait_for_endpoints_timeout without an endpoint's response, the oldest sent %s ago, and not "+
				"yet INCOMPLETE",
			areTasks(backlog.Tasks), ago(now().Sub(backlog.Oldest)))
	})
	e.checkResults(ctx)
}

// checkResults checks what needs an operator.
func (e *examination) checkResults(ctx context.Context) {
	db := e.Tasks
	e.check(ctx, groupTasks, "dead letters", func(ctx context.Context) []Finding {
		n, err := db.CountDeadLetters(ctx)
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case n == 0:
			return okay("none")
		}
		return one(Warning, "tasker dead-letters list shows the reasons: requeue or discard them", "%s stored", are(n, "dead letter"))
	})
	e.check(ctx, groupTasks, "paused", func(ctx context.Context) []Finding {
		held, err := db.PausedTypes(ctx)
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case len(held) == 0:
			return okay("no task type is paused")
		}
		var list []string
		for _, name := range slices.Sorted(maps.Keys(held)) {
			hold := held[name]
			list = append(list, hold.Describe(name))
		}
		return one(Warning, "tasker resume TYPE lets their tasks start again", "%s paused: %s", are(len(list), "task type"), some(list))
	})
	e.check(ctx, groupTasks, "rollouts", func(ctx context.Context) []Finding {
		total, tasks, err := db.WaitingRollouts(ctx, mostNames)
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case total == 0:
			return okay("no rollout waits for a person")
		}
		return waitingRollouts(total, tasks)
	})
	e.check(ctx, groupTasks, "incomplete", func(ctx context.Context) []Finding {
		total, latest, err := db.IncompleteTasks(ctx, mostNames)
		if err != nil {
			return failed(ctx, err, "")
		}
		return incomplete(total, latest)
	})
	e.check(ctx, groupTasks, "lost", func(ctx context.Context) []Finding {
		total, endpoints, err := db.LostResults(ctx, mostNames+1)
		switch {
		case err != nil:
			return failed(ctx, err, "")
		case total == 0:
			return okay("no result is LOST")
		}
		return one(Warning, "start the managers of these endpoints: then their results return",
			"%s LOST, at %s", are(total, "result"), some(endpoints))
	})
}

// refused returns which tasks RabbitMQ refuses, and why.
func refused(total int, tasks []tasker.RefusedTask) []Finding {
	list := make([]string, len(tasks))
	for i, t := range tasks {
		list[i] = fmt.Sprintf("task %d, %s/%s, after %s: %s", t.ID, t.Type, t.Identifier, count(t.Attempts, "attempt"), t.Reason)
	}
	said := ": "
	if total > len(list) {
		said = fmt.Sprintf(", the oldest %d: ", len(list))
	}
	return one(Problem, "fix the cause, such as the user's permissions or max_message_size: the tasks are sent at their next attempts",
		"%s CREATED and refused by RabbitMQ%s%s", areTasks(total), said, strings.Join(list, "; "))
}

// incomplete returns which tasks wait for which endpoints.
func incomplete(total int, latest []ledger.IncompleteTask) []Finding {
	if total == 0 {
		return okay("no task is INCOMPLETE")
	}
	list := make([]string, 0, len(latest))
	for _, t := range latest {
		var why []string
		if len(t.Missing) > 0 {
			why = append(why, "without "+some(t.Missing))
		}
		if len(t.Lost) > 0 {
			why = append(why, "lost at "+some(t.Lost))
		}
		if why == nil {
			why = []string{"for no endpoint"}
		}
		list = append(list, fmt.Sprintf("%s/%s %s", t.Type, t.Identifier, strings.Join(why, ", ")))
	}
	said := ": "
	if total > len(list) {
		said = fmt.Sprintf(", the latest %d: ", len(list))
	}
	return one(Warning, "start the managers of these endpoints: then the tasks become DONE or FAILED",
		"%s INCOMPLETE%s%s", areTasks(total), said, strings.Join(list, "; "))
}

func areTasks(n int) string { return are(n, "task") }

func are(n int, noun string) string {
	if n == 1 {
		return count(n, noun) + " is"
	}
	return count(n, noun) + " are"
}

func waitingRollouts(total int, tasks []tasker.Task) []Finding {
	var list []string
	for i := range tasks {
		t, r := &tasks[i], tasks[i].Rollout
		what := t.Type + "/" + t.Identifier + " is " + r.State
		if r.Reason != "" {
			what += ": " + r.Reason
		}
		list = append(list, what)
	}
	return one(Warning, "tasker approve, resume or cancel TYPE/IDENTIFIER lets them go on or ends them", "%s waiting for a person: %s",
		are(total, "rollout"), strings.Join(list, "; "))
}
