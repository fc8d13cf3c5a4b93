package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
)

// taskEvents answers GET /{task_type}/{identifier}/events: a snapshot, and
// then what changes, until the task has ended and its logs are whole.
//
// What is sent is the difference between what the database says and what this
// client was told: hints only say when to look. So a slow reader is never
// behind by more than one reading, and a lost hint costs time, not truth.
func (s *Server) taskEvents(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := s.taskName(r)
	if err != nil {
		return err
	}
	id, err := resumeFrom(r, func(id string) bool { _, _, ok := logPosition(id); return ok || id == idEnded })
	if err != nil {
		return err
	}
	return s.stream(w, r, &taskFeed{s: s, r: r, taskType: taskType, identifier: identifier, resume: id, complete: map[string]bool{}})
}

// taskFeed is what one client was told of one task.
type taskFeed struct {
	s                    *Server
	r                    *http.Request
	taskType, identifier string
	resume               string // the id of the last event that the client has; empty for none

	task     tasker.Task // as it was told
	summary  tasker.Summary
	results  map[string]tasker.TaskResult // by endpoint, without payloads
	first    *taskAnswer                  // what the snapshot tells, until it is sent
	log      logFollower
	endedAt  time.Time       // when the task was seen to have ended; zero before
	complete map[string]bool // endpoints of which the whole log was told
}

// subscribe implements [feed].
func (f *taskFeed) subscribe() (<-chan struct{}, func()) {
	hints, leave := f.s.streams.hub.followTask(taskKey{f.taskType, f.identifier})
	return hints.wake, leave
}

// look reads how the task stands, without any payload.
func (f *taskFeed) look(ctx context.Context) (answer taskAnswer, err error) {
	err = f.s.streams.read(ctx, func(ctx context.Context) (err error) {
		answer, err = f.s.currentTask(f.r.WithContext(ctx), f.taskType, f.identifier, 0)
		return err
	})
	return answer, err
}

// begin reads what the snapshot tells. A client that comes again although it was
// told everything is told that with 204, on which browsers give up.
func (f *taskFeed) begin(ctx context.Context, out *eventStream) error {
	answer, err := f.look(ctx)
	if err != nil {
		return err
	}
	if f.resume == idEnded && answer.Task.Status.Final() {
		out.status = http.StatusNoContent
		return nil
	}
	taskID, after, _ := logPosition(f.resume)
	if taskID != answer.Task.ID {
		after = 0 // it is of a task of this name that was deleted
	}
	f.log = newLogFollower(after, f.s.streams.overlap)
	f.first = &answer
	f.task, f.summary, f.results = answer.Task, answer.Summary, make(map[string]tasker.TaskResult, len(answer.Results))
	if answer.Task.Status.Final() {
		ago := f.s.store.Now().Sub(answer.Task.LastModifiedTime)
		f.endedAt = f.s.streams.now().Add(-max(0, ago))
	}
	return nil
}

