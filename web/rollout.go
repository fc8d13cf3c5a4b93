package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// The states of rollouts that have not ended.
const (
	rolloutRunning = "RUNNING"
	rolloutSoaking = "SOAKING"
	rolloutWaiting = "WAITING_APPROVAL"
	rolloutHalted  = "HALTED"
	rolloutPaused  = "PAUSED"
)

// waitingStates are those in which a rollout waits for a person.
var waitingStates = []string{rolloutHalted, rolloutWaiting, rolloutPaused}

func isOpenRollout(state string) bool {
	return state == rolloutRunning || state == rolloutSoaking || slices.Contains(waitingStates, state)
}

const (
	// maxWaves is how many waves a page shows.
	maxWaves = 20
	// maxBad is how many bad endpoints a page links to.
	maxBad = 20
)

// rolloutView is the rollout of a task on its page.
type rolloutView struct {
	client.RolloutAnswer
	Path    string // of the page of the task
	Rows    []waveRow
	Hidden  int // waves that are not shown
	Bad     []badEndpoint
	MoreBad int // that are not shown
	Hold    *tasker.Hold
	Seen    string // see seenOf
}

// waveRow is a wave in a table, or all of them.
type waveRow struct {
	tasker.WaveProgress
	Size    int
	HaltsAt int    // 0 if nothing halts it
	Approve string // how it stands with its approval; empty if it needs none
}

// Counts returns the numbers for a bar.
func (w waveRow) Counts() counts {
	c := counts{
		OK: w.Done, Failed: w.Bad, Lost: w.Forgiven, Canceled: w.Canceled, Open: w.Unfinished, Missing: w.Ignored, Unopened: w.Unopened,
	}
	c.Expected = c.OK + c.Failed + c.Lost + c.Canceled + c.Open + c.Missing + c.Unopened
	return c
}

// badEndpoint is an endpoint that counts as bad.
type badEndpoint struct {
	Name    string
	Missing bool // it has not received the task, so it has no result
}

// rollout asks for the rollout of a task. missing are the endpoints without a result.
func (v *visit) rollout(task client.TaskView, missing client.EndpointSet) (*rolloutView, error) {
	answer, err := v.api.Rollout(v.ctx(), task.Type, task.Identifier)
	if err != nil {
		return nil, err
	}
	r := &rolloutView{
		RolloutAnswer: answer, Path: "tasks/" + task.Type + "/" + task.Identifier, Hold: task.Hold, Seen: seenOf(answer),
		MoreBad: max(0, answer.Total.Bad-maxBad),
	}
	r.addWaves()
	without := map[string]bool{}
	if len(answer.Rollout.Bad) > 0 && missing.Count > 0 {
		names, err := missing.Endpoints()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			without[name] = true
		}
	}
	for _, name := range answer.Rollout.Bad[:min(maxBad, len(answer.Rollout.Bad))] {
		r.Bad = append(r.Bad, badEndpoint{name, without[name]})
	}
	return r, nil
}

// addWaves adds the rows of the waves, or of those around the open one if there are many.
func (r *rolloutView) addWaves() {
	n := min(len(r.Rollout.Waves), len(r.Waves))
	first := max(0, min(r.Rollout.Wave-maxWaves/2, n-maxWaves))
	last := min(n, first+maxWaves)
	r.Hidden = n - (last - first)
	for i := first; i < last; i++ {
		plan := r.Rollout.Waves[i]
		row := waveRow{WaveProgress: r.Waves[i], Size: plan.Size, HaltsAt: limitOf(plan.HaltsAt, plan.Size)}
		switch {
		case !plan.Approve:
		case plan.N <= r.Rollout.Wave:
			row.Approve = "given"
		case r.Rollout.State == rolloutWaiting && plan.N == r.Rollout.Wave+1:
			row.Approve = "waits for it"
		default:
			row.Approve = "needed"
		}
		r.Rows = append(r.Rows, row)
	}
}

// limitOf returns a number of bad endpoints that halts; 0 if there are not as many.
func limitOf(haltsAt, size int) int {
	if haltsAt > size {
		return 0
	}
	return haltsAt
}

// All returns the row of all endpoints.
func (r *rolloutView) All() waveRow {
	return waveRow{
		WaveProgress: tasker.WaveProgress{RolloutCounts: r.Total}, Size: r.Rollout.Endpoints,
		HaltsAt: limitOf(r.Rollout.HaltsAt, r.Rollout.Endpoints),
	}
}

// Open reports whether it has started and not ended.
func (r *rolloutView) Open() bool { return isOpenRollout(r.Rollout.State) }

// Halted reports whether too many endpoints were bad.
func (r *rolloutView) Halted() bool { return r.Rollout.State == rolloutHalted }

// Paused reports whether somebody paused it.
func (r *rolloutView) Paused() bool { return r.Rollout.State == rolloutPaused }

// Next returns the wave that waits for an approval; nil if none does.
func (r *rolloutView) Next() *tasker.RolloutWave {
	if r.Rollout.State != rolloutWaiting || r.Rollout.Wave >= len(r.Rollout.Waves) {
		return nil
	}
	return &r.Rollout.Waves[r.Rollout.Wave]
}

// Verb returns the command that continues it; empty if it does not wait.
func (r *rolloutView) Verb() string {
	switch r.Rollout.State {
	case rolloutWaiting:
		return "approve"
	case rolloutHalted, rolloutPaused:
		return "resume"
	}
	return ""
}

