package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	b := open(t)
	for _, path := range []string{"types/worker", "endpoints/console1"} {
		form := b.fields(b.want(b.get(path), http.StatusOK), path+"/pause")
		form.Set("reason", "new <disk>")
		form.Set("until", "never ever")
		b.want(b.post(path+"/pause", form), http.StatusUnprocessableEntity)
		form.Set("until", "1h")
		a := b.want(b.follow(b.post(path+"/pause", form)), http.StatusOK, "by anonymous", "new &lt;disk&gt;")
		b.fields(a, path+"/resume")
		if a := b.want(b.follow(b.post(path+"/resume", url.Values{})), http.StatusOK); strings.Contains(a.body, "new &lt;disk&gt;") {
			t.Errorf("%s is still held", path)
		}
	}
	b.run("sleep", "s1", map[string]float64{"seconds": 3600}, tasker.Sent)
	b.want(b.follow(b.post("tasks/sleep/s1/pause", url.Values{"reason": {"wait"}})), http.StatusOK, "Paused by anonymous", "wait")
	if a := b.want(b.follow(b.post("tasks/sleep/s1/resume", url.Values{})), http.StatusOK); strings.Contains(a.body, "Paused by") {
		t.Error("the task is still paused")
	}
}
