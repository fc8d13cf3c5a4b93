package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/observe"
)

// TaskStore holds the tasks.
type TaskStore interface {
	// CreateTask stores a task as CREATED, or as SCHEDULED if t has that Status, with
	// the Type, Identifier, Payload, Endpoints (nil, or sorted and unique), Labels,
	// Select, Limit, Seed, Chosen, Expect, Plan, Start, Expiry and Signature of t, and the Settings of its
	// Rollout. created is false if the
	// same task (same type, identifier and body) is stored already, which it then
	// returns; the same identifier with another body is a [tasker.Conflict].
	CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error)
	// SameTask returns the stored task that CreateTask would return for t, if there
	// is one; the same identifier with another body is a [tasker.Conflict].
	SameTask(ctx context.Context, t tasker.Task) (stored tasker.Task, found bool, err error)
	// CheckTopic returns the [tasker.Conflict] that CreateTask would return for t if it
	// started now, since an older task of its Topic has not ended.
	CheckTopic(ctx context.Context, t tasker.Task) error
	// Reschedule changes when a SCHEDULED task starts, and returns it. The error is
	// [tasker.NotFound], [tasker.Conflict] if it has another status, or
	// [tasker.Invalid] if it would have expired by then.
	Reschedule(ctx context.Context, taskType, identifier string, start tasker.Start) (tasker.Task, error)
	// FindTask returns a task, or a [tasker.NotFound] error. PeekTask leaves out a
	// payload that is longer than maxPayload bytes, and sets PayloadSize.
	FindTask(ctx context.Context, taskType, identifier string) (tasker.Task, error)
	PeekTask(ctx context.Context, taskType, identifier string, maxPayload int64) (tasker.Task, error)
	// ViewTask is FindTask without the payload and Expected.
	ViewTask(ctx context.Context, taskType, identifier string) (tasker.Task, error)
	// TaskName returns the names of the task with an id, or a [tasker.NotFound]
	// error.
	TaskName(ctx context.Context, id int64) (taskType, identifier string, err error)
	// ListTasks returns one page, and whether more follow.
	ListTasks(ctx context.Context, q tasker.TaskQuery) (tasks []tasker.Task, more bool, err error)
	// SearchTasks returns one page, and the ID before which the next one begins, 0 if
	// this is the last. A page may be short although more follow.
	SearchTasks(ctx context.Context, q tasker.TaskSearch) (tasks []tasker.Task, next int64, err error)
	// CountTasks returns how many tasks a search selects, as far as it looks.
	CountTasks(ctx context.Context, q tasker.TaskSearch) (tasker.TaskCounts, error)
	// ChangedTasks returns at most limit tasks, without their payloads, in the
	// order in which they last changed, except those that known reports; the
	// position to continue from; and whether more follow.
	ChangedTasks(ctx context.Context, after tasker.ChangePosition, limit int, known func(tasker.ChangePosition) bool) (tasks []tasker.Task,
		next tasker.ChangePosition, more bool, err error)
}

// Dispatcher sends tasks to the broker.
type Dispatcher interface {
	// Check returns a [tasker.TooLarge] or [tasker.Invalid] error for a task, not
	// stored yet, whose messages are too large for the broker.
	Check(ctx context.Context, t tasker.Task) error
	// Dispatch publishes a CREATED task and marks it SENT, within its own time
	// limit. It returns the newest known state of the task; on an error that
	// stays CREATED and the relay sends it later.
	Dispatch(ctx context.Context, t tasker.Task) (tasker.Task, error)
}

// Starter starts SCHEDULED tasks when they are due.
type Starter interface {
	// Expect tells that a task is due at a time by the database's clock.
	Expect(start time.Time)
}

// taskHandlers serve the tasks.
type taskHandlers struct {
	types      *taskTypes
	store      TaskStore
	chooser    choice.Chooser
	clock      choice.Clock
	plans      *plans
	dispatcher Dispatcher
	starter    Starter
	rollouts   RolloutStore
	reader     *taskReader
	waiter     *waiter
	limits     *limits
	maxBody    int64
	rights     *rights
	created    observe.Counter
	log        *slog.Logger
}

// posted is the answer to a POST: a task or, of a dry run, a plan.
type posted struct {
	status int
	task   tasker.Task
	plan   *client.Plan
}

