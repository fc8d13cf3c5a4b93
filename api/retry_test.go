package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// Retry is that of a Retrier which retries 2,500 endpoints, and finds one that runs.
func (s *fakeStore) Retry(ctx context.Context, request tasker.RetryRequest) (tasker.RetryOutcome, error) {
	task, err := s.FindTask(ctx, request.Type, request.Identifier)
	if err != nil {
		return tasker.RetryOutcome{}, err
	}
	defer s.begin("Retry")()
	s.retried = append(s.retried, request)
	switch {
	case slices.Contains(request.Endpoints, "unknown"):
		return tasker.RetryOutcome{}, tasker.FieldErrorf("/endpoints", "task %q is not for endpoint %q", task.Identifier, "unknown")
	case task.Status == tasker.Canceling:
		return tasker.RetryOutcome{}, tasker.Errorf(tasker.Conflict, "task %q is CANCELING", task.Identifier)
	}
	task.Status = tasker.Sent
	many := make([]string, 2500)
	for i := range many {
		many[i] = fmt.Sprintf("e%04d", i)
	}
	return tasker.RetryOutcome{
		Task: task, Round: 2, Retried: many,
		NotRetried: []tasker.NotRetried{{Reason: tasker.NotRetriedRunning, Endpoints: []string{"console1"}}},
	}, nil
}

// A retry answers which endpoints run the task again, and at most 1,000 names of each
// set.
func TestRetryTask(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	path := "/worker/" + identifier + "/retry"
	for body, query := range map[string]string{
		`{"endpoints":"failed"}`:                               "",
		`{"endpoints":["b","a"],"reason":"mended"}`:            "?dry_run=true",
		`{"expires":"1h","endpoints":"unfinished"}`:            "?dry_run=false",
		`{"endpoints":"all","expires":"2100-01-01T00:00:00Z"}`: "",
	} {
		a := h.do(t, http.MethodPost, path+query, []byte(body), "Content-Type", "application/json", "Idempotency-Key", "k 1")
		a.want(t, http.StatusOK)
		got := decode[client.Retried](t, a.body)
		if got.Status != tasker.Sent || got.Round != 2 || got.Retried.Count != 2500 || len(got.Retried.Endpoints) != 1000 ||
			len(got.NotRetried) != 1 || got.NotRetried[0].Count != 1 || got.NotRetried[0].Reason != "running" {
			t.Errorf("%s: %.300s", body, a.body)
		}
	}
	want := map[string]bool{}
	for _, r := range []tasker.RetryRequest{
		{Class: tasker.RetryFailed},
		{Endpoints: []string{"a", "b"}, Reason: "mended", DryRun: true},
		{Class: tasker.RetryUnfinished, Expires: tasker.Expiry{After: time.Hour}},
		{Class: tasker.RetryAll, Expires: tasker.Expiry{At: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}},
	} {
		r.Type, r.Identifier, r.By, r.Key = "worker", identifier, "anonymous", "k 1"
		want[fmt.Sprintf("%+v", r)] = true
	}
	for _, r := range h.store.retried {
		if !want[fmt.Sprintf("%+v", r)] {
			t.Errorf("asked for %+v", r)
		}
	}
}

// What is wrong with a retry is named, and nothing is done.
func TestRetryBadInput(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	path := "/worker/" + identifier + "/retry"
	const choices = `use "failed", "missing", "unfinished" or "all", or a list of names`
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		``:                                  {http.StatusBadRequest, "empty body"},
		`{`:                                 {http.StatusBadRequest, "not JSON"},
		`{}`:                                {http.StatusUnprocessableEntity, "endpoints is missing: " + choices},
		`{"endpoints":null}`:                {http.StatusUnprocessableEntity, choices},
		`{"endpoints":"broken"}`:            {http.StatusUnprocessableEntity, choices},
		`{"endpoints":7}`:                   {http.StatusUnprocessableEntity, choices},
		`{"endpoints":[]}`:                  {http.StatusUnprocessableEntity, choices},
		`{"endpoints":["a","a"]}`:           {http.StatusUnprocessableEntity, "duplicate endpoint"},
		`{"endpoints":"all","reason":7}`:    {http.StatusUnprocessableEntity, "must be a string"},
		`{"endpoints":"all","expires":"x"}`: {http.StatusUnprocessableEntity, "invalid expires"},
		`{"endpoints":"all","why":"x"}`:     {http.StatusUnprocessableEntity, "use endpoints, reason, expires"},
	} {
		a := h.do(t, http.MethodPost, path, []byte(body), "Content-Type", "application/json")
		if a.want(t, want.status); !strings.Contains(strings.ReplaceAll(string(a.body), `\"`, `"`), want.text) {
			t.Errorf("%.40s: %s", body, a.body)
		}
	}
	valid := []byte(`{"endpoints":"all"}`)
	for _, key := range []string{"", "tab\tkey", "\xff", strings.Repeat("x", tasker.MaxKey+1)} {
		h.do(t, http.MethodPost, path, valid, "Content-Type", "application/json", "Idempotency-Key", key).want(t, http.StatusBadRequest)
	}
	h.do(t, http.MethodPost, path+"?dry_run=yes", valid, "Content-Type", "application/json").want(t, http.StatusUnprocessableEntity)
	h.do(t, http.MethodPost, path, valid, "Content-Type", "text/plain").want(t, http.StatusUnsupportedMediaType)
	long := []byte(`{"reason":"` + strings.Repeat("x", 5000) + `"}`)
	h.do(t, http.MethodPost, path, long, "Content-Type", "application/json").want(t, http.StatusRequestEntityTooLarge)
	if len(h.store.retried) > 0 {
		t.Errorf("retried %+v", h.store.retried)
	}
	h.do(t, http.MethodPost, path, []byte(`{"endpoints":["unknown"]}`), "Content-Type", "application/json").
		want(t, http.StatusUnprocessableEntity)
	h.do(t, http.MethodPost, "/worker/none/retry", valid, "Content-Type", "application/json").want(t, http.StatusNotFound)
	h.store.update(identifier, func(task *tasker.Task) { task.Status = tasker.Canceling })
	h.do(t, http.MethodPost, path, valid, "Content-Type", "application/json").want(t, http.StatusConflict)
}

// A task may have its own retry policy, in every form that a type may have it.
func TestRetryPolicyOfATask(t *testing.T) {
	h := newHarness(t)
	for policy, want := range map[string]string{
		`"60 600 3600"`: `{"intervals":[60,600,3600]}`,
		`[1, "1m30s"]`:  `{"intervals":[1,90]}`,
		`{"attempts": 3, "policy": "exponential", "interval": "10s"}`: `{"intervals":[10,20],"jitter":true}`,
		`[]`:   `{"intervals":[]}`,
		`null`: ``,
	} {
		a := h.post(t, "/worker", `{"retry": `+policy+`}`)
		a.want(t, http.StatusCreated)
		if got := decode[struct{ Retry json.RawMessage }](t, a.body).Retry; string(got) != want {
			t.Errorf("%s: %s, want %s", policy, got, want)
		}
	}
	for policy, want := range map[string]string{
		`"60 x"`:         `"field":"/retry"`,
		`[1, "x"]`:       `"field":"/retry/1"`,
		`{"attempts":0}`: `"field":"/retry/attempts"`,
		`{"atempts":2}`:  `did you mean`,
		`true`:           `must be a list of intervals`,
	} {
		a := h.post(t, "/worker", `{"retry": `+policy+`}`)
		if a.want(t, http.StatusUnprocessableEntity); !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s", policy, a.body)
		}
	}
}
