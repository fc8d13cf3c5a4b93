package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gorilla/mux"
	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
)

// createTask answers POST /{task_type}. The stored row is the promise: once it
// is there the task is accepted, whether the broker can be reached or not.
func (s *Server) createTask(w http.ResponseWriter, r *http.Request) error {
	tt, err := s.taskType(r)
	if err != nil {
		return err
	}
	if s.posts.full() {
		return errOverloaded() // before the body is read
	}
	body, release, err := s.readBody(r, s.cfg.MaxBody)
	defer func() { release() }()
	if err != nil {
		return err
	}
	in, err := decodeTask(body)
	if err != nil {
		return err
	}
	if in.identifier == "" {
		in.identifier = ulid.Make().String()
	}
	if limit := s.maxPayload(tt); int64(len(in.payload)) > limit {
		return payloadTooLarge(tt, len(in.payload), limit)
	}
	// Only now: a slow client takes nobody's place.
	leave, err := s.posts.enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	if err := s.checkPayload(r.Context(), tt, in); err != nil {
		return err
	}
	asked := tasker.Task{Type: tt.Name, Identifier: in.identifier, Payload: in.payload, Endpoints: in.endpoints}
	if err := s.dispatcher.Check(asked); err != nil {
		return err
	}
	task, created, err := s.store.CreateTask(r.Context(), asked)
	if err != nil {
		return err
	}
	if !created {
		return writeJSON(w, http.StatusOK, task)
	}
	// The task is accepted: a client that hangs up does not stop it.
	sent, err := s.dispatcher.Dispatch(context.WithoutCancel(r.Context()), task)
	if err != nil {
		s.log.WarnContext(r.Context(), "a task is stored but not sent yet; the relay will send it",
			"err", err, "task_id", task.ID, "type", task.Type, "identifier", task.Identifier, "request_id", requestInfoOf(r).id)
		if sent.ID != task.ID {
			sent = task // nothing newer is known
		}
	}
	w.Header().Set("Location", taskPath(task))
	return writeJSON(w, http.StatusCreated, sent)
}

// taskPath needs no escaping: both names are made of unreserved characters.
func taskPath(t tasker.Task) string { return "/" + t.Type + "/" + t.Identifier }

// leadToTask answers GET /v1/tasks/{id}: it redirects to the task of that id.
func (s *Server) leadToTask(w http.ResponseWriter, r *http.Request) error {
	text := mux.Vars(r)["id"]
	id, ok := rowID(text)
	if !ok {
		return tasker.Errorf(tasker.NotFound, "task %q not found: an id is a positive number", clip(text, tasker.MaxName))
	}
	taskType, identifier, err := s.store.TaskName(r.Context(), id)
	if err != nil {
		return err
	}
	path := taskPath(tasker.Task{Type: taskType, Identifier: identifier})
	w.Header().Set("Location", path)
	return writeJSON(w, http.StatusTemporaryRedirect, struct {
		Location string `json:"location"`
	}{path})
}

// taskAnswer is the whole truth about one task, in the reference's words.
type taskAnswer struct {
	Task    tasker.Task         `json:"task"`
	Results []tasker.TaskResult `json:"taskResponseList"`
	Summary tasker.Summary      `json:"summary"`
}

// getTask answers GET /{task_type}/{identifier}. It computes the status from
// the rows, so that the answer is true however late the reconciler is.
func (s *Server) getTask(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := s.taskName(r)
	if err != nil {
		return err
	}
	answer, err := s.currentTask(r, taskType, identifier, inlinePayload)
	if err != nil {
		return err
	}
	size := answer.size()
	leave, err := s.reads.enter(r.Context(), size)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.fill(r.Context(), &answer); err != nil {
		return err
	}
	return writeTask(w, answer, size)
}

// currentTask reads a task with its results, without payloads longer than
// maxPayload bytes, and has its status stored where the rows are ahead of it.
func (s *Server) currentTask(r *http.Request, taskType, identifier string, maxPayload int64) (taskAnswer, error) {
	answer, status, err := s.readTask(r, taskType, identifier, maxPayload)
	if err != nil {
		return taskAnswer{}, err
	}
	if status != answer.Task.Status && s.aggregate(r, answer.Task, status) {
		// Stored, or the rows moved on meanwhile.
		if answer, status, err = s.readTask(r, taskType, identifier, maxPayload); err != nil {
			return taskAnswer{}, err
		}
	}
	// A status that is not stored may not hold: a lost endpoint comes back, a
	// late one receives the task. What was answered must not go back, so only
	// an end, which the rows themselves do not leave, is told before it is stored.
	if status.Final() {
		answer.Task.Status = status
	}
	return answer, nil
}

// taskName gives the names of a request's task, of which the type is there and
// the task may be.
func (s *Server) taskName(r *http.Request) (taskType, identifier string, err error) {
	tt, err := s.taskType(r)
	if err != nil {
		return "", "", err
	}
	identifier = mux.Vars(r)["identifier"]
	if tasker.ValidateIdentifier(identifier) != nil {
		return "", "", tasker.Errorf(tasker.NotFound, "there is no task %q of type %q", clip(identifier, tasker.MaxName), tt.Name)
	}
	return tt.Name, identifier, nil
}

