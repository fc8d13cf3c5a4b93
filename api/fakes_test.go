package api_test

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
)

var (
	_ api.Dispatcher = (*fakeDispatcher)(nil)
	_ api.Broker     = (*fakeBroker)(nil)
)

// seenWithin is how recently an endpoint was seen that a task for all is for.
const seenWithin = 7 * 24 * time.Hour

// fakeStore keeps everything in memory and fails on demand.
type fakeStore struct {
	mu        sync.Mutex
	now       time.Time
	tasks     []tasker.Task
	results   []tasker.TaskResult
	endpoints []tasker.Endpoint
	tokens    []tasker.EndpointToken // by ID
	hashes    [][]byte               // of the tokens
	letters   []tasker.DeadLetter    // by ID
	attempts  []fakeAttempt          // of results, oldest first
	chunks    []tasker.LogChunk      // in the order in which they became visible
	requeue   error                  // of Requeue
	err       error                  // of every call
	aggregate error                  // of Aggregate
	calls     []string
	canceled  []tasker.CancelRequest
	held      []tasker.HoldRequest
	retried   []tasker.RetryRequest
	payloads  int                // the bytes that ResultsOf returned
	newsAsked []tasker.ResultKey // of ResultNews
	searched  tasker.TaskSearch  // of SearchTasks
	// afterSummary, if set, is called by Summary.
	afterSummary func()
	failPage     int  // which call of ResultPage fails; 0 is none
	failPeek     bool // fails the next call of PeekResultsOf
}

func newFakeStore() *fakeStore {
	return &fakeStore{now: time.Date(2015, 5, 6, 1, 14, 24, 103482000, time.UTC)}
}

func (s *fakeStore) begin(call string) func() {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	return s.mu.Unlock
}

