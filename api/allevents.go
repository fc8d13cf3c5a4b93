package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

const (
	// maxSnapshot bounds the tasks of a snapshot, for each type and status that
	// is looked through and in all.
	maxSnapshot = 200
	// changesPage is how many changed tasks are read at once.
	changesPage = 200
	// maxShown bounds the tasks that a filtered stream remembers.
	maxShown = 10_000
)

// allEvents answers GET /v1/events: the open tasks, and then what changes. The
// tasks come from the database, so none is missed; of what changed twice between
// two looks the newest is told. Results and progress are read when managers tell
// that they changed, which may be lost.
func (s *Server) allEvents(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	f := &allFeed{s: s, seen: map[int64]time.Time{}, ended: map[int64]time.Time{}, shown: map[int64]bool{}}
	query := r.URL.Query()
	if query.Has("task_type") {
		f.taskType = query.Get("task_type")
		if s.types.Load().byName[f.taskType] == nil {
			errs.add("?task_type", "there is no task type %q: %s lists those that there are", clip(f.taskType, tasker.MaxName), routeTaskTypes)
		}
	}
	if query.Has("status") {
		f.status = tasker.TaskStatus(query.Get("status"))
		if !f.status.Valid() {
			errs.add("?status", "%q is no status: it takes one of %s", clip(query.Get("status"), tasker.MaxName), statusNames())
		}
	}
	if err := errs.err(); err != nil {
		return err
	}
	id, err := resumeFrom(r, func(id string) bool { _, ok := parsePosition(id); return ok })
	if err != nil {
		return err
	}
	f.resume = id
	return s.stream(w, r, f)
}

// allFeed is what one client was told of all tasks.
type allFeed struct {
	s        *Server
	taskType string            // empty for all
	status   tasker.TaskStatus // empty for all
	resume   string            // the id of the last event that the client has; empty for none
	hints    *allHints
	position tasker.ChangePosition
	// seen has the tasks that were told and may be read again, with when they
	// had changed.
	seen map[int64]time.Time
	// ended has those among them that had ended, and held those that are told
	// with the next look: results that were told meanwhile come first.
	ended map[int64]time.Time
	held  []tasker.Task
	// lateLook is when the last look went through all that may have become
	// visible late.
	lateLook time.Time
	// shown has the tasks that a client with a status filter was told.
	shown map[int64]bool
}

// allSnapshot is how things stand.
type allSnapshot struct {
	Tasks []taskView `json:"tasks"` // newest first
	// Truncated tells that there are more.
	Truncated bool `json:"truncated"`
}

// subscribe implements [feed].
func (f *allFeed) subscribe() (<-chan struct{}, func()) {
	hints, leave := f.s.streams.hub.followAll(func(c wire.LiveChange) bool {
		return f.taskType == "" || c.Type == f.taskType
	})
	f.hints = hints
	return hints.wake, leave
}

// begin implements [feed].
func (f *allFeed) begin(ctx context.Context, out *eventStream) error {
	return f.s.streams.read(ctx, func(ctx context.Context) error {
		if err := f.s.store.Ping(ctx); err != nil {
			return err // Now is the database's clock where that was asked
		}
		now := f.s.store.Now()
		f.position.LastModifiedTime = now
		// What lies ahead is none: the database's clock was set back, say, and
		// nothing would be told until then.
		if position, ok := parsePosition(f.resume); ok && !position.LastModifiedTime.After(now) {
			f.position = position
			if oldest := now.Add(-f.s.streams.memory); position.LastModifiedTime.Before(oldest) {
				f.position = tasker.ChangePosition{LastModifiedTime: oldest}
			}
		} else if err := f.knowAll(ctx); err != nil {
			return err
		}
		snapshot, err := f.snapshot(ctx)
		if err != nil {
			return err
		}
		out.retry()
		out.send("snapshot", f.id(), snapshot)
		return nil
	})
}