// Words says how it stands.
func (r *rolloutView) Words() string {
	rollout := &r.Rollout
	switch rollout.State {
	case "":
		return "begins when the task starts"
	case rolloutSoaking:
		if rollout.Until != nil {
			return r.place() + " has ended: the next one opens " + ago(now().Sub(*rollout.Until))
		}
	case rolloutWaiting:
		if next := r.Next(); next != nil {
			return fmt.Sprintf("wave %s, of %s, waits for an approval", number(next.N), plural(next.Size, "endpoint"))
		}
	case rolloutHalted:
		return rollout.Reason
	case rolloutPaused:
		if r.Hold != nil && r.Hold.Until != nil {
			return "nothing starts until " + utc(*r.Hold.Until)
		}
		return "nothing starts until somebody resumes it"
	case "DONE":
		return "all endpoints have ended"
	}
	return "at " + r.place()
}

// place says how far it is on its way through the endpoints.
func (r *rolloutView) place() string {
	if n := len(r.Rollout.Waves); n > 0 {
		return fmt.Sprintf("wave %s of %s", number(r.Rollout.Wave), number(n))
	}
	all := plural(r.Rollout.Endpoints, "endpoint")
	return fmt.Sprintf("%s of %s, %s at once", number(r.Rollout.Wave), all, number(r.Rollout.MaxConcurrency))
}

// seenOf returns what a form says of the rollout that the person saw who sends it, so that
// it does nothing to another one: a halted rollout is not taken for one that runs, and
// nobody is forgiven whom the page did not count as bad.
func seenOf(a client.RolloutAnswer) string {
	seen, _ := json.Marshal(a.Rollout.Expect()) // texts, a number and a time are always encoded
	return string(seen)
}

// sawRollout returns what a form says of the rollout. A page without one that goes on says
// nothing.
func (v *visit) sawRollout() (*tasker.RolloutExpect, error) {
	expect := &tasker.RolloutExpect{}
	seen := v.r.PostForm.Get("seen")
	if seen == "" {
		expect.State = new("")
		return expect, nil
	}
	if json.Unmarshal([]byte(seen), expect) != nil {
		return nil, tasker.Errorf(tasker.Malformed, "malformed form: send it from the page of the task")
	}
	return expect, nil
}

// approveWave approves the wave that a page showed.
func approveWave(v *visit) error {
	return v.actOnTask(func(taskType, identifier string) error {
		wave, err := strconv.Atoi(v.r.PostForm.Get("wave"))
		if err != nil || wave < 1 {
			return tasker.Errorf(tasker.Invalid, "missing wave: approve it on the page of the task")
		}
		expect, err := v.sawRollout()
		if err != nil {
			return err
		}
		_, err = v.api.Approve(v.ctx(), taskType, identifier, client.Approve{Wave: wave, Reason: v.reason(), Expect: expect})
		return err
	})
}

// resumeTask continues a task that is paused, and its rollout.
func resumeTask(v *visit) error { return v.resumeRollout(false) }

// promoteTask has the rollout of a task wait for no wave and no soak any more.
func promoteTask(v *visit) error { return v.resumeRollout(true) }

func (v *visit) resumeRollout(all bool) error {
	return v.actOnTask(func(taskType, identifier string) error {
		expect, err := v.sawRollout()
		if err != nil {
			return err
		}
		_, err = v.api.ResumeRollout(v.ctx(), taskType, identifier, client.ResumeRollout{All: all, Reason: v.reason(), Expect: expect})
		return err
	})
}

// reason returns the reason in a form that was read.
func (v *visit) reason() string { return text.Visible(strings.TrimSpace(v.r.PostForm.Get("reason"))) }

// actOnTask reads a form, does what it wants of the task in the path, and leads back to the
// page of the task, which says if that was refused.
func (v *visit) actOnTask(do func(taskType, identifier string) error) error {
	taskType, identifier, err := v.task()
	if err == nil {
		err = v.form()
	}
	if err != nil {
		return err
	}
	if err := do(taskType, identifier); err != nil {
		if !refused(err) {
			return err
		}
		f, status := failureOf(err)
		return v.showTask(status, refusal{Detail: f.Detail})
	}
	return v.redirect("tasks/" + taskType + "/" + identifier)
}

// rolloutsPage lists the tasks whose rollouts have not ended.
type rolloutsPage struct {
	Waiting bool // those alone that wait for a person
	Rows    []taskRow
	First   bool
	Next    string
}

func showRollouts(v *visit) error {
	given := v.r.URL.Query()
	p := rolloutsPage{Waiting: given.Get("waiting") == "true", First: !given.Has("cursor")}
	query := url.Values{"limit": {strconv.Itoa(pageRows)}}
	if p.Waiting {
		query["state"] = waitingStates
	}
	if !p.First {
		query.Set("cursor", given.Get("cursor"))
	}
	found, err := get[client.TaskPage[client.TaskView]](v, query, "v1", "rollouts")
	if err != nil {
		return err
	}
	p.Rows, p.Next = v.rows(found.Tasks), value(found.Next)
	out := page{Title: "Rollouts", Section: "tasks", Body: p}
	if p.First {
		out.Events, out.Poll = "events", rolling(p.Rows...)
	}
	return v.show(http.StatusOK, "rollouts", out)
}