// create serves POST /{task_type}. The stored row is the promise: once it exists
// the task is accepted, whether or not the broker can be reached.
func (h *taskHandlers) create(w http.ResponseWriter, r *http.Request) error {
	if _, err := preferredWait(r.Header); err != nil {
		return err // before anything is stored
	}
	answer, err := h.post(r)
	switch {
	case err != nil:
		return err
	case answer.plan != nil:
		return writeJSON(w, answer.status, answer.plan)
	case answer.status == http.StatusCreated:
		w.Header().Set("Location", taskPath(answer.task.Type, answer.task.Identifier))
	}
	task := h.waiter.awaitPosted(w, r, answer.task)
	if full := task; h.reader.addRollout(r.Context(), &full) == nil { // the task is stored, whatever this says
		task = full
	}
	return writeJSON(w, answer.status, task)
}

// post accepts a task, or looks at what would be accepted.
func (h *taskHandlers) post(r *http.Request) (posted, error) {
	tt, err := h.types.of(r)
	if err != nil {
		return posted{}, err
	}
	var errs inputErrors
	dry := boolParam(r.URL.Query(), "dry_run", &errs)
	if err := errs.err(); err != nil {
		return posted{}, err
	}
	if h.limits.writes.full() {
		return posted{}, errOverloaded() // before the body is read
	}
	body, free, err := readBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return posted{}, err
	}
	in, err := decodeTask(body)
	if err != nil {
		return posted{}, err
	}
	if in.identifier == "" {
		in.identifier = ulid.Make().String()
	}
	if limit := h.types.maxPayload(tt); int64(len(in.payload)) > limit {
		return posted{}, payloadTooLarge(tt, len(in.payload), limit)
	}
	// Only now: a slow client must not hold a slot.
	release, err := h.limits.writes.acquire(r.Context())
	if err != nil {
		return posted{}, err
	}
	defer release()
	if err := h.checkPayload(r.Context(), tt, in); err != nil {
		return posted{}, err
	}
	task := in.task(tt)
	task.CreatedBy = creator(r)
	if err := verifySignature(&task); err != nil {
		return posted{}, err
	}
	if in.signature != nil || in.where.looks() || !in.when.start.IsZero() || task.AskedExpiry || in.rollout != nil || dry {
		if answer, answered, err := h.look(r.Context(), &in, &task, dry); answered || err != nil {
			return answer, err
		}
	}
	return h.accept(r, task)
}

// look resolves and checks when a task starts and, unless that is later, whom it is
// for. It has the answer if the task exists, since then nothing is chosen again, and
// if nothing is to be stored.
func (h *taskHandlers) look(ctx context.Context, in *taskRequest, task *tasker.Task, dry bool) (answer posted, answered bool, err error) {
	existing, found, err := h.store.SameTask(ctx, *task)
	switch {
	case err != nil:
		return posted{}, false, err
	case found && !dry:
		return posted{status: http.StatusOK, task: existing}, true, nil
	}
	start, err := h.when(in, task)
	if err != nil {
		return posted{}, false, err
	}
	if !dry && !in.choosesNow(start) {
		return posted{}, false, nil
	}
	chosen, digest, err := h.choose(ctx, in, task)
	if err != nil {
		return posted{}, false, err
	}
	if in.freezes() && (dry || start == nil) {
		task.Endpoints, task.Chosen = chosen.Names, &chosen.Chosen
	}
	waves, err := h.waves(ctx, in, task, chosen.Names)
	if err != nil {
		return posted{}, false, err
	}
	if !dry {
		return posted{}, false, nil
	}
	plan, err := h.plan(ctx, in, task, digest, chosen)
	if err != nil {
		return posted{}, false, err
	}
	plan.Exists, plan.StartTime, plan.Rollout = found, start, waves
	return posted{status: http.StatusOK, plan: &plan}, true, h.checkTopic(ctx, task, !found && start == nil)
}

// choosesNow reports whether it is to be known at once whom a task is for that starts at a
// time, nil for now.
func (in *taskRequest) choosesNow(start *time.Time) bool {
	later := start != nil && in.endpoints == nil && in.where.plan == ""
	return !later && (in.where.looks() || in.rollout != nil)
}

// freezes reports whether the endpoints of the task are those that are chosen when it starts.
func (in *taskRequest) freezes() bool {
	return in.where.frozen() || in.rollout != nil && in.endpoints == nil
}

// when returns when a task starts, which its signature must permit; nil means now.
func (h *taskHandlers) when(in *taskRequest, task *tasker.Task) (start *time.Time, err error) {
	now := h.clock.Now()
	if start, err = in.schedule(task, now); err != nil {
		return nil, err
	}
	return start, checkWindow(in.signature, now, start)
}

