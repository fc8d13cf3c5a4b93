package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/wire"
)

// asked does a request in the background.
func (h *harness) asked(t *testing.T, method, path, body string, headers ...string) <-chan answer {
	t.Helper()
	answered := make(chan answer, 1)
	go func() {
		answered <- h.do(t, method, path, []byte(body), append(headers, "Content-Type", "application/json")...)
	}()
	return answered
}

func awaited(t *testing.T, answered <-chan answer) answer {
	t.Helper()
	select {
	case a := <-answered:
		return a
	case <-time.After(5 * time.Minute):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

// A GET that prefers to wait is answered when the task has ended, which a hint tells.
func TestWaitsForTheEnd(t *testing.T) {
	for path, reads := range map[string]int{"/worker/" + identifier: 3, "/worker/" + identifier + "/summary": 4} {
		t.Run(path, func(t *testing.T) {
			h := running(t, api.StreamSettings{Poll: time.Hour})
			h.broker.listening = make(chan chan<- []byte, 10)
			answered := h.asked(t, http.MethodGet, path, "", "Prefer", `respond-async, Wait="30"; x=y`, "Prefer", "wait=1")
			waitFor(t, func() bool { return h.store.called("Summary") == 1 })
			h.finish(console1, tasker.ResultDone)
			h.finish(console2, tasker.ResultDone)
			change := wire.LiveChange{TaskID: 1, Type: "worker", Identifier: identifier, Endpoint: "console2", Attempt: 1, State: tasker.ResultDone}
			<-h.broker.listening <- live(t, change)
			a := awaited(t, answered)
			a.want(t, http.StatusOK)
			if got := decode[taskAnswer](t, a.body); got.Task.Status != "DONE" || a.header.Get("Preference-Applied") != "wait=30" {
				t.Errorf("%v %s", a.header, a.body)
			}
			if n := h.store.called("Summary"); n != reads { // fewer if only the time was over
				t.Errorf("%d reads of the summary, want %d", n, reads)
			}
			waitFor(t, func() bool { n, listening := h.server.Streams(); return n == 0 && !listening })
		})
	}
}

// A POST waits, too, and still says that it created the task. Nobody else waits
// meanwhile.
func TestPostWaits(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(api.StreamSettings{Poll: time.Millisecond})
	answered := h.asked(t, http.MethodPost, "/worker", newTask, "Prefer", "wait=30")
	waitFor(t, func() bool { n, _ := h.server.Streams(); return n == 1 })
	if running, waiting := h.server.Posts(); running+waiting > 0 {
		t.Errorf("it holds a slot: %d run, %d wait", running, waiting)
	}
	h.store.change(func() {
		for _, key := range []tasker.ResultKey{console1, console2} {
			h.store.results = append(h.store.results, tasker.TaskResult{TaskID: 1, Endpoint: key.Endpoint, State: tasker.ResultFailed, Attempt: 1, Errnr: 3})
		}
	})
	a := awaited(t, answered)
	a.want(t, http.StatusCreated)
	if got := decode[task](t, a.body); got.Status != "FAILED" || got.Payload == nil || a.header.Get("Location") == "" ||
		a.header.Get("Preference-Applied") != "wait=30" {
		t.Errorf("%v %s", a.header, a.body)
	}
	again := h.do(t, http.MethodPost, "/worker", []byte(newTask), "Content-Type", "application/json", "Prefer", "wait=30")
	again.want(t, http.StatusOK)
	if got := decode[task](t, again.body); got.Status != "FAILED" {
		t.Errorf("%s", again.body)
	}
}

// The wait ends after the preferred time, although the task goes on.
func TestWaitEnds(t *testing.T) {
	h := running(t, api.StreamSettings{Poll: time.Hour})
	a := h.get(t, "/worker/"+identifier, "Prefer", "wait=1")
	a.want(t, http.StatusOK)
	if got := decode[taskAnswer](t, a.body); got.Task.Status != "SENT" || a.header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("%v %s", a.header, a.body)
	}
}

// Who cannot wait is answered at once.
func TestWaitsAreBounded(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.MaxStreams = 1 })
	h.server.SetStreams(fast)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	h.follow(t, eventsPath).until("snapshot")
	a := h.get(t, "/worker/"+identifier, "Prefer", "wait=30")
	a.want(t, http.StatusOK)
	if a.header.Get("Preference-Applied") != "" {
		t.Errorf("%v", a.header)
	}
}

func TestInvalidWait(t *testing.T) {
	h := newHarness(t)
	for _, value := range []string{"wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "a, wait=99999999999"} {
		a := h.do(t, http.MethodPost, "/worker", []byte(newTask), "Content-Type", "application/json", "Prefer", value)
		a.want(t, http.StatusBadRequest)
		if p := a.problem(t); !strings.Contains(p.Detail, "seconds") {
			t.Errorf("%s: %s", value, a.body)
		}
	}
	if n := h.store.called("CreateTask"); n > 0 {
		t.Errorf("%d tasks were stored", n)
	}
	h.get(t, "/worker/unknown", "Prefer", "wait=30").want(t, http.StatusNotFound)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	for _, value := range []string{"wait=0", "handling=lenient", "awaits=x"} {
		a := h.get(t, "/worker/"+identifier, "Prefer", value)
		a.want(t, http.StatusOK)
		if a.header.Get("Preference-Applied") != "" {
			t.Errorf("%s: %v", value, a.header)
		}
	}
}

// A stop of the server answers those that wait.
func TestStopEndsWaits(t *testing.T) {
	s := startServer(t, running(t, api.StreamSettings{Poll: time.Hour}))
	answered := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/worker/"+identifier), nil)
		if err != nil {
			answered <- err
			return
		}
		req.Header.Set("Prefer", "wait=30")
		resp, err := s.client.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	waitFor(t, func() bool { return s.store.called("Summary") == 1 })
	s.stop()
	if err := <-s.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
