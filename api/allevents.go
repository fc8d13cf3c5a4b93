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
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/wire"
)

const (
	// maxSnapshot bounds the tasks of a snapshot, and those read for each type and
	// status.
	maxSnapshot = 200
	// changesPage is how many changed tasks are read at once.
	changesPage = 200
	// maxShown bounds the tasks that a filtered stream remembers.
	maxShown = 10_000
)

// allEventHandlers serve the events of all tasks.
type allEventHandlers struct {
	types   *taskTypes
	tasks   TaskStore
	db      Database
	streams *streams
}

// follow serves GET /v1/events: the open tasks, and then what changes. Tasks come
// from the database, so none is missed; if one changes twice between two looks,
// only the latest state is sent. Results and progress are read when managers
// report a change, and such reports may be lost.
func (h *allEventHandlers) follow(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	f := &allFeed{
		allEventHandlers: h, who: principalOf(r.Context()),
		seen: map[int64]time.Time{}, ended: map[int64]time.Time{}, shown: map[int64]bool{},
	}
	query := r.URL.Query()
	if query.Has("task_type") {
		f.taskType = query.Get("task_type")
		if h.types.load().byName[f.taskType] == nil || !f.sees(f.taskType) {
			errs.add("?task_type", "%v", errNoTaskType(f.taskType))
		}
	}
	if query.Has("status") {
		f.status = statusParam(query.Get("status"), &errs)
	}
	if err := errs.err(); err != nil {
		return err
	}
	id, err := resumeFrom(r, func(id string) bool { _, ok := parsePosition(id); return ok })
	if err != nil {
		return err
	}
	f.resume = id
	return h.streams.serve(w, r, f)
}

// allFeed is the stream of one client: what it has of all tasks.
type allFeed struct {
	*allEventHandlers
	who      access.Principal
	taskType string            // empty for all
	status   tasker.TaskStatus // empty for all
	resume   string            // the id of the client's last event; empty if none
	hints    *allHints
	position tasker.ChangePosition
	// seen has the tasks that were sent and may be read again, and when they
	// changed.
	seen map[int64]time.Time
	// ended has those among them that had ended, and held those to be sent with
	// the next look: results reported in between come first.
	ended map[int64]time.Time
	held  []tasker.Task
	// lateScan is when everything that may have become visible late was last read.
	lateScan time.Time
	// shown has the tasks that were sent to a client with a status filter.
	shown map[int64]bool
}

// sees reports whether the client asked for a task type, and may view it.
func (f *allFeed) sees(taskType string) bool {
	return (f.taskType == "" || taskType == f.taskType) && f.who.Decide(access.Act{Right: access.View, Type: taskType}).Allowed
}

// subscribe implements [feed].
func (f *allFeed) subscribe() (<-chan struct{}, func()) {
	hints, leave := f.streams.hub.followAll(func(c wire.LiveChange) bool {
		return f.sees(c.Type)
	})
	f.hints = hints
	return hints.wake, leave
}