// checkTopic returns the error with which the topic of a task would refuse it, if it is new
// and starts now.
func (h *taskHandlers) checkTopic(ctx context.Context, task *tasker.Task, begins bool) error {
	if !begins {
		return nil
	}
	return h.store.CheckTopic(ctx, *task)
}

// choose returns whom a task is for now, which must be as planned, and the digest of
// that.
func (h *taskHandlers) choose(ctx context.Context, in *taskRequest, task *tasker.Task) (chosen choice.Choice, digest string, err error) {
	if chosen, err = h.chooser.Choose(ctx, in.request(task.Type)); err != nil {
		return chosen, "", err
	}
	if task.Deliver > 0 && int(task.Deliver) > len(chosen.Names) {
		if in.where.frozen() {
			return chosen, "", tasker.FieldErrorf("/deliver", "too many places: %d, and %d endpoints may take one", task.Deliver,
				len(chosen.Names))
		}
		chosen.Warnings = append(chosen.Warnings, fmt.Sprintf("there are %d places, and %d endpoints that may take one now",
			task.Deliver, len(chosen.Names)))
	}
	digest = choice.Digest(task, chosen.Names)
	return chosen, digest, h.plans.check(in.where.plan, digest, chosen.Names)
}

// waves returns the rollout of a task to some endpoints; nil if it has none.
func (h *taskHandlers) waves(ctx context.Context, in *taskRequest, task *tasker.Task, endpoints []string) (*tasker.Rollout, error) {
	if in.rollout == nil {
		return nil, nil
	}
	return h.rollouts.PlanRollout(ctx, task, endpoints)
}

// plan returns whom a task would be for, and remembers it.
func (h *taskHandlers) plan(
	ctx context.Context, in *taskRequest, task *tasker.Task, digest string, chosen choice.Choice,
) (plan client.Plan, err error) {
	if in.endpoints != nil {
		if chosen.Silent, err = h.chooser.Silent(ctx, chosen.Names); err != nil {
			return plan, err
		}
	}
	if err := h.allowed(ctx, task); err != nil {
		return plan, err
	}
	if err := h.dispatcher.Check(ctx, *task); err != nil {
		return plan, err
	}
	h.plans.remember(digest, chosen.Names)
	return planOf(task, digest, chosen), nil
}

func planOf(task *tasker.Task, digest string, chosen choice.Choice) client.Plan {
	plan := client.Plan{
		Type: task.Type, Plan: digest, Count: len(chosen.Names), Endpoints: chosen.Names, All: task.Endpoints == nil,
		Select: task.Select, Chosen: chosen.Chosen, Deliver: task.Deliver, Lacking: make([]client.LackingEndpoint, len(chosen.Lacking)),
		Silent: append([]string{}, chosen.Silent...), Warnings: append([]string{}, chosen.Warnings...),
	}
	for i, l := range chosen.Lacking {
		plan.Lacking[i] = client.LackingEndpoint(l)
	}
	return plan
}

// allowed returns a [tasker.Forbidden] error unless the principal of a request may run a
// task at all endpoints that it is for.
func (h *taskHandlers) allowed(ctx context.Context, task *tasker.Task) error {
	return h.rights.holdEndpoints(ctx, access.Act{Right: access.Run, Type: task.Type}, task.Endpoints)
}

// accept stores a task, and sends it unless it starts later.
func (h *taskHandlers) accept(r *http.Request, task tasker.Task) (posted, error) {
	if err := h.allowed(r.Context(), &task); err != nil {
		return posted{}, err
	}
	if err := h.dispatcher.Check(r.Context(), task); err != nil {
		return posted{}, err
	}
	task, created, err := h.store.CreateTask(r.Context(), task)
	if err != nil {
		return posted{}, err
	}
	if !created {
		return posted{status: http.StatusOK, task: task}, nil
	}
	h.created.Inc(task.Type)
	if task.Status == tasker.Scheduled {
		h.starter.Expect(task.StartTime)
		return posted{status: http.StatusCreated, task: task}, nil
	}
	return posted{status: http.StatusCreated, task: h.dispatch(r, task)}, nil
}

