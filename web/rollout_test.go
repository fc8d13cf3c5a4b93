package web_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// roll creates a task with a rollout, in the order of the endpoints' names, and waits until
// that has a state.
func (b *browser) roll(taskType, identifier string, rollout client.NewRollout, state string) {
	b.t.Helper()
	rollout.Order = "name"
	_, _, err := b.api.CreateTask(b.t.Context(), taskType, client.NewTask{Identifier: identifier, Rollout: &rollout})
	if err != nil {
		b.t.Fatal(err)
	}
	b.rolled(taskType, identifier, state)
}

// rolled asks the API for a rollout until it has a state, and returns it.
func (b *browser) rolled(taskType, identifier, state string) tasker.Rollout {
	b.t.Helper()
	late := time.After(time.Minute)
	for {
		got, err := b.api.Rollout(b.t.Context(), taskType, identifier)
		if err != nil {
			b.t.Fatal(err)
		}
		if got.Rollout.State == state {
			return got.Rollout
		}
		if got.Rollout.State == "DONE" || got.Rollout.State == "CANCELED" {
			b.t.Fatalf("the rollout of %s/%s is %s, want %s", taskType, identifier, got.Rollout.State, state)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			b.t.Fatalf("the rollout of %s/%s is %s, want %s", taskType, identifier, got.Rollout.State, state)
		}
	}
}