// readTask reads a task with its results, without payloads longer than
// maxPayload bytes, and computes the status that it must have by them.
func (s *Server) readTask(r *http.Request, taskType, identifier string, maxPayload int64) (answer taskAnswer, status tasker.TaskStatus, err error) {
	task, err := s.store.PeekTask(r.Context(), taskType, identifier, maxPayload)
	if err != nil {
		return taskAnswer{}, "", err
	}
	results, err := s.store.PeekResults(r.Context(), task.ID, maxPayload)
	if err != nil {
		return taskAnswer{}, "", err
	}
	if results == nil {
		results = []tasker.TaskResult{}
	}
	answer = taskAnswer{Task: task, Results: results}
	status = s.settle(&answer)
	return answer, status, nil
}

// overdue tells whether the time in which every endpoint should have received
// the task has passed.
func (s *Server) overdue(t tasker.Task) bool {
	return t.SentTime != nil && !s.store.Now().Before(t.SentTime.Add(s.cfg.WaitForEndpoints))
}

// aggregate has the store catch up with the status just computed, and tells
// whether it could.
func (s *Server) aggregate(r *http.Request, task tasker.Task, status tasker.TaskStatus) bool {
	_, err := s.store.Aggregate(r.Context(), []int64{task.ID}, s.cfg.WaitForEndpoints)
	if err != nil {
		s.log.WarnContext(r.Context(), "the computed status of a task could not be stored; the reconciler will",
			"err", err, "task_id", task.ID, "status", string(status), "request_id", requestInfoOf(r).id)
	}
	return err == nil
}

// taskPage is one page of tasks, each a [taskView] or, where payloads are asked
// for, a [tasker.Task]. Next is the cursor of the page that follows, null on the
// last one.
type taskPage struct {
	Tasks []any   `json:"tasks"`
	Next  *string `json:"next"`
}

// listTasks answers GET /{task_type}, newest first. A page is cut by its bytes,
// too, so that it may be shorter than its limit although others follow.
func (s *Server) listTasks(w http.ResponseWriter, r *http.Request) error {
	tt, err := s.taskType(r)
	if err != nil {
		return err
	}
	var errs inputErrors
	query := r.URL.Query()
	limit := pageLimit(query, &errs)
	q := tasker.TaskQuery{Type: tt.Name, Limit: limit, MaxBytes: maxPageBytes, WithoutPayload: !wantsPayload(query, &errs)}
	if query.Has("status") {
		q.Status = tasker.TaskStatus(query.Get("status"))
		if !q.Status.Valid() {
			errs.add("?status", "%q is no status: it takes one of %s", clip(query.Get("status"), tasker.MaxName), statusNames())
		}
	}
	if query.Has("cursor") {
		q.Before, err = strconv.ParseInt(query.Get("cursor"), 10, 64)
		if err != nil || q.Before < 1 {
			errs.add("?cursor", "the cursor is none that this list gave: take it from \"next\"")
		}
	}
	if err := errs.err(); err != nil {
		return err
	}
	leave, err := s.reads.enter(r.Context(), q.MaxBytes)
	if err != nil {
		return err
	}
	defer leave()
	tasks, more, err := s.store.ListTasks(r.Context(), q)
	if err != nil {
		return err
	}
	page := taskPage{Tasks: make([]any, len(tasks))}
	for i, task := range tasks {
		if page.Tasks[i] = viewTask(task); !q.WithoutPayload {
			page.Tasks[i] = task
		}
	}
	if more && len(tasks) > 0 {
		page.Next = nextPage(w, r, strconv.FormatInt(tasks[len(tasks)-1].ID, 10))
	}
	return writeJSON(w, http.StatusOK, page)
}

// wantsPayload reports whether a list shall have the payloads.
func wantsPayload(query url.Values, errs *inputErrors) bool {
	switch value := query.Get("payload"); {
	case !query.Has("payload") || value == "false":
		return false
	case value != "true":
		errs.add("?payload", "invalid payload: must be true or false")
	}
	return true
}

func statusNames() string {
	var names []string
	for _, status := range tasker.TaskStatuses() {
		names = append(names, string(status))
	}
	return strings.Join(names, ", ")
}

// The sizes of a page.
const (
	defaultPage = 50
	maxPage     = 200
)

func pageLimit(query url.Values, errs *inputErrors) int {
	if !query.Has("limit") {
		return defaultPage
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > maxPage {
		errs.add("?limit", "limit takes a whole number from 1 to %d", maxPage)
		return defaultPage
	}
	return limit
}

// nextPage tells where the next page is, as a Link header and as a cursor.
func nextPage(w http.ResponseWriter, r *http.Request, cursor string) *string {
	query := r.URL.Query()
	query.Set("cursor", cursor)
	next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	return &cursor
}
