package web_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/taskerhq/tasker"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("backup", "b1", nil, tasker.Failed)
	page := b.want(b.get("tasks/backup/b1"), http.StatusOK, "Retry…")
	form := b.fields(page, "tasks/backup/b1/retry/plan")
	form.Set("class", "failed")
	form.Set("reason", "disk cleaned")
	a := b.want(b.post("tasks/backup/b1/retry/plan", form), http.StatusOK, "Retry on 2 endpoints?", "console[1-2]")
	confirm := b.fields(a, "tasks/backup/b1/retry")
	confirm.Set("typed", "1")
	b.want(b.post("tasks/backup/b1/retry", confirm), http.StatusUnprocessableEntity, "nothing was done")
	if task, err := b.api.Summary(t.Context(), "backup", "b1"); err != nil || task.Task.Round > 1 {
		t.Errorf("it was retried: %+v, %v", task.Task, err)
	}
	confirm.Set("typed", "2")
	b.want(b.follow(b.post("tasks/backup/b1/retry", confirm)), http.StatusOK)
	b.until("backup", "b1", tasker.Failed)
	task, err := b.api.Summary(t.Context(), "backup", "b1")
	if err != nil || task.Task.Round != 2 {
		t.Errorf("round %d: %v", task.Task.Round, err)
	}
	b.follow(b.post("tasks/backup/b1/retry", confirm)) // twice is once
	if task, err := b.api.Summary(t.Context(), "backup", "b1"); err != nil || task.Task.Round != 2 {
		t.Errorf("the same form again began round %d: %v", task.Task.Round, err)
	}
	b.run("worker", "w1", nil, tasker.Done)
	b.want(b.post("tasks/worker/w1/retry/plan", url.Values{"class": {"failed"}}), http.StatusConflict, "w1")
}
