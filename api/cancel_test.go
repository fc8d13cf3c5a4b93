package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// Cancel is that of a Canceler which finds a task that runs at console1.
func (s *fakeStore) Cancel(ctx context.Context, request tasker.CancelRequest) (tasker.CancelOutcome, error) {
	task, err := s.FindTask(ctx, request.Type, request.Identifier)
	if err != nil {
		return tasker.CancelOutcome{}, err
	}
	defer s.begin("Cancel")()
	s.canceled = append(s.canceled, request)
	switch {
	case task.Status.Final():
		return tasker.CancelOutcome{}, tasker.Errorf(tasker.Conflict, "task %q has ended", task.Identifier)
	case slices.Contains(request.Endpoints, "unknown"):
		return tasker.CancelOutcome{}, tasker.FieldErrorf("/endpoints", "task %q is not for endpoint %q", task.Identifier, "unknown")
	}
	task.Status = tasker.Canceling
	task.Cancel = &tasker.Cancellation{By: request.By, At: s.now, Reason: request.Reason, All: request.Endpoints == nil}
	many := make([]string, 2500)
	for i := range many {
		many[i] = fmt.Sprintf("e%04d", i)
	}
	return tasker.CancelOutcome{Task: task, Stopped: many, Stopping: []string{"console1"}}, nil
}

// A cancellation answers the four sets, and at most 1,000 names of each.
func TestCancelTask(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	path := "/worker/" + identifier + "/cancel"
	for _, body := range []string{"", `{}`, `{"reason":"wrong file","endpoints":["console2","console1"]}`} {
		a := h.do(t, http.MethodPost, path, []byte(body), "Content-Type", "application/json")
		a.want(t, http.StatusOK)
		got := decode[client.Canceled](t, a.body)
		if got.Status != tasker.Canceling || got.Cancel == nil || got.Cancel.By != "anonymous" || got.Stopped.Count != 2500 ||
			len(got.Stopped.Endpoints) != 1000 || !slices.Equal(got.Stopping.Endpoints, []string{"console1"}) ||
			got.Unreachable.Endpoints == nil || got.FinishedBefore.Count != 0 {
			t.Errorf("%s: %.300s", body, a.body)
		}
	}
	want := []tasker.CancelRequest{
		{Type: "worker", Identifier: identifier, By: "anonymous"},
		{Type: "worker", Identifier: identifier, By: "anonymous"},
		{
			Type: "worker", Identifier: identifier, By: "anonymous", Reason: "wrong file",
			Endpoints: []string{"console1", "console2"},
		},
	}
	if fmt.Sprintf("%+v", h.store.canceled) != fmt.Sprintf("%+v", want) {
		t.Errorf("asked for %+v", h.store.canceled)
	}
	// Without a body no content type is needed.
	h.do(t, http.MethodPost, path, nil).want(t, http.StatusOK)
}

// What is wrong with a cancellation is named, and nothing is done.
func TestCancelBadInput(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	long := strings.Repeat("x", tasker.MaxReason+1)
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{`:                         {http.StatusBadRequest, "not JSON"},
		`[]`:                        {http.StatusUnprocessableEntity, "must be a JSON object"},
		`{"endpoints":[]}`:          {http.StatusUnprocessableEntity, "name at least one"},
		`{"endpoints":[ ]}`:         {http.StatusUnprocessableEntity, "name at least one"},
		`{"endpoints":null}`:        {http.StatusUnprocessableEntity, "name at least one"},
		`{"endpoints":["a","a"]}`:   {http.StatusUnprocessableEntity, "duplicate endpoint"},
		`{"endpoints":"a"}`:         {http.StatusUnprocessableEntity, "array of names"},
		`{"reason":7}`:              {http.StatusUnprocessableEntity, "must be a string"},
		`{"reason":"` + long + `"}`: {http.StatusUnprocessableEntity, "limit is 1024"},
		`{"why":"x"}`:               {http.StatusUnprocessableEntity, "use endpoints, reason"},
		`{"reason":"","reason":""}`: {http.StatusUnprocessableEntity, "duplicate field"},
	} {
		a := h.do(t, http.MethodPost, "/worker/"+identifier+"/cancel", []byte(body), "Content-Type", "application/json")
		if a.want(t, want.status); !strings.Contains(string(a.body), want.text) {
			t.Errorf("%.40s: %s", body, a.body)
		}
	}
	if len(h.store.canceled) > 0 {
		t.Errorf("canceled %+v", h.store.canceled)
	}
	path := "/worker/" + identifier + "/cancel"
	h.do(t, http.MethodPost, path, []byte("{}"), "Content-Type", "text/plain").want(t, http.StatusUnsupportedMediaType)
	h.do(t, http.MethodPost, path, []byte(`{"reason":"`+strings.Repeat("x", 5000)+`"}`), "Content-Type", "application/json").
		want(t, http.StatusRequestEntityTooLarge)
	h.do(t, http.MethodPost, path, []byte(`{"endpoints":["unknown"]}`), "Content-Type", "application/json").
		want(t, http.StatusUnprocessableEntity)
	h.do(t, http.MethodPost, "/worker/none/cancel", nil).want(t, http.StatusNotFound)
	h.store.update(identifier, func(task *tasker.Task) { task.Status = tasker.Done })
	h.do(t, http.MethodPost, path, nil).want(t, http.StatusConflict)
}
