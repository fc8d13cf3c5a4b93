package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

const (
	// maxResultEvents bounds the changed results that one look at a large task sends.
	maxResultEvents = 300
	// resultBatch is how many of them are read at once. The error message of one
	// may have 64 KiB.
	resultBatch = 50
)

// largeFeed is the stream of one client that follows a task of more endpoints than
// [manyEndpoints]. Neither what it keeps nor what one look reads and sends grows
// with their number: it sends the numbers of the results, counted by the database,
// and those results, without payloads, that managers report to have changed. Such
// reports may be lost or too many; the numbers are right, and the client may read
// the results in pages. There are no logs and no progress.
type largeFeed struct {
	*taskEventHandlers
	taskType, identifier string

	task    tasker.Task // as it was sent, without its payload
	summary tasker.Summary
	shown   bool // the snapshot was sent
	hints   *taskHints
}

func (f *largeFeed) subscribe() (<-chan struct{}, func()) {
	var leave func()
	f.hints, leave = f.streams.hub.followTask(taskKey{f.taskType, f.identifier}, maxResultEvents)
	return f.hints.wake, leave
}

// begin sends nothing: the snapshot is read after the subscription.
func (f *largeFeed) begin(ctx context.Context, out *eventStream, resume string) (err error) {
	f.task, _, err = f.look(ctx)
	if err == nil && resume == idEnded && f.task.Status.Final() {
		out.status = http.StatusNoContent
	}
	return err
}

// look reads the task without its payload, and counts its results.
func (f *largeFeed) look(ctx context.Context) (task tasker.Task, summary tasker.Summary, err error) {
	err = f.streams.read(ctx, func(ctx context.Context) (err error) {
		task, summary, err = f.reader.summary(ctx, f.taskType, f.identifier)
		return err
	})
	return task, summary, err
}

func (f *largeFeed) refresh(ctx context.Context, out *eventStream) (ended bool, err error) {
	task, summary, err := f.look(ctx)
	if tasker.CodeOf(err) == tasker.NotFound || err == nil && task.ID != f.task.ID {
		out.send("end", idEnded, client.EndEvent{Status: f.task.Status, Deleted: true})
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !f.shown {
		err = f.sendSnapshot(ctx, out, task, summary)
	} else {
		err = f.sendChanges(ctx, out, task, summary)
	}
	if err != nil {
		return false, err
	}
	f.task, f.summary, f.shown = task, summary, true
	if !task.Status.Final() {
		return false, nil
	}
	out.send("end", idEnded, client.EndEvent{Status: task.Status})
	return true, nil
}

// sendSnapshot sends the task and the numbers of its results. If the task has
// ended, a task event precedes it: clients that do not know that results may be
// left out of a snapshot would take them from it, but after such an event they
// get the task.
func (f *largeFeed) sendSnapshot(ctx context.Context, out *eventStream, task tasker.Task, summary tasker.Summary) error {
	whole, release, err := f.whole(ctx)
	if err != nil {
		return err
	}
	defer release()
	if whole.ID != task.ID {
		return errReplaced()
	}
	whole.Status = task.Status
	out.retry()
	if task.Status.Final() {
		f.sendNumbers(out, task, summary)
	}
	out.send("snapshot", f.id(), client.TaskAnswer{
		Task: whole, Results: []tasker.TaskResult{}, Summary: summary, ResultsLeftOut: &summary.Received,
	})
	return out.err
}

// whole reads the task with its payload, once there is memory for it, which release
// frees.
func (f *largeFeed) whole(ctx context.Context) (task tasker.Task, release func(), err error) {
	err = f.streams.read(ctx, func(ctx context.Context) (err error) {
		task, err = f.tasks.PeekTask(ctx, f.taskType, f.identifier, 0)
		return err
	})
	if err != nil {
		return tasker.Task{}, nil, err
	}
	if release, err = f.streams.payloads.acquire(ctx, task.PayloadSize); err != nil {
		return tasker.Task{}, nil, err
	}
	err = f.streams.read(ctx, func(ctx context.Context) (err error) {
		task, err = f.tasks.FindTask(ctx, f.taskType, f.identifier)
		return err
	})
	if err != nil {
		release()
		return tasker.Task{}, nil, err
	}
	return task, release, nil
}

// sendChanges sends the results that have changed, and then their numbers.
func (f *largeFeed) sendChanges(ctx context.Context, out *eventStream, task tasker.Task, summary tasker.Summary) error {
	endpoints, leftOut := f.hints.take()
	var sent int64 // bytes of error messages
	for len(endpoints) > 0 {
		if sent > batchBytes {
			leftOut += len(endpoints)
			break
		}
		part := endpoints[:min(len(endpoints), resultBatch)]
		var results []tasker.TaskResult
		err := f.streams.read(ctx, func(ctx context.Context) (err error) {
			results, err = f.store.PeekResultsOf(ctx, task.ID, part)
			return err
		})
		if err != nil {
			f.hints.drop(len(endpoints) + leftOut)
			return err
		}
		for _, r := range results {
			out.send("result", f.id(), r)
			sent += int64(len(r.Errmsg))
		}
		endpoints = endpoints[len(part):]
	}
	if leftOut > 0 {
		out.send("left_out", "", client.LeftOutEvent{Changes: leftOut})
	}
	if !sameTask(&task, &f.task) || !sameSummary(summary, f.summary) {
		f.sendNumbers(out, task, summary)
	}
	return out.err
}

// sendNumbers sends the status and the summary. The lists of endpoints are in the
// snapshot: they are as long as the task is large.
func (f *largeFeed) sendNumbers(out *eventStream, task tasker.Task, summary tasker.Summary) {
	view := viewTask(task)
	view.Unserved, view.RemovedEndpoints = nil, nil
	if view.Endpoints != nil {
		view.Endpoints = []string{}
	}
	out.send("task", f.id(), client.TaskEvent{Task: view, Summary: summary})
}

// id names the task, since another one may get its name later. There are no logs
// in which to resume.
func (f *largeFeed) id() string { return fmt.Sprintf("%d-0", f.task.ID) }