func (s *fakeStore) called(call string) (n int) {
	defer s.begin("called")()
	for _, c := range s.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (s *fakeStore) setError(err error) {
	defer s.begin("setError")()
	s.err = err
}

// update changes the one task of an identifier.
func (s *fakeStore) update(identifier string, change func(*tasker.Task)) {
	defer s.begin("update")()
	for i := range s.tasks {
		if s.tasks[i].Identifier == identifier {
			change(&s.tasks[i])
		}
	}
}

// sameRequest reports whether two tasks are from the same body.
func sameRequest(a, b tasker.Task) bool {
	frozen := a.Select != nil || a.Limit != ""
	return bytes.Equal(a.Payload, b.Payload) && (frozen || slices.Equal(a.Endpoints, b.Endpoints)) &&
		slices.Equal(a.Select, b.Select) && a.Limit == b.Limit && a.Seed == b.Seed && a.Start == b.Start &&
		a.AskedExpiry == b.AskedExpiry && (!a.AskedExpiry || a.Expiry == b.Expiry) &&
		maps.Equal(a.Labels, b.Labels) && a.AskedPriority == b.AskedPriority && (!a.AskedPriority || a.Priority == b.Priority) &&
		a.Topic == b.Topic && a.OnConflict == b.OnConflict
}

func (s *fakeStore) SameTask(_ context.Context, t tasker.Task) (tasker.Task, bool, error) {
	defer s.begin("SameTask")()
	for _, old := range s.tasks {
		if old.Type != t.Type || old.Identifier != t.Identifier {
			continue
		}
		if sameRequest(old, t) {
			return old, true, s.err
		}
		return tasker.Task{}, false, tasker.Errorf(tasker.Conflict, "task %q exists with another body", t.Identifier)
	}
	return tasker.Task{}, false, s.err
}

func (s *fakeStore) CheckTopic(_ context.Context, t tasker.Task) error {
	defer s.begin("CheckTopic")()
	for _, old := range s.tasks {
		if t.Topic != "" && t.OnConflict != tasker.ConflictSupersede && old.Type == t.Type && old.Topic == t.Topic && !old.Status.Final() {
			return tasker.Errorf(tasker.Conflict, "topic %q has a task that has not ended: %q", t.Topic, old.Identifier)
		}
	}
	return s.err
}

func (s *fakeStore) CreateTask(_ context.Context, t tasker.Task) (tasker.Task, bool, error) {
	defer s.begin("CreateTask")()
	if s.err != nil {
		return tasker.Task{}, false, s.err
	}
	for _, old := range s.tasks {
		if old.Type == t.Type && old.Identifier == t.Identifier {
			if sameRequest(old, t) {
				return old, false, nil
			}
			return tasker.Task{}, false, tasker.Errorf(tasker.Conflict, "task %q exists with another body", t.Identifier)
		}
	}
	t.ID = int64(len(s.tasks) + 1)
	t.StartTime, t.LastModifiedTime = s.now, s.now
	if t.Status == tasker.Scheduled {
		t.StartTime, t.AcceptedTime = t.Start.Time(s.now), new(s.now)
	} else {
		t.Status = tasker.Created
	}
	t.Expected, t.Expires = t.Endpoints, t.Expiry.Time(t.StartTime)
	s.tasks = append(s.tasks, t)
	return t, true, nil
}

func (s *fakeStore) Reschedule(_ context.Context, taskType, identifier string, start tasker.Start) (tasker.Task, error) {
	defer s.begin("Reschedule")()
	if s.err != nil {
		return tasker.Task{}, s.err
	}
	for i := range s.tasks {
		t := &s.tasks[i]
		switch {
		case t.Type != taskType || t.Identifier != identifier:
		case t.Status != tasker.Scheduled:
			return *t, tasker.Errorf(tasker.Conflict, "task %q is %s", identifier, t.Status)
		default:
			t.StartTime = start.Time(s.now)
			return *t, nil
		}
	}
	return tasker.Task{}, tasker.Errorf(tasker.NotFound, "task %q not found", identifier)
}

func (s *fakeStore) TaskName(_ context.Context, id int64) (taskType, identifier string, err error) {
	defer s.begin("TaskName")()
	if s.err != nil {
		return "", "", s.err
	}
	if id > int64(len(s.tasks)) {
		return "", "", tasker.Errorf(tasker.NotFound, "task %d not found", id)
	}
	return s.tasks[id-1].Type, s.tasks[id-1].Identifier, nil
}

func (s *fakeStore) FindTask(_ context.Context, taskType, identifier string) (tasker.Task, error) {
	defer s.begin("FindTask")()
	if s.err != nil {
		return tasker.Task{}, s.err
	}
	for _, t := range s.tasks {
		if t.Type == taskType && t.Identifier == identifier {
			return t, nil
		}
	}
	return tasker.Task{}, tasker.Errorf(tasker.NotFound, "task %q of type %q not found", identifier, taskType)
}

func (s *fakeStore) PeekTask(ctx context.Context, taskType, identifier string, maxPayload int64) (tasker.Task, error) {
	task, err := s.FindTask(ctx, taskType, identifier)
	if size := int64(len(task.Payload)); size > maxPayload {
		task.Payload, task.PayloadSize = nil, size
	}
	return task, err
}

func (s *fakeStore) PeekResults(_ context.Context, taskID, maxPayload int64) ([]tasker.TaskResult, error) {
	defer s.begin("Results")()
	var results []tasker.TaskResult
	for _, r := range s.results {
		if r.TaskID != taskID {
			continue
		}
		if size := int64(len(r.Payload)); size > maxPayload {
			r.Payload, r.PayloadSize = nil, size
		}
		results = append(results, r)
	}
	return results, s.err
}

func (s *fakeStore) ViewTask(ctx context.Context, taskType, identifier string) (tasker.Task, error) {
	task, err := s.FindTask(ctx, taskType, identifier)
	task.Payload, task.Expected = nil, nil
	return task, err
}

func (s *fakeStore) ResultPage(_ context.Context, q tasker.ResultQuery) (page []tasker.TaskResult, more bool, err error) {
	defer s.begin("ResultPage")()
	if s.failPage > 0 {
		if s.failPage--; s.failPage == 0 {
			return nil, false, tasker.Errorf(tasker.Unavailable, "the database is away")
		}
	}
	for _, r := range s.results {
		if r.TaskID != q.TaskID || q.State != "" && r.State != q.State || r.Endpoint <= q.After {
			continue
		}
		if len(page) == q.Limit {
			return page, true, s.err
		}
		page = append(page, r)
	}
	return page, false, s.err
}

func (s *fakeStore) MissingEndpoints(_ context.Context, taskID int64, after string, limit int) (missing []string, err error) {
	defer s.begin("MissingEndpoints")()
	for _, name := range s.summary(taskID).Missing {
		if name > after && len(missing) < limit {
			missing = append(missing, name)
		}
	}
	return missing, s.err
}

func (s *fakeStore) Summary(_ context.Context, task tasker.Task, limit int) (tasker.Summary, error) {
	defer s.begin("Summary")()
	summary := s.summary(task.ID)
	summary.Missing = summary.Missing[:min(limit, len(summary.Missing))]
	if s.afterSummary != nil {
		s.afterSummary()
	}
	return summary, s.err
}

func (s *fakeStore) summary(taskID int64) tasker.Summary {
	for _, t := range s.tasks {
		if t.ID == taskID {
			var outcomes []tasker.Outcome
			for _, r := range s.results {
				if r.TaskID == t.ID {
					outcomes = append(outcomes, tasker.Outcome{Endpoint: r.Endpoint, State: r.State})
				}
			}
			return t.Summarize(outcomes)
		}
	}
	return tasker.Summary{}
}

func (s *fakeStore) ResultsOf(_ context.Context, taskID int64, endpoints []string) ([]tasker.TaskResult, error) {
	defer s.begin("ResultsOf")()
	var results []tasker.TaskResult
	for _, r := range s.results {
		if r.TaskID == taskID && slices.Contains(endpoints, r.Endpoint) {
			results = append(results, r)
			s.payloads += len(r.Payload)
		}
	}
	return results, s.err
}

func (s *fakeStore) Aggregate(_ context.Context, taskIDs []int64, wait time.Duration) (int, error) {
	defer s.begin("Aggregate")()
	if s.aggregate != nil {
		return 0, s.aggregate
	}
	changed := 0
	for i := range s.tasks {
		t := &s.tasks[i]
		if !slices.Contains(taskIDs, t.ID) {
			continue
		}
		var outcomes []tasker.Outcome
		for _, r := range s.results {
			if r.TaskID == t.ID {
				outcomes = append(outcomes, tasker.Outcome{Endpoint: r.Endpoint, State: r.State})
			}
		}
		next := tasker.NextStatus(t.Status, t.Summarize(outcomes), t.SentTime != nil && !s.now.Before(t.SentTime.Add(wait)))
		if next != t.Status {
			t.Status, t.LastModifiedTime = next, s.now
			changed++
		}
	}
	return changed, nil
}

func (s *fakeStore) ListTasks(_ context.Context, q tasker.TaskQuery) (tasks []tasker.Task, more bool, err error) {
	defer s.begin("ListTasks")()
	for _, t := range slices.Backward(s.tasks) {
		if t.Type != q.Type || q.Status != "" && t.Status != q.Status || q.Before > 0 && t.ID >= q.Before {
			continue
		}
		if len(tasks) == q.Limit {
			return tasks, true, s.err
		}
		if q.WithoutPayload {
			t.Payload = nil
		}
		tasks = append(tasks, t)
	}
	return tasks, false, s.err
}

func (s *fakeStore) SearchTasks(_ context.Context, q tasker.TaskSearch) (tasks []tasker.Task, next int64, err error) {
	defer s.begin("SearchTasks")()
	s.searched = q
	for _, t := range slices.Backward(s.tasks) {
		if !slices.Contains(q.Types, t.Type) || q.Before > 0 && t.ID >= q.Before || len(q.Statuses) > 0 && !slices.Contains(q.Statuses, t.Status) {
			continue
		}
		if len(tasks) == q.Limit {
			return tasks, tasks[len(tasks)-1].ID, s.err
		}
		t.Payload = nil
		tasks = append(tasks, t)
	}
	return tasks, 0, s.err
}

func (s *fakeStore) CountTasks(_ context.Context, q tasker.TaskSearch) (counts tasker.TaskCounts, err error) {
	defer s.begin("CountTasks")()
	s.searched = q
	for _, t := range s.tasks {
		if slices.Contains(q.Types, t.Type) {
			counts.Total++
		}
	}
	counts.Statuses = []tasker.StatusCount{{Status: tasker.Sent, Count: counts.Total, AtLeast: true}}
	counts.AtLeast = true
	return counts, s.err
}

func (s *fakeStore) ListEndpoints(_ context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error) {
	defer s.begin("ListEndpoints")()
	var endpoints []tasker.Endpoint
	for _, e := range slices.SortedFunc(slices.Values(s.endpoints), func(a, b tasker.Endpoint) int { return strings.Compare(a.Name, b.Name) }) {
		if e.Name > q.After && (q.TaskType == "" || slices.Contains(e.TaskTypes, q.TaskType)) && len(endpoints) < q.Limit &&
			(q.Names == nil || slices.Contains(q.Names, e.Name)) && (!q.Recent || s.now.Sub(e.LastSeen) <= seenWithin) {
			if q.Brief {
				e = tasker.Endpoint{
					Name: e.Name, TaskTypes: e.TaskTypes, Labels: e.Labels, Version: e.Version, LastSeen: e.LastSeen, Alive: e.Alive,
				}
			}
			endpoints = append(endpoints, e)
		}
	}
	return endpoints, s.err
}

func (s *fakeStore) Now() time.Time {
	defer s.begin("Now")()
	return s.now
}

func (s *fakeStore) CheckWrites(ctx context.Context) error { return s.Ping(ctx) }

func (s *fakeStore) Ping(context.Context) error {
	defer s.begin("Ping")()
	return s.err
}

// fakeDispatcher sends at once, or fails on demand, or blocks.
type fakeDispatcher struct {
	store   *fakeStore
	err     error
	refuses error // of Check
	// forgets has an error come without the task.
	forgets bool
	// entered, if set, is sent to when a dispatch begins, which then waits for
	// release.
	entered chan struct{}
	release chan struct{}
}

func (d *fakeDispatcher) Check(context.Context, tasker.Task) error { return d.refuses }

func (d *fakeDispatcher) Dispatch(ctx context.Context, t tasker.Task) (tasker.Task, error) {
	if d.entered != nil {
		d.entered <- struct{}{}
		<-d.release
	}
	if err := ctx.Err(); err != nil {
		return t, err
	}
	if d.err != nil {
		if d.forgets {
			t = tasker.Task{}
		}
		return t, d.err
	}
	sent := d.store.Now()
	d.store.update(t.Identifier, func(stored *tasker.Task) {
		stored.Status, stored.SentTime = tasker.Sent, &sent
		t = *stored
	})
	return t, nil
}

// fakeStarter remembers when tasks are due.
type fakeStarter struct {
	mu       sync.Mutex
	expected []time.Time
}

func (s *fakeStarter) Expect(start time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected = append(s.expected, start)
}

type fakeBroker struct {
	err error
	// listening has one for each call of Listen, to which a test sends events.
	listening chan chan<- []byte
}

func (b *fakeBroker) Ready() error { return b.err }

func (b *fakeBroker) Listen(ctx context.Context, pattern string, handle func(string, []byte)) error {
	events := make(chan []byte)
	if b.listening != nil {
		b.listening <- events
	}
	for {
		select {
		case body := <-events:
			handle(pattern, body)
		case <-ctx.Done():
			return nil
		}
	}
}

// Hold is that of a Holder which finds that console1 runs what is held.
func (s *fakeStore) Hold(_ context.Context, request tasker.HoldRequest) (tasker.HoldOutcome, error) {
	defer s.begin("Hold")()
	if s.err != nil {
		return tasker.HoldOutcome{}, s.err
	}
	if request.Identifier == "ended" || request.Endpoint == "unknown" {
		return tasker.HoldOutcome{}, tasker.Errorf(tasker.Conflict, "it has ended")
	}
	s.held = append(s.held, request)
	hold := tasker.Hold{By: request.By, At: s.now, Reason: request.Reason, Until: request.Until.Time(s.now)}
	running := []string{"console1"}
	if request.Endpoint != "" {
		running = []string{"worker/one", "worker/two"}
	}
	return tasker.HoldOutcome{Hold: hold, Running: running, Waiting: 3, Unaware: []string{"console2"}}, nil
}

// Resume is that of a Holder for which everything is held that was ever held.
func (s *fakeStore) Resume(_ context.Context, subject tasker.HoldSubject) (resumed bool, err error) {
	defer s.begin("Resume")()
	for _, request := range s.held {
		resumed = resumed || request.HoldSubject == subject
	}
	return resumed, s.err
}

func (s *fakeStore) HoldsOf(
	_ context.Context, taskType string, endpoints []string,
) (ofType *tasker.Hold, drains map[string]tasker.Hold, err error) {
	defer s.begin("HoldsOf")()
	drains = map[string]tasker.Hold{}
	for _, request := range s.held {
		hold := tasker.Hold{By: request.By, At: s.now, Reason: request.Reason}
		switch {
		case request.Endpoint != "" && (endpoints == nil || slices.Contains(endpoints, request.Endpoint)):
			drains[request.Endpoint] = hold
		case request.Identifier == "" && request.TaskType == taskType:
			ofType = &hold
		}
	}
	return ofType, drains, s.err
}

func (s *fakeStore) HeldTypes(context.Context) (map[string]tasker.Hold, error) {
	defer s.begin("HeldTypes")()
	held := map[string]tasker.Hold{}
	for _, request := range s.held {
		if request.Endpoint == "" && request.Identifier == "" {
			held[request.TaskType] = tasker.Hold{By: request.By, At: s.now, Reason: request.Reason}
		}
	}
	return held, s.err
}
