package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/wire"
)

func largePayload(n int) json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`)
}

// A list has the payloads only where they are asked for.
func TestListWithoutPayloads(t *testing.T) {
	h := newHarness(t)
	h.postTask(t, "worker", "a")
	for query, want := range map[string]bool{"": false, "?payload=false": false, "?payload=true": true} {
		a := h.get(t, "/worker"+query)
		a.want(t, http.StatusOK)
		if got := strings.Contains(string(a.body), `"payload":{"big":"payload"}`); got != want {
			t.Errorf("GET /worker%s: with payload %t, want %t: %s", query, got, want, a.body)
		}
	}
	h.get(t, "/worker?payload=yes").want(t, http.StatusUnprocessableEntity)
	// The one task has it always.
	if a := h.get(t, "/worker/a"); !strings.Contains(string(a.body), `"payload":{"big":"payload"}`) {
		t.Errorf("the task is %s", a.body)
	}
}

// The answer of a GET is the same however large its payloads are, and is read
// when there is room for it.
func TestLargeAnswer(t *testing.T) {
	h := running(t, fast)
	h.finish(console1, tasker.ResultDone)
	h.finish(console2, tasker.ResultDone)
	path := "/worker/" + identifier
	for _, n := range []int{10, 100 << 10, 300 << 10} {
		h.store.change(func() {
			for i := range h.store.results {
				h.store.results[i].Payload = largePayload(n)
			}
		})
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		got := decode[struct {
			Task             struct{ Status string }
			TaskResponseList []struct{ Payload string }
			Summary          struct{ Finished int }
		}](t, a.body)
		if len(got.TaskResponseList) != 2 || len(got.TaskResponseList[1].Payload) != n-2 || got.Summary.Finished != 2 || got.Task.Status != "DONE" {
			t.Errorf("with payloads of %d bytes: %.300s", n, a.body)
		}
	}
	h.server.SetMaxWait(10 * time.Millisecond)
	leave, err := h.server.TakePayloads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.get(t, path).want(t, http.StatusServiceUnavailable)
	h.get(t, "/worker").want(t, http.StatusServiceUnavailable)
	leave()
	h.get(t, path).want(t, http.StatusOK)
}

// A live view reads payloads once: with the snapshot, or when a result changes.
func TestTaskEventsReadPayloadsOnce(t *testing.T) {
	h := running(t, fast)
	h.finish(console1, tasker.ResultDone)
	const n = 100 << 10
	h.store.change(func() { h.store.results[0].Payload = largePayload(n) })
	f := h.follow(t, eventsPath)
	f.until("snapshot")
	looks := func(more int) {
		t.Helper()
		want := h.store.called("Results") + more
		waitFor(t, func() bool { return h.store.called("Results") >= want })
	}
	payloads := func() (bytes int) {
		h.store.change(func() { bytes = h.store.payloads })
		return bytes
	}
	looks(10)
	if got := payloads(); got != n {
		t.Errorf("after 10 looks %d bytes of payloads were read, want %d", got, n)
	}
	h.finish(console2, tasker.ResultDone)
	got := f.until("end")
	if payloads() > n+100 {
		t.Errorf("%d bytes of payloads were read, want those of the result that changed", payloads()-n)
	}
	if !strings.Contains(fmt.Sprint(got), `{"well":true}`) {
		t.Errorf("the payload was not sent: %v", got)
	}
}

// A result's end is sent before its task's end.
func TestAllEventsTellResultsFirst(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(fast)
	h.broker.listening = make(chan chan<- []byte, 10)
	h.server.SetStreams(api.StreamSettings{Poll: 5 * time.Millisecond, Pause: time.Second})
	for i := range 2 {
		h.postTask(t, "worker", fmt.Sprint("t", i))
	}
	h.store.change(func() {
		h.store.now = h.store.now.Add(time.Hour)
		for i := range 2 {
			h.store.results = append(h.store.results, tasker.TaskResult{TaskID: int64(i + 1), Endpoint: "console1", Attempt: 1, State: tasker.ResultDone})
		}
	})
	f := h.follow(t, "/v1/events")
	f.until("snapshot")
	events := <-h.broker.listening
	for i := range 2 {
		id := fmt.Sprint("t", i)
		looks := h.store.called("ChangedTasks")
		h.setStatus(id, tasker.Done)
		// The status is read before the hint comes.
		waitFor(t, func() bool { return h.store.called("ChangedTasks") > looks })
		events <- live(t, wire.LiveChange{TaskID: int64(i + 1), Type: "worker", Identifier: id, Endpoint: "console1", Attempt: 1, State: tasker.ResultDone})
		f.want(t, "result "+id+" DONE")
		f.want(t, "task "+id+" DONE")
	}
}

// A change that becomes visible long after its time is still sent.
func TestAllEventsLate(t *testing.T) {
	settings := fast
	settings.Late, settings.LateScan = time.Minute, 10*time.Millisecond
	h := newHarness(t)
	h.server.SetStreams(settings)
	for _, id := range []string{"a", "b", "c"} {
		h.postTask(t, "worker", id)
	}
	h.store.change(func() { h.store.now = h.store.now.Add(time.Hour) })
	h.setStatus("c", tasker.Incomplete) // a moment before somebody comes
	f := h.follow(t, "/v1/events")
	f.until("snapshot")
	h.setStatus("a", tasker.Incomplete)
	f.want(t, "task a INCOMPLETE")
	h.store.update("b", func(task *tasker.Task) {
		task.Status, task.LastModifiedTime = tasker.Incomplete, h.store.now.Add(-50*time.Second)
	})
	f.want(t, "task b INCOMPLETE")
	h.setStatus("a", tasker.Done)
	f.want(t, "task a DONE")
}