// tellSnapshot sends the answer of a GET in one event, piece by piece, with the
// payloads as they are read. Once it has begun an error ends the stream: the
// client comes again.
func (f *taskFeed) tellSnapshot(ctx context.Context, out *eventStream, answer taskAnswer) error {
	task := answer.Task
	if task.PayloadSize > 0 {
		leave, err := f.s.streams.bytes.enter(ctx, task.PayloadSize)
		if err != nil {
			return err
		}
		defer leave()
		err = f.s.streams.read(ctx, func(ctx context.Context) error {
			whole, err := f.s.store.FindTask(ctx, f.taskType, f.identifier)
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
	told := taskAnswer{Task: answer.Task}
	err := f.whole(ctx, answer.Results, func(_, r tasker.TaskResult) {
		e.result(r)
		r.Payload = nil
		f.results[r.Endpoint] = r
		told.Results = append(told.Results, r)
	})
	f.s.settle(&told) // counts what was told
	e.end(told.Summary)
	out.tail()
	f.first, f.summary = nil, told.Summary
	if err := cmp.Or(err, e.err); err != nil && out.err == nil {
		out.err = err
	}
	return out.err
}

// batchBytes bounds the payloads, in bytes, that a stream reads at once.
const batchBytes = 1 << 20

// whole gives results that were read without payloads to tell, in order, each
// beside the whole one, as that is now. It reads them in parts that are bounded
// by their bytes.
func (f *taskFeed) whole(ctx context.Context, results []tasker.TaskResult, tell func(seen, whole tasker.TaskResult)) error {
	for len(results) > 0 {
		n, size := 1, results[0].PayloadSize
		for n < len(results) && size+results[n].PayloadSize <= batchBytes {
			size += results[n].PayloadSize
			n++
		}
		if err := f.wholeBatch(ctx, results[:n], size, tell); err != nil {
			return err
		}
		results = results[n:]
	}
	return nil
}

func (f *taskFeed) wholeBatch(ctx context.Context, results []tasker.TaskResult, size int64, tell func(seen, whole tasker.TaskResult)) error {
	leave, err := f.s.streams.bytes.enter(ctx, size)
	if err != nil {
		return err
	}
	defer leave()
	var byEndpoint map[string]*tasker.TaskResult
	if endpoints := leftOut(results); len(endpoints) > 0 {
		err := f.s.streams.read(ctx, func(ctx context.Context) (err error) {
			byEndpoint, err = f.s.resultsOf(ctx, f.task.ID, endpoints)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, r := range results {
		if r.PayloadSize == 0 {
			tell(r, r)
		} else if whole, ok := byEndpoint[r.Endpoint]; ok {
			tell(r, *whole)
		}
	}
	return nil
}

// id is from where the client may resume: the task, since another one may have
// its name later, and how far its logs were told.
func (f *taskFeed) id() string { return fmt.Sprintf("%d-%d", f.task.ID, f.log.settled) }

// logPosition reads such an id.
func logPosition(id string) (taskID, after int64, ok bool) {
	task, chunk, _ := strings.Cut(id, "-")
	taskID, ok = rowID(task)
	if !ok || chunk == "0" {
		return taskID, 0, ok
	}
	after, ok = rowID(chunk)
	return taskID, after, ok
}

// taskEvent is a task that changed, without its payload.
type taskEvent struct {
	Task    taskView       `json:"task"`
	Summary tasker.Summary `json:"summary"`
}

// taskView is a task without its payload.
type taskView struct {
	ID               int64             `json:"id"`
	Identifier       string            `json:"identifier"`
	Type             string            `json:"type"`
	Status           tasker.TaskStatus `json:"status"`
	Endpoints        []string          `json:"endpoints"`
	Unserved         []string          `json:"unserved,omitempty"`
	RemovedEndpoints []string          `json:"removed_endpoints,omitempty"`
	StartTime        time.Time         `json:"start_time"`
	SentTime         *time.Time        `json:"sent_time,omitempty"`
	LastModifiedTime time.Time         `json:"last_modified_time"`
}

func viewTask(t tasker.Task) taskView {
	return taskView{
		ID: t.ID, Identifier: t.Identifier, Type: t.Type, Status: t.Status, Endpoints: t.Endpoints, Unserved: t.Unserved, RemovedEndpoints: t.RemovedEndpoints,
		StartTime: t.StartTime, SentTime: t.SentTime, LastModifiedTime: t.LastModifiedTime,
	}
}

// progressEvent is what an attempt said of its progress.
type progressEvent struct {
	Endpoint string           `json:"endpoint"`
	Attempt  int              `json:"attempt"`
	Progress *tasker.Progress `json:"progress"`
}

// logEvent is a piece of the log of an attempt.
type logEvent struct {
	Endpoint string           `json:"endpoint"`
	Attempt  int              `json:"attempt"`
	Lines    []tasker.LogLine `json:"lines"`
}

// endEvent is the last event of a stream that has told everything.
type endEvent struct {
	Status tasker.TaskStatus `json:"status"` // the last one
	// Deleted tells that the task is not kept any longer.
	Deleted bool `json:"deleted"`
	// Complete tells that the logs were told to their ends.
	Complete bool `json:"complete"`
}

// refresh implements [feed].
func (f *taskFeed) refresh(ctx context.Context, out *eventStream) (ended bool, err error) {
	if f.first != nil {
		if err := f.tellSnapshot(ctx, out, *f.first); err != nil {
			return false, err
		}
	}
	answer, err := f.look(ctx)
	if tasker.CodeOf(err) == tasker.NotFound || err == nil && answer.Task.ID != f.task.ID {
		out.send("end", idEnded, endEvent{Status: f.task.Status, Deleted: true})
		return true, nil
	}
	if err != nil {
		return false, err
	}
	// The log is read after the state and told before it: it goes at least as
	// far as the state that follows it.
	if err := f.tellLog(ctx, out); err != nil {
		return false, err
	}
	if err := f.tellState(ctx, out, answer); err != nil {
		return false, err
	}
	if !f.task.Status.Final() {
		return false, nil
	}
	if f.endedAt.IsZero() {
		f.endedAt = f.s.streams.now()
	}
	whole, err := f.logsWhole(ctx)
	if err != nil {
		return false, err
	}
	if !whole && f.s.streams.now().Before(f.endedAt.Add(f.s.streams.patience)) {
		return false, nil
	}
	out.send("end", idEnded, endEvent{Status: f.task.Status, Complete: whole})
	return true, nil
}

// tellState sends what differs from what the client knows. Payloads are read of
// those results only that changed.
func (f *taskFeed) tellState(ctx context.Context, out *eventStream, answer taskAnswer) error {
	id := f.id()
	var changed []tasker.TaskResult
	for _, result := range answer.Results {
		known, ok := f.results[result.Endpoint]
		switch {
		case !ok || !sameResult(known, result):
			changed = append(changed, result)
		case !sameProgress(known.Progress, result.Progress):
			out.send("progress", id, progressEvent{result.Endpoint, result.Attempt, result.Progress})
			known.Progress = result.Progress
			f.results[result.Endpoint] = known
		}
	}
	err := f.whole(ctx, changed, func(seen, result tasker.TaskResult) {
		if !sameResult(seen, result) {
			return // it changed meanwhile: the next look tells it, behind its log
		}
		out.send("result", id, result)
		result.Payload = nil
		f.results[result.Endpoint] = result
	})
	if err != nil {
		return err
	}
	if answer.Task.Status != f.task.Status || !sameSummary(answer.Summary, f.summary) {
		out.send("task", id, taskEvent{viewTask(answer.Task), answer.Summary})
	}
	f.task, f.summary = answer.Task, answer.Summary
	return nil
}

// sameResult tells whether two results are the same but for their progress. A
// payload does not change alone.
func sameResult(a, b tasker.TaskResult) bool {
	return a.ID == b.ID && a.State == b.State && a.Attempt == b.Attempt && a.Errnr == b.Errnr && a.Errmsg == b.Errmsg &&
		a.LastModifiedTime.Equal(b.LastModifiedTime)
}

// sameProgress takes a progress that is gone for the same: there is nothing to
// tell of it.
func sameProgress(known, now *tasker.Progress) bool {
	if known == nil || now == nil {
		return now == nil
	}
	return known.Done == now.Done && known.Total == now.Total && known.Message == now.Message && known.Time.Equal(now.Time)
}

// sameSummary leaves out who is missing: that changes with the numbers only.
func sameSummary(a, b tasker.Summary) bool {
	return a.Expected == b.Expected && a.Received == b.Received && a.Finished == b.Finished && a.Failed == b.Failed && a.Lost == b.Lost
}

// logPage is how many stored pieces of logs are read at once, each of at most
// some 64 KiB.
const logPage = 20

// tellLog sends the new lines of all endpoints, a page at a time.
func (f *taskFeed) tellLog(ctx context.Context, out *eventStream) error {
	now := f.s.streams.now()
	for after := f.log.from(now, len(f.results)); ctx.Err() == nil && out.err == nil; {
		var chunks []tasker.LogChunk
		err := f.s.streams.read(ctx, func(ctx context.Context) (err error) {
			chunks, err = f.s.store.LogChunksAfter(ctx, f.task.ID, after, logPage)
			return err
		})
		if err != nil {
			return err
		}
		for _, chunk := range chunks {
			after = max(after, chunk.ID)
			if lines := f.log.take(chunk, now); len(lines) > 0 {
				out.send("log", f.id(), logEvent{chunk.Endpoint, chunk.Attempt, lines})
			}
		}
		if len(chunks) < logPage {
			break
		}
	}
	f.log.settle(now, len(f.results))
	return nil
}

// logsWhole tells whether the logs of all endpoints were told to their ends.
func (f *taskFeed) logsWhole(ctx context.Context) (bool, error) {
	for endpoint, result := range f.results {
		if f.complete[endpoint] || !f.log.follows(endpoint) {
			continue
		}
		var attempts []tasker.Attempt
		err := f.s.streams.read(ctx, func(ctx context.Context) (err error) {
			attempts, err = f.s.store.Attempts(ctx, result.TaskID, endpoint)
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
