package app

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/intake"
	"github.com/taskerhq/tasker/internal/store"
)

// runningIntake is a running [intake.Intake] on a store.
type runningIntake struct {
	*intake.Intake
	store *store.Store
	stop  func() // waits for what is being written
}

// startIntake starts an intake, which runs until its stop is called: what is
// accepted and sent at the end of ctx is still written.
func (s services) startIntake(ctx context.Context) runningIntake {
	in := intake.New(struct {
		store.Tasks
		outbox
	}{s.store.Tasks, outbox{s.store.Outbox}})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in.Run(running)
	}()
	return runningIntake{in, s.store, func() { cancel(); <-ended }}
}

// outbox has the methods of [store.Outbox], one level deeper.
type outbox struct{ store.Outbox }

// tasks returns the store of tasks, whose new ones are written together.
func (r runningIntake) tasks() api.TaskStore { return groupedTasks{r.store.Tasks, r.Intake} }

// outbox returns the store of tasks to send, which are marked together.
func (r runningIntake) outbox() dispatch.Store { return groupedOutbox{r.store.Outbox, r.Intake} }

type groupedTasks struct {
	store.Tasks
	intake *intake.Intake
}

func (g groupedTasks) CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error) {
	return g.intake.CreateTask(ctx, t)
}

type groupedOutbox struct {
	store.Outbox
	intake *intake.Intake
}

func (g groupedOutbox) MarkSent(ctx context.Context, task tasker.Task, unserved []string) (tasker.Task, error) {
	return g.intake.MarkSent(ctx, task, unserved)
}