// knowAll takes all changes so far for told: the snapshot that is read next has
// them. Only what becomes visible later is told.
func (f *allFeed) knowAll(ctx context.Context) error {
	after := tasker.ChangePosition{LastModifiedTime: f.position.LastModifiedTime.Add(-f.s.streams.late)}
	for more := true; more; {
		var err error
		_, after, more, err = f.s.store.ChangedTasks(ctx, after, changesPage, func(p tasker.ChangePosition) bool {
			f.seen[p.ID] = p.LastModifiedTime
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshot reads the newest tasks that are open, or have the status asked for.
func (f *allFeed) snapshot(ctx context.Context) (allSnapshot, error) {
	var tasks []tasker.Task
	truncated := false
	for _, tt := range f.s.types.Load().list {
		if f.taskType != "" && tt.Name != f.taskType {
			continue
		}
		for _, status := range tasker.TaskStatuses() {
			if f.status == "" && status.Final() || f.status != "" && status != f.status {
				continue
			}
			page, more, err := f.s.store.ListTasks(ctx, tasker.TaskQuery{
				Type: tt.Name, Status: status, Limit: maxSnapshot, MaxBytes: maxPageBytes, WithoutPayload: true,
			})
			if err != nil {
				return allSnapshot{}, err
			}
			// No more than the newest are kept, however many types there are.
			tasks = append(tasks, page...)
			slices.SortFunc(tasks, func(a, b tasker.Task) int { return cmp.Compare(b.ID, a.ID) })
			truncated = truncated || more || len(tasks) > maxSnapshot
			tasks = slices.Clip(tasks[:min(len(tasks), maxSnapshot)])
		}
	}
	snapshot := allSnapshot{Tasks: make([]taskView, len(tasks)), Truncated: truncated}
	for i, t := range tasks {
		snapshot.Tasks[i] = viewTask(t)
		f.show(t.ID)
	}
	return snapshot, nil
}

// show remembers that the client knows a task, where a filter will not tell.
func (f *allFeed) show(id int64) {
	if f.status != "" && len(f.shown) < maxShown {
		f.shown[id] = true
	}
}

// resultHint is a result that changed.
type resultHint struct {
	TaskID     int64              `json:"task_id"`
	Type       string             `json:"type"`
	Identifier string             `json:"identifier"`
	Endpoint   string             `json:"endpoint"`
	Attempt    int                `json:"attempt"`
	State      tasker.ResultState `json:"state"`
	Errnr      int                `json:"errnr"`
}

// progressHint is an attempt's progress.
type progressHint struct {
	TaskID     int64            `json:"task_id"`
	Type       string           `json:"type"`
	Identifier string           `json:"identifier"`
	Endpoint   string           `json:"endpoint"`
	Attempt    int              `json:"attempt"`
	Progress   *tasker.Progress `json:"progress"`
}

// leftOutEvent tells that changes were not told.
type leftOutEvent struct {
	Changes int `json:"changes"`
}

// refresh implements [feed]. The stream has no end of its own.
func (f *allFeed) refresh(ctx context.Context, out *eventStream) (ended bool, err error) {
	held := f.held
	f.held = nil
	err = f.tellTasks(ctx, out)
	changes, leftOut := f.hints.take()
	for _, c := range changes {
		if _, over := f.ended[c.TaskID]; over || f.status != "" && !f.shown[c.TaskID] {
			continue
		}
		if c.State != "" {
			out.send("result", "", resultHint{c.TaskID, c.Type, c.Identifier, c.Endpoint, c.Attempt, c.State, c.Errnr})
		}
		if c.Progress != nil {
			out.send("progress", "", progressHint{c.TaskID, c.Type, c.Identifier, c.Endpoint, c.Attempt, c.Progress})
		}
	}
	if leftOut > 0 {
		out.send("left_out", "", leftOutEvent{leftOut})
	}
	for _, t := range held {
		f.ended[t.ID] = t.LastModifiedTime
		f.tellTask(out, t)
	}
	if len(changes) > 0 || len(f.held) > 0 {
		// A result's end is stored before its task's status: look again soon.
		signal(f.hints.wake)
	}
	return false, err
}

// tellTasks sends the tasks that changed, a page at a time. It reads again what
// changed within an overlap of time before the last one seen; from time to time
// within all the time that a change may take to become visible.
func (f *allFeed) tellTasks(ctx context.Context, out *eventStream) error {
	st := f.s.streams
	overlap := st.overlap
	begun := st.now()
	late := begun.Sub(f.lateLook) >= st.lateLook
	if late {
		overlap = st.late
	}
	after := tasker.ChangePosition{LastModifiedTime: f.position.LastModifiedTime.Add(-overlap)}
	for more := true; more && ctx.Err() == nil && out.err == nil; {
		var tasks []tasker.Task
		err := st.read(ctx, func(ctx context.Context) (err error) {
			tasks, after, more, err = f.s.store.ChangedTasks(ctx, after, changesPage, f.knows)
			return err
		})
		if err != nil {
			return err
		}
		for _, t := range tasks {
			f.see(out, t)
		}
	}
	if late {
		f.lateLook = begun
	}
	f.forget()
	return nil
}

// knows reports whether a change was told.
func (f *allFeed) knows(p tasker.ChangePosition) bool {
	changed, ok := f.seen[p.ID]
	return ok && changed.Equal(p.LastModifiedTime)
}

// forget drops what no look will find again.
func (f *allFeed) forget() {
	oldest := f.position.LastModifiedTime.Add(-f.s.streams.late)
	for _, known := range []map[int64]time.Time{f.seen, f.ended} {
		for id, changed := range known {
			if changed.Before(oldest) {
				delete(known, id)
			}
		}
	}
}

// see remembers a task that changed, and sends it, or holds it where it has
// ended.
func (f *allFeed) see(out *eventStream, t tasker.Task) {
	p := tasker.ChangePosition{LastModifiedTime: t.LastModifiedTime, ID: t.ID}
	if f.knows(p) {
		return
	}
	f.seen[t.ID] = t.LastModifiedTime
	if comparePositions(p, f.position) > 0 {
		f.position = p
	}
	if t.Status.Final() {
		f.held = append(f.held, t)
		return
	}
	f.tellTask(out, t)
}

// tellTask sends a task, unless the client did not ask for it. A client with a
// status filter is told when a task that it knows leaves the status.
func (f *allFeed) tellTask(out *eventStream, t tasker.Task) {
	switch {
	case f.taskType != "" && t.Type != f.taskType:
		return
	case f.status == "" || t.Status == f.status:
		f.show(t.ID)
	case f.shown[t.ID]:
		delete(f.shown, t.ID)
	default:
		return
	}
	out.send("task", f.id(), viewTask(t))
}

func comparePositions(a, b tasker.ChangePosition) int {
	return cmp.Or(a.LastModifiedTime.Compare(b.LastModifiedTime), cmp.Compare(a.ID, b.ID))
}

// id is the position as clients resume from it: microseconds and a task.
func (f *allFeed) id() string {
	return fmt.Sprintf("%d-%d", f.position.LastModifiedTime.UnixMicro(), f.position.ID)
}

func parsePosition(id string) (p tasker.ChangePosition, ok bool) {
	micros, task, ok := strings.Cut(id, "-")
	if !ok {
		return p, false
	}
	at, err := strconv.ParseUint(micros, 10, 62)
	if err != nil {
		return p, false
	}
	number, err := strconv.ParseUint(task, 10, 63)
	if err != nil {
		return p, false
	}
	return tasker.ChangePosition{LastModifiedTime: time.UnixMicro(int64(at)).UTC(), ID: int64(number)}, true
}
