package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/taskerhq/tasker"
)

const (
	// inlinePayload is the size of a payload, in bytes, that is read together
	// with its row. Longer ones are read when there is room for them.
	inlinePayload = 4 << 10
	// maxReadBytes bounds the payloads, in bytes, that all requests of one kind
	// hold at once. A single answer that has more is read alone.
	maxReadBytes = 64 << 20
	// maxPageBytes bounds the payloads and lists, in bytes, of one page.
	maxPageBytes = 4 << 20
	// smallAnswer is the size of the payloads up to which an answer is encoded
	// before it is written, with a Content-Length.
	smallAnswer = 256 << 10
)

// byteGate bounds the bytes that requests hold at once, as [gate] bounds the
// requests: rows say little about memory where a payload may have a megabyte.
type byteGate struct {
	limit    int64
	free     *semaphore.Weighted
	patience time.Duration
}

func newByteGate(limit int64) *byteGate {
	return &byteGate{limit: limit, free: semaphore.NewWeighted(limit), patience: gatePatience}
}

// enter takes room for n bytes, which leave gives back. It waits, but not for
// long; then it returns [tasker.Overloaded], or ctx's error when that ends first.
func (g *byteGate) enter(ctx context.Context, n int64) (leave func(), err error) {
	n = min(n, g.limit)
	if n <= 0 {
		return func() {}, nil
	}
	limited, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	if err := g.free.Acquire(limited, n); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait for other requests: %w", context.Cause(ctx))
		}
		return nil, errOverloaded()
	}
	return func() { g.free.Release(n) }, nil
}

// size returns the bytes of all the payloads of an answer, those that it lacks
// included; 0 where they are too few to count.
func (a *taskAnswer) size() int64 {
	size := int64(len(a.Task.Payload)) + a.Task.PayloadSize
	for i := range a.Results {
		size += int64(len(a.Results[i].Payload)) + a.Results[i].PayloadSize
	}
	if size <= smallAnswer {
		return 0
	}
	return size
}

// leftOut returns the endpoints whose results lack their payloads.
func leftOut(results []tasker.TaskResult) (endpoints []string) {
	for i := range results {
		if results[i].PayloadSize > 0 {
			endpoints = append(endpoints, results[i].Endpoint)
		}
	}
	return endpoints
}

// fill reads the payloads that an answer lacks. Results that changed meanwhile
// are taken as they are then, and the summary and the status with them.
func (s *Server) fill(ctx context.Context, a *taskAnswer) error {
	if a.Task.PayloadSize > 0 {
		task, err := s.store.FindTask(ctx, a.Task.Type, a.Task.Identifier)
		if err != nil {
			return err
		}
		if task.ID != a.Task.ID {
			return tasker.Errorf(tasker.Unavailable, "the task was deleted and another one took its identifier: send the request again")
		}
		a.Task.Payload, a.Task.PayloadSize = task.Payload, 0
	}
	endpoints := leftOut(a.Results)
	if len(endpoints) == 0 {
		return nil
	}
	byEndpoint, err := s.resultsOf(ctx, a.Task.ID, endpoints)
	if err != nil {
		return err
	}
	for i := range a.Results {
		if r, ok := byEndpoint[a.Results[i].Endpoint]; ok {
			a.Results[i] = *r
		}
	}
	// Of a status that is not an end see currentTask.
	if status := s.settle(a); status.Final() {
		a.Task.Status = status
	}
	return nil
}

// resultsOf reads the whole results of some endpoints, by endpoint.
func (s *Server) resultsOf(ctx context.Context, taskID int64, endpoints []string) (map[string]*tasker.TaskResult, error) {
	whole, err := s.store.ResultsOf(ctx, taskID, endpoints)
	if err != nil {
		return nil, err
	}
	byEndpoint := make(map[string]*tasker.TaskResult, len(whole))
	for i := range whole {
		byEndpoint[whole[i].Endpoint] = &whole[i]
	}
	return byEndpoint, nil
}

// settle counts an answer's results, and returns the status that its task must
// have by them.
func (s *Server) settle(a *taskAnswer) tasker.TaskStatus {
	outcomes := make([]tasker.Outcome, len(a.Results))
	for i := range a.Results {
		outcomes[i] = tasker.Outcome{Endpoint: a.Results[i].Endpoint, State: a.Results[i].State}
	}
	a.Summary = a.Task.Summarize(outcomes)
	a.Task.Unserved = a.Task.StillUnserved(outcomes)
	return tasker.NextStatus(a.Task.Status, a.Summary, s.overdue(a.Task))
}

// writeTask answers with a task. A large answer is encoded result by result
// while it is written, so that it is in memory once.
func writeTask(w http.ResponseWriter, a taskAnswer, size int64) error {
	if size == 0 {
		return writeJSON(w, http.StatusOK, a)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, streamPiece)
	e := answerEncoder{out: out}
	e.begin(a.Task)
	for i := range a.Results {
		e.result(a.Results[i])
		a.Results[i].Payload = nil
	}
	e.end(a.Summary)
	e.text("\n")
	if errors.Join(e.err, out.Flush()) != nil {
		// The answer has begun: cut it off, so that nobody takes it for whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// answerEncoder writes a [taskAnswer] piece by piece, so that nobody has it as a
// whole. An error stays.
type answerEncoder struct {
	out     io.Writer
	results int
	err     error
}

func (e *answerEncoder) begin(task tasker.Task) {
	e.text(`{"task":`)
	e.value(task)
	e.text(`,"taskResponseList":[`)
}

func (e *answerEncoder) result(r tasker.TaskResult) {
	if e.results > 0 {
		e.text(",")
	}
	e.results++
	e.value(r)
}

func (e *answerEncoder) end(summary tasker.Summary) {
	e.text(`],"summary":`)
	e.value(summary)
	e.text("}")
}

func (e *answerEncoder) text(s string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.out, s)
	}
}

// value writes a value without the line end that the encoder adds.
func (e *answerEncoder) value(v any) {
	if e.err != nil {
		return
	}
	encoder := json.NewEncoder(noLineEnd{e.out})
	encoder.SetEscapeHTML(false)
	e.err = encoder.Encode(v)
}

// noLineEnd leaves out the line end at the end of each write. An encoder writes
// a value at once.
type noLineEnd struct{ out io.Writer }

func (n noLineEnd) Write(p []byte) (int, error) {
	body := p
	if len(body) > 0 && body[len(body)-1] == '\n' {
		body = body[:len(body)-1]
	}
	if written, err := n.out.Write(body); err != nil {
		return written, err
	}
	return len(p), nil
}
