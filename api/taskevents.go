package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// taskEventHandlers serve the events of single tasks.
type taskEventHandlers struct {
	types   *taskTypes
	tasks   TaskStore
	store   ResultStore
	live    LiveStore
	db      Database
	reader  *taskReader
	streams *streams
}

// follow serves GET /{task_type}/{identifier}/events: a snapshot, and then what
// changes, until the task has ended and its logs are complete. For a task of many
// endpoints see [largeFeed].
//
// What is sent is the difference between the database and what this client has:
// hints only say when to look. So a slow reader is never behind by more than one
// read, and a lost hint costs time, not correctness.
func (h *taskEventHandlers) follow(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	id, err := resumeFrom(r, func(id string) bool { _, _, ok := logPosition(id); return ok || id == idEnded })
	if err != nil {
		return err
	}
	return h.streams.serve(w, r,
		&taskFeed{taskEventHandlers: h, taskType: taskType, identifier: identifier, resume: id, complete: map[string]bool{}})
}

// taskFeed is the stream of one client: what it has of the task.
type taskFeed struct {
	*taskEventHandlers
	taskType, identifier string
	resume               string // the id of the client's last event; empty if none

	task     tasker.Task // as it was sent
	summary  tasker.Summary
	results  map[string]tasker.TaskResult // by endpoint, without payloads
	first    *client.TaskAnswer           // the snapshot, until it is sent
	log      logFollower
	endedAt  time.Time       // when the task was seen to have ended; zero before
	complete map[string]bool // endpoints whose whole log was sent

	large *largeFeed // takes over for a task of many endpoints, else nil
}

// subscribe implements [feed].
func (f *taskFeed) subscribe() (<-chan struct{}, func()) {
	if f.large != nil {
		return f.large.subscribe()
	}
	hints, leave := f.streams.hub.followTask(taskKey{f.taskType, f.identifier}, 0)
	return hints.wake, leave
}

// look reads the task, without any payload. The error is errMany if it expects more
// than most endpoints; 0 means any number.
func (f *taskFeed) look(ctx context.Context, most int) (answer client.TaskAnswer, err error) {
	err = f.streams.read(ctx, func(ctx context.Context) (err error) {
		answer, err = f.reader.current(ctx, f.taskType, f.identifier, 0, most)
		return err
	})
	return answer, err
}

// begin reads the snapshot. A client that reconnects although it has everything
// gets a 204, on which browsers give up.
func (f *taskFeed) begin(ctx context.Context, out *eventStream) error {
	answer, err := f.look(ctx, manyEndpoints)
	if errors.Is(err, errMany) {
		f.large = &largeFeed{taskEventHandlers: f.taskEventHandlers, taskType: f.taskType, identifier: f.identifier}
		return f.large.begin(ctx, out, f.resume)
	}
	if err != nil {
		return err
	}
	if f.resume == idEnded && answer.Task.Status.Final() {
		out.status = http.StatusNoContent
		return nil
	}
	taskID, after, _ := logPosition(f.resume)
	if taskID != answer.Task.ID {
		after = 0 // from a deleted task of this name
	}
	f.log = newLogFollower(after, f.streams.overlap)
	f.first = &answer
	f.task, f.summary, f.results = answer.Task, answer.Summary, make(map[string]tasker.TaskResult, len(answer.Results))
	if answer.Task.Status.Final() {
		ago := f.db.Now().Sub(answer.Task.LastModifiedTime)
		f.endedAt = f.streams.now().Add(-max(0, ago))
	}
	return nil
}

// sendSnapshot sends the response of a GET in one event, piece by piece, with the
// payloads as they are read. Once it has begun an error ends the stream: the
// client reconnects.
func (f *taskFeed) sendSnapshot(ctx context.Context, out *eventStream, answer client.TaskAnswer) error {
	task := answer.Task
	if task.PayloadSize > 0 {
		release, err := f.streams.payloads.acquire(ctx, task.PayloadSize)
		if err != nil {
			return err
		}
		defer release()
		err = f.streams.read(ctx, func(ctx context.Context) error {
			whole, err := f.tasks.FindTask(ctx, f.taskType, f.identifier)
			task.Payload = whole.Payload
			return err
		})
		if err != nil {
			return err
		}
	}
	out.retry()
	out.head("snapshot", f.id())
	e := answerEncoder{out: out}
	e.begin(task)
	sent := client.TaskAnswer{Task: answer.Task}
	err := f.withPayloads(ctx, answer.Results, func(_, r tasker.TaskResult) {
		e.result(r)
		r.Payload = nil
		f.results[r.Endpoint] = r
		sent.Results = append(sent.Results, r)
	})
	f.reader.summarize(&sent)
	e.end(sent.Summary)
	out.tail()
	f.first, f.summary = nil, sent.Summary
	if err := cmp.Or(err, e.err); err != nil && out.err == nil {
		out.err = err
	}
	return out.err
}