// begin implements [feed].
func (f *allFeed) begin(ctx context.Context, out *eventStream) error {
	return f.streams.read(ctx, func(ctx context.Context) error {
		if err := f.db.Ping(ctx); err != nil {
			return err // Now is the database's time only after it was asked
		}
		now := f.db.Now()
		f.position.LastModifiedTime = now
		// Ignore a position in the future, as after the database's clock was set
		// back: nothing would be sent until then.
		if position, ok := parsePosition(f.resume); ok && !position.LastModifiedTime.After(now) {
			f.position = position
			if oldest := now.Add(-f.streams.memory); position.LastModifiedTime.Before(oldest) {
				f.position = tasker.ChangePosition{LastModifiedTime: oldest}
			}
		} else if err := f.skipAll(ctx); err != nil {
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

// skipAll marks all changes so far as sent: the snapshot that is read next has
// them. Only what becomes visible later is sent.
func (f *allFeed) skipAll(ctx context.Context) error {
	after := tasker.ChangePosition{LastModifiedTime: f.position.LastModifiedTime.Add(-f.streams.late)}
	for more := true; more; {
		var err error
		_, after, more, err = f.tasks.ChangedTasks(ctx, after, changesPage, func(p tasker.ChangePosition) bool {
			f.seen[p.ID] = p.LastModifiedTime
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshot reads the newest tasks that are open, or have the requested status.
func (f *allFeed) snapshot(ctx context.Context) (client.TaskSnapshot, error) {
	var tasks []tasker.Task
	truncated := false
	for _, tt := range f.types.load().list {
		if !f.sees(tt.Name) {
			continue
		}
		for _, status := range tasker.TaskStatuses() {
			if f.status == "" && status.Final() || f.status != "" && status != f.status {
				continue
			}
			page, more, err := f.tasks.ListTasks(ctx, tasker.TaskQuery{
				Type: tt.Name, Status: status, Limit: maxSnapshot, MaxBytes: maxPageBytes, WithoutPayload: true,
			})
			if err != nil {
				return client.TaskSnapshot{}, err
			}
			// Keep only the newest, however many types there are.
			tasks = append(tasks, page...)
			slices.SortFunc(tasks, func(a, b tasker.Task) int { return cmp.Compare(b.ID, a.ID) })
			truncated = truncated || more || len(tasks) > maxSnapshot
			tasks = slices.Clip(tasks[:min(len(tasks), maxSnapshot)])
		}
	}
	snapshot := client.TaskSnapshot{Tasks: make([]client.TaskView, len(tasks)), Truncated: truncated}
	for i, t := range tasks {
		snapshot.Tasks[i] = viewTask(t)
		f.show(t.ID)
	}
	return snapshot, nil
}

// show remembers that a client with a status filter has a task.
func (f *allFeed) show(id int64) {
	if f.status != "" && len(f.shown) < maxShown {
		f.shown[id] = true
	}
}

// refresh implements [feed]. The stream does not end by itself.
func (f *allFeed) refresh(ctx context.Context, out *eventStream) (ended bool, err error) {
	held := f.held
	f.held = nil
	err = f.sendTasks(ctx, out)
	changes, leftOut := f.hints.take()
	for _, c := range changes {
		if _, over := f.ended[c.TaskID]; over || f.status != "" && !f.shown[c.TaskID] {
			continue
		}
		if c.State != "" {
			out.send("result", "", client.ResultHint{
				TaskID: c.TaskID, Type: c.Type, Identifier: c.Identifier, Endpoint: c.Endpoint, Attempt: c.Attempt,
				State: c.State, Errnr: c.Errnr,
			})
		}
		if c.Progress != nil {
			out.send("progress", "", client.ProgressHint{
				TaskID: c.TaskID, Type: c.Type, Identifier: c.Identifier, Endpoint: c.Endpoint, Attempt: c.Attempt, Progress: c.Progress,
			})
		}
	}
	if leftOut > 0 {
		out.send("left_out", "", client.LeftOutEvent{Changes: leftOut})
	}
	for _, t := range held {
		if changed := f.seen[t.ID]; changed.After(t.LastModifiedTime) {
			continue // it was retried: that is sent already
		}
		f.ended[t.ID] = t.LastModifiedTime
		f.sendTask(out, t)
	}
	if len(changes) > 0 || len(f.held) > 0 {
		// A result's end is stored before its task's status: look again soon.
		f.hints.wake.Raise()
	}
	return false, err
}

// sendTasks sends the tasks that changed, one page at a time. It reads again what
// changed within an overlap of time before the last one seen; every lateScan,
// within all the time that a change may take to become visible.
func (f *allFeed) sendTasks(ctx context.Context, out *eventStream) error {
	st := f.streams
	overlap := st.overlap
	begun := st.now()
	late := begun.Sub(f.lateScan) >= st.lateScan
	if late {
		overlap = st.late
	}
	after := tasker.ChangePosition{LastModifiedTime: f.position.LastModifiedTime.Add(-overlap)}
	for more := true; more && ctx.Err() == nil && out.err == nil; {
		var tasks []tasker.Task
		err := st.read(ctx, func(ctx context.Context) (err error) {
			tasks, after, more, err = f.tasks.ChangedTasks(ctx, after, changesPage, f.knows)
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
		f.lateScan = begun
	}
	f.forget()
	return nil
}

// knows reports whether a change was sent.
func (f *allFeed) knows(p tasker.ChangePosition) bool {
	changed, ok := f.seen[p.ID]
	return ok && changed.Equal(p.LastModifiedTime)
}

// forget drops what will not be read again.
func (f *allFeed) forget() {
	oldest := f.position.LastModifiedTime.Add(-f.streams.late)
	for _, known := range []map[int64]time.Time{f.seen, f.ended} {
		for id, changed := range known {
			if changed.Before(oldest) {
				delete(known, id)
			}
		}
	}
}

// see remembers a task that changed, and sends it, or holds it if it has ended.
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
	delete(f.ended, t.ID) // it may have been retried
	f.sendTask(out, t)
}

// sendTask sends a task if the client asked for it. A client with a status filter
// also gets a task that it has when that leaves the status.
func (f *allFeed) sendTask(out *eventStream, t tasker.Task) {
	switch {
	case !f.sees(t.Type):
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

// id is the position that clients resume from: microseconds and a task.
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