// dispatch sends a stored task. It is accepted: a client that disconnects does
// not stop it.
func (h *taskHandlers) dispatch(r *http.Request, task tasker.Task) tasker.Task {
	sent, err := h.dispatcher.Dispatch(context.WithoutCancel(r.Context()), task)
	if err != nil {
		h.log.WarnContext(r.Context(), "task stored but not sent: the relay will send it",
			"err", err, "task_id", task.ID, "type", task.Type, "identifier", task.Identifier, "request_id", requestInfoOf(r).id)
		if sent.ID != task.ID {
			return task // nothing newer is known
		}
	}
	return sent
}

// taskPath needs no escaping: both names consist of unreserved characters.
func taskPath(taskType, identifier string) string { return "/" + taskType + "/" + identifier }

// redirect serves GET /v1/tasks/{id}: it redirects to the task with that id.
func (h *taskHandlers) redirect(w http.ResponseWriter, r *http.Request) error {
	text := mux.Vars(r)["id"]
	id, ok := rowID(text)
	if !ok {
		return tasker.Errorf(tasker.NotFound, "task %q not found: an id is a positive number", clip(text, tasker.MaxName))
	}
	taskType, identifier, err := h.store.TaskName(r.Context(), id)
	if err == nil && !mayView(r.Context(), taskType) {
		err = tasker.Errorf(tasker.NotFound, "task %d not found: it never existed, or it was deleted", id)
	}
	if err != nil {
		return err
	}
	path := taskPath(taskType, identifier)
	w.Header().Set("Location", path)
	return writeJSON(w, http.StatusTemporaryRedirect, struct {
		Location string `json:"location"`
	}{path})
}

// get serves GET /{task_type}/{identifier}. It computes the status from the
// results, so that it is correct even if the reconciler is behind.
func (h *taskHandlers) get(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	free, err := h.waiter.acquire(w, r, taskType, identifier, h.limits.reads)
	if err != nil {
		return err
	}
	defer free()
	answer, err := h.reader.current(r.Context(), taskType, identifier, inlinePayload, manyEndpoints)
	if errors.Is(err, errMany) {
		return h.stream(w, r, taskType, identifier)
	}
	if err != nil {
		return err
	}
	size := answerSize(&answer)
	release, err := h.limits.payloads.acquire(r.Context(), size)
	if err != nil {
		return err
	}
	defer release()
	if err := h.reader.fill(r.Context(), &answer); err != nil {
		return err
	}
	return writeTask(w, answer, size)
}

// list serves GET /{task_type}, newest first. A page is bounded by its bytes,
// too: it may be shorter than its limit although more follow.
func (h *taskHandlers) list(w http.ResponseWriter, r *http.Request) error {
	tt, err := h.types.of(r)
	if err != nil {
		return err
	}
	var errs inputErrors
	query := r.URL.Query()
	q := tasker.TaskQuery{
		Type: tt.Name, Limit: pageLimit(query, &errs), MaxBytes: maxPageBytes, WithoutPayload: !boolParam(query, "payload", &errs),
		Before: idCursor(query, &errs),
	}
	if query.Has("status") {
		q.Status = statusParam(query.Get("status"), &errs)
	}
	if err := errs.err(); err != nil {
		return err
	}
	release, err := h.limits.payloads.acquire(r.Context(), q.MaxBytes)
	if err != nil {
		return err
	}
	defer release()
	tasks, more, err := h.store.ListTasks(r.Context(), q)
	if err != nil {
		return err
	}
	var next *string
	if more && len(tasks) > 0 {
		next = nextPage(w, r, strconv.FormatInt(tasks[len(tasks)-1].ID, 10))
	}
	if !q.WithoutPayload {
		return writeJSON(w, http.StatusOK, client.TaskPage[tasker.Task]{Tasks: append([]tasker.Task{}, tasks...), Next: next})
	}
	return writeJSON(w, http.StatusOK, client.TaskPage[client.TaskView]{Tasks: viewTasks(tasks), Next: next})
}

func viewTasks(tasks []tasker.Task) []client.TaskView {
	views := make([]client.TaskView, len(tasks))
	for i, task := range tasks {
		views[i] = viewTask(task)
	}
	return views
}

func statusParam(value string, errs *inputErrors) tasker.TaskStatus {
	status := tasker.TaskStatus(value)
	if !status.Valid() {
		var names []string
		for _, s := range tasker.TaskStatuses() {
			names = append(names, string(s))
		}
		errs.add("?status", "unknown status %q: must be one of %s", clip(value, tasker.MaxName), strings.Join(names, ", "))
	}
	return status
}