// batchBytes bounds the payloads, in bytes, that a stream reads at once.
const batchBytes = 1 << 20

// withPayloads reads results again, with their payloads, and calls send for each in
// order, with the result as it was seen and as it is now. It reads them in batches
// that are bounded by their bytes.
func (f *taskFeed) withPayloads(ctx context.Context, results []tasker.TaskResult, send func(seen, whole tasker.TaskResult)) error {
	for len(results) > 0 {
		n, size := 1, results[0].PayloadSize
		for n < len(results) && size+results[n].PayloadSize <= batchBytes {
			size += results[n].PayloadSize
			n++
		}
		if err := f.payloadBatch(ctx, results[:n], size, send); err != nil {
			return err
		}
		results = results[n:]
	}
	return nil
}

func (f *taskFeed) payloadBatch(ctx context.Context, results []tasker.TaskResult, size int64,
	send func(seen, whole tasker.TaskResult),
) error {
	release, err := f.streams.payloads.acquire(ctx, size)
	if err != nil {
		return err
	}
	defer release()
	var byEndpoint map[string]*tasker.TaskResult
	if endpoints := leftOut(results); len(endpoints) > 0 {
		err := f.streams.read(ctx, func(ctx context.Context) (err error) {
			byEndpoint, err = f.reader.resultsOf(ctx, f.task.ID, endpoints)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, r := range results {
		if r.PayloadSize == 0 {
			send(r, r)
		} else if whole, ok := byEndpoint[r.Endpoint]; ok {
			send(r, *whole)
		}
	}
	return nil
}

// id is where the client may resume: the task, since another one may get its name
// later, and how far its logs were sent.
func (f *taskFeed) id() string { return fmt.Sprintf("%d-%d", f.task.ID, f.log.settled) }

// logPosition parses such an id.
func logPosition(id string) (taskID, after int64, ok bool) {
	task, chunk, _ := strings.Cut(id, "-")
	taskID, ok = rowID(task)
	if !ok || chunk == "0" {
		return taskID, 0, ok
	}
	after, ok = rowID(chunk)
	return taskID, after, ok
}

func viewTask(t tasker.Task) client.TaskView {
	return client.TaskView{
		ID: t.ID, Identifier: t.Identifier, Type: t.Type, Status: t.Status,
		Endpoints: t.Endpoints, Labels: t.Labels, Select: t.Select, Chosen: t.Chosen, Deliver: t.Deliver,
		Unserved:         t.Unserved,
		RemovedEndpoints: t.RemovedEndpoints, Cancel: t.Cancel, Retry: t.Retry, CreatedBy: t.CreatedBy, Priority: t.Priority,
		Topic: t.Topic, OnConflict: t.OnConflict, Superseded: t.Superseded, Signature: t.Signature,
		Rollout: t.Rollout, Hold: t.Hold, Round: t.Round, RoundTime: t.RoundTime,
		StartTime: t.StartTime, AcceptedTime: t.AcceptedTime, Expires: t.Expires, SentTime: t.SentTime,
		LastModifiedTime: t.LastModifiedTime, Errmsg: t.Errmsg,
	}
}

// refresh implements [feed].
func (f *taskFeed) refresh(ctx context.Context, out *eventStream) (ended bool, err error) {
	if f.large != nil {
		return f.large.refresh(ctx, out)
	}
	if f.first != nil {
		if err := f.sendSnapshot(ctx, out, *f.first); err != nil {
			return false, err
		}
	}
	answer, err := f.look(ctx, 0)
	if tasker.CodeOf(err) == tasker.NotFound || err == nil && answer.Task.ID != f.task.ID {
		out.send("end", idEnded, client.EndEvent{Status: f.task.Status, Deleted: true})
		return true, nil
	}
	if err != nil {
		return false, err
	}
	// The log is read after the state and sent before it, so that it covers at
	// least the state that follows it.
	if err := f.sendLog(ctx, out); err != nil {
		return false, err
	}
	if err := f.sendState(ctx, out, answer); err != nil {
		return false, err
	}
	if !f.task.Status.Final() {
		f.endedAt = time.Time{} // it may have been retried since
		clear(f.complete)
		return false, nil
	}
	if f.endedAt.IsZero() {
		f.endedAt = f.streams.now()
	}
	complete, err := f.logsComplete(ctx)
	if err != nil {
		return false, err
	}
	if !complete && f.streams.now().Before(f.endedAt.Add(f.streams.logWait)) {
		return false, nil
	}
	out.send("end", idEnded, client.EndEvent{Status: f.task.Status, Complete: complete})
	return true, nil
}

// sendState sends what differs from what the client has. It reads the payloads of
// changed results only.
func (f *taskFeed) sendState(ctx context.Context, out *eventStream, answer client.TaskAnswer) error {
	id := f.id()
	var changed []tasker.TaskResult
	for _, result := range answer.Results {
		known, ok := f.results[result.Endpoint]
		switch {
		case !ok || !sameResult(known, result):
			changed = append(changed, result)
		case !sameProgress(known.Progress, result.Progress):
			out.send("progress", id, client.ProgressEvent{Endpoint: result.Endpoint, Attempt: result.Attempt, Progress: result.Progress})
			known.Progress = result.Progress
			f.results[result.Endpoint] = known
		}
	}
	err := f.withPayloads(ctx, changed, func(seen, result tasker.TaskResult) {
		if !sameResult(seen, result) {
			return // it changed meanwhile: the next look sends it, after its log
		}
		out.send("result", id, result)
		result.Payload = nil
		f.results[result.Endpoint] = result
	})
	if err != nil {
		return err
	}
	if !sameTask(&answer.Task, &f.task) || !sameSummary(answer.Summary, f.summary) {
		out.send("task", id, client.TaskEvent{Task: viewTask(answer.Task), Summary: answer.Summary})
	}
	f.task, f.summary = answer.Task, answer.Summary
	return nil
}

// sameResult reports whether two results are equal except for their progress. A
// payload does not change alone.
func sameResult(a, b tasker.TaskResult) bool {
	return a.ID == b.ID && a.State == b.State && a.Attempt == b.Attempt && a.Errnr == b.Errnr && a.Errmsg == b.Errmsg &&
		a.LastModifiedTime.Equal(b.LastModifiedTime)
}

// sameProgress takes a progress that was removed for equal: there is nothing to
// send.
func sameProgress(known, now *tasker.Progress) bool {
	if known == nil || now == nil {
		return now == nil
	}
	return known.Done == now.Done && known.Total == now.Total && known.Message == now.Message && known.Time.Equal(now.Time)
}

// sameSummary ignores the missing endpoints: they change with the numbers only.
func sameSummary(a, b tasker.Summary) bool {
	return a.Expected == b.Expected && a.Received == b.Received && a.Finished == b.Finished && a.Failed == b.Failed &&
		a.Canceled == b.Canceled && a.Lost == b.Lost && a.Held == b.Held && a.Unopened == b.Unopened && a.Untaken == b.Untaken
}

// sameTask reports whether two states of a task are alike in what an event says.
func sameTask(a, b *tasker.Task) bool {
	return a.Status == b.Status && a.Round == b.Round && sameHold(a.Hold, b.Hold) && sameRollout(a.Rollout, b.Rollout) &&
		(a.Superseded == nil) == (b.Superseded == nil)
}

func sameRollout(a, b *tasker.Rollout) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.State == b.State && a.Wave == b.Wave && (a.Since == nil) == (b.Since == nil) && (a.Since == nil || a.Since.Equal(*b.Since))
}

func sameHold(a, b *tasker.Hold) bool {
	return (a == nil) == (b == nil) && (a == nil || a.At.Equal(b.At))
}

// logBatch is how many chunks of logs are read at once, each of at most about 64
// KiB.
const logBatch = 20

// sendLog sends the new lines of all endpoints, one batch at a time.
func (f *taskFeed) sendLog(ctx context.Context, out *eventStream) error {
	now := f.streams.now()
	for after := f.log.from(now, len(f.results)); ctx.Err() == nil && out.err == nil; {
		var chunks []tasker.LogChunk
		err := f.streams.read(ctx, func(ctx context.Context) (err error) {
			chunks, err = f.live.LogChunksAfter(ctx, f.task.ID, after, logBatch)
			return err
		})
		if err != nil {
			return err
		}
		for _, chunk := range chunks {
			after = max(after, chunk.ID)
			if lines := f.log.take(chunk, now); len(lines) > 0 {
				out.send("log", f.id(), client.LogEvent{Endpoint: chunk.Endpoint, Attempt: chunk.Attempt, Lines: lines})
			}
		}
		if len(chunks) < logBatch {
			break
		}
	}
	f.log.settle(now, len(f.results))
	return nil
}

// logsComplete reports whether the logs of all endpoints were sent to their ends.
func (f *taskFeed) logsComplete(ctx context.Context) (bool, error) {
	for endpoint, result := range f.results {
		if f.complete[endpoint] || !f.log.follows(endpoint) {
			continue
		}
		var attempts []tasker.Attempt
		err := f.streams.read(ctx, func(ctx context.Context) (err error) {
			attempts, err = f.store.Attempts(ctx, result.TaskID, endpoint)
			return err
		})
		if err != nil {
			return false, err
		}
		if len(attempts) > 0 {
			last := attempts[len(attempts)-1]
			if !logTotals(last).Complete || f.log.next(endpoint, last.Attempt) < last.Log.Lines {
				return false, nil
			}
		}
		f.complete[endpoint] = true
	}
	return true, nil
}