// A person handles a halted rollout with forms alone: sees who failed, has it run again
// there, and resumes it, so that the task is DONE and nobody was forgiven.
func TestHaltedRolloutWithoutJavaScript(t *testing.T) {
	t.Parallel()
	mended := filepath.Join(t.TempDir(), "mended")
	b := open(t, `TASKER_TASK_TYPES=[{name: program, handler: exec, settings: {command: [test, -e, "`+mended+`"]}}]`)
	b.roll("program", "r", client.NewRollout{Batch: 1}, "HALTED")
	const path = "tasks/program/r"
	for _, list := range []string{"", "tasks", "rollouts", "rollouts?waiting=true"} {
		b.want(b.get(list), http.StatusOK, "program/r", "HALTED", "bad endpoints: 1 of 2", "1 failed, 1 in later waves of 2")
	}
	b.want(b.get(""), http.StatusOK, "Rollouts that wait for a person")
	page := b.want(b.get(path), http.StatusOK, "HALTED", "bad endpoints: 1 of 2; the rollout halts at 1", "1 failed, 1 in later waves of 2",
		`<a href="tasks/program/r/results/console1">console1</a>`, "Resume, and forgive 1 endpoint", "UNOPENED", "tasker resume program/r")
	if strings.Contains(page.body, "Pause this task") || strings.Contains(page.body, "Paused by") {
		t.Error("a halted rollout can be paused, or is said to be")
	}
	if n := strings.Count(page.body, `action="`+path+`/resume"`); n != 1 {
		t.Errorf("%d forms resume it, want the one that says whom that forgives", n)
	}
	before := b.fields(page, path+"/resume")

	if err := os.WriteFile(mended, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	form := b.fields(page, path+"/retry/plan")
	form.Set("class", "failed")
	plan := b.want(b.post(path+"/retry/plan", form), http.StatusOK, "Retry on 1 endpoint?", "console1")
	page = b.want(b.follow(b.post(path+"/retry", b.fields(plan, path+"/retry"))), http.StatusOK, "HALTED", "nobody is forgiven")
	// The first form would forgive whom nobody has to forgive any more.
	b.want(b.post(path+"/resume", before), http.StatusConflict, "rollout changed meanwhile", "nothing was done")
	form = b.fields(page, path+"/resume")
	form.Set("reason", "disk <cleaned>")
	b.want(b.follow(b.post(path+"/resume", form)), http.StatusOK, "program/r")
	b.until("program", "r", tasker.Done)
	if got := b.rolled("program", "r", "DONE"); len(got.Forgiven)+len(got.Bad) > 0 {
		t.Errorf("%+v", got)
	}
	page = b.want(b.get(path), http.StatusOK, "all 2 done", "all endpoints have ended", "ENDED")
	if strings.Contains(page.body, "Promote") || strings.Contains(page.body, "rollout</span>") {
		t.Error("a rollout that has ended can be promoted")
	}
	b.want(b.get("rollouts"), http.StatusOK, "No task has a rollout that has not ended")
	b.want(b.get("rollouts?waiting=true"), http.StatusOK, "No rollout waits for a person")
	if page := b.want(b.get(""), http.StatusOK); strings.Contains(page.body, "program/r") && strings.Contains(page.body, "HALTED") {
		t.Error("the first page still asks for a person")
	}
}

// A form that says nothing of what the person saw does nothing to a halted rollout, which
// would forgive. One that does forgives, by name.
func TestForgive(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.roll("backup", "b1", client.NewRollout{Batch: 1}, "HALTED")
	const path = "tasks/backup/b1"
	form := b.fields(b.get(path), path+"/resume")
	for _, verb := range []string{"resume", "promote"} {
		for _, seen := range []string{"", strings.Replace(form.Get("seen"), "HALTED", "RUNNING", 1)} {
			page := b.want(b.post(path+"/"+verb, url.Values{"seen": {seen}}), http.StatusConflict, "rollout changed meanwhile")
			if !strings.Contains(page.body, `data-events=""`) || strings.Contains(page.body, " data-poll") {
				t.Error("a page that cannot be asked for again calls itself live")
			}
		}
	}
	if got := b.rolled("backup", "b1", "HALTED"); len(got.Forgiven) > 0 {
		t.Errorf("forgiven: %v", got.Forgiven)
	}
	b.want(b.follow(b.post(path+"/resume", form)), http.StatusOK, "Forgiven", "console1")
	b.until("backup", "b1", tasker.Failed)
	if got := b.rolled("backup", "b1", "DONE"); len(got.Forgiven) != 1 {
		t.Errorf("forgiven: %v", got.Forgiven)
	}
}

// A wave that waits is approved with the form that says which, unless the rollout is
// another one by then.
func TestApprove(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.roll("worker", "w1", client.NewRollout{Batch: 1, Approve: true}, "WAITING_APPROVAL")
	const path = "tasks/worker/w1"
	b.want(b.get(""), http.StatusOK, "Rollouts that wait for a person", "worker/w1", "WAITING_APPROVAL")
	page := b.want(b.get(path), http.StatusOK, "wave 2, of 1 endpoint, waits for an approval", "waits for it", "Approve wave 2", "tasker approve worker/w1")
	if strings.Contains(page.body, "Retry…") {
		t.Error("endpoints whose wave is not open can be retried")
	}
	before := b.fields(page, path+"/approve")
	pause := b.fields(page, path+"/pause")
	pause.Set("reason", "lunch")
	page = b.want(b.follow(b.post(path+"/pause", pause)), http.StatusOK, "PAUSED", "nothing starts until somebody resumes it", "lunch")
	if strings.Contains(page.body, "Pause this task") || strings.Contains(page.body, "Approve wave") {
		t.Error("a paused rollout can be paused or approved")
	}
	b.want(b.post(path+"/approve", before), http.StatusConflict, "rollout changed meanwhile")
	page = b.want(b.follow(b.post(path+"/resume", b.fields(page, path+"/resume"))), http.StatusOK, "WAITING_APPROVAL")
	form := b.fields(page, path+"/approve")
	for _, wave := range []string{"", "0", "x", "7"} {
		wrong := url.Values{"seen": form["seen"], "wave": {wave}}
		b.want(b.post(path+"/approve", wrong), http.StatusUnprocessableEntity, `role="alert"`)
	}
	b.rolled("worker", "w1", "WAITING_APPROVAL")
	b.want(b.follow(b.post(path+"/approve", form)), http.StatusOK, "worker/w1")
	b.until("worker", "w1", tasker.Done)
	b.want(b.post(path+"/approve", form), http.StatusConflict, `role="alert"`)
}

func TestPromote(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.roll("worker", "w1", client.NewRollout{Batch: 1, Pause: "100h"}, "SOAKING")
	const path = "tasks/worker/w1"
	page := b.want(b.get(path), http.StatusOK, "wave 1 of 2 has ended: the next one opens in 4 d 3 h", `data-stamp="SENT 2 1 1 0 0 0 SOAKING 1"`)
	b.want(b.follow(b.post(path+"/promote", b.fields(page, path+"/promote"))), http.StatusOK, "worker/w1")
	b.until("worker", "w1", tasker.Done)
	b.run("sleep", "s1", map[string]float64{"seconds": 3600}, tasker.Sent)
	b.want(b.post("tasks/sleep/s1/promote", url.Values{}), http.StatusConflict, "no rollout")
}

// Of people who press the same button at the same moment one is heard, and the others are
// told how it is.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.roll("worker", "w1", client.NewRollout{Batch: 1, Approve: true}, "WAITING_APPROVAL")
	b.schedule("nightly", client.NewSchedule{Cron: "30 12 * * *"})
	for form, told := range map[string]string{
		"tasks/worker/w1/approve":   "rollout changed meanwhile: it is ",
		"schedules/nightly/trigger": "fired or was triggered meanwhile: its latest slot is ",
	} {
		page, _, _ := strings.Cut(form, "/approve")
		page, _, _ = strings.Cut(page, "/trigger")
		fields := b.fields(b.get(page), form)
		answers := make([]answer, 4)
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() { answers[i] = b.post(form, fields) })
		}
		group.Wait()
		heard := 0
		for _, a := range answers {
			if a.status == http.StatusSeeOther {
				heard++
				continue
			}
			b.want(a, http.StatusConflict, told, "nothing was done")
		}
		if heard != 1 {
			t.Errorf("%s: %d were heard", form, heard)
		}
	}
	b.until("worker", "w1", tasker.Done)
}
