package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Remove is that of a Remover which finds one open task.
func (s *fakeStore) Remove(_ context.Context, name string) (tasker.Removal, int, bool, error) {
	defer s.begin("Remove")()
	if s.err != nil {
		return tasker.Removal{}, 0, false, s.err
	}
	return tasker.Removal{Endpoint: name, TaskTypes: []string{"worker"}, Time: s.now}, 1, name == "consuming", nil
}

func TestRemoveEndpoint(t *testing.T) {
	h := newHarness(t)
	h.do(t, http.MethodDelete, "/v1/endpoints/console1", nil).want(t, http.StatusOK)
	h.do(t, http.MethodDelete, "/v1/endpoints/consuming", nil).want(t, http.StatusAccepted)
	h.do(t, http.MethodDelete, "/v1/endpoints/any", nil).want(t, http.StatusNotFound)
	h.do(t, http.MethodDelete, "/v1/endpoints/console1?force=1", nil).want(t, http.StatusUnprocessableEntity)
	h.do(t, http.MethodDelete, "/v1/endpoints/console1?%zz", nil).want(t, http.StatusBadRequest)
	h.get(t, "/v1/endpoints/console1").want(t, http.StatusMethodNotAllowed)
	for code, status := range map[tasker.Code]int{tasker.NotFound: 404, tasker.Conflict: 409, tasker.Unavailable: 503} {
		h.store.err = tasker.Errorf(code, "no")
		h.do(t, http.MethodDelete, "/v1/endpoints/console1", nil).want(t, status)
	}
}

// One endpoint that does not come back keeps every later task for all from its
// end, until it is removed.
func TestRemovedEndpointLetsTasksEnd(t *testing.T) {
	s := newSystem(t)
	arrived := s.subscribe(t, "console1")
	register := func() {
		t.Helper()
		gone := tasker.Endpoint{Name: "byhand", TaskTypes: []string{"worker"}, Manager: strings.Repeat("0", 26), Host: "h7", PID: 4711}
		if holder, err := s.db.Endpoints.AcquireEndpoint(t.Context(), gone, time.Minute); err != nil || holder != nil {
			t.Fatal(holder, err)
		}
	}
	register()
	alive := s.do(t, http.MethodDelete, "/v1/endpoints/byhand", nil)
	alive.want(t, http.StatusConflict)
	if detail := alive.problem(t).Detail; !strings.Contains(detail, "host h7, pid 4711") {
		t.Errorf("the detail does not name the manager: %s", detail)
	}
	if err := s.db.Endpoints.ReleaseEndpoints(t.Context(), strings.Repeat("0", 26), []string{"byhand"}); err != nil {
		t.Fatal(err)
	}
	s.post(t, "/worker", `{"identifier":"all"}`).want(t, http.StatusCreated)
	message := <-arrived
	key := tasker.ResultKey{TaskID: message.TaskID, Endpoint: "console1"}
	if _, err := s.db.Inbox.ReceiveResults(t.Context(), []ledger.Incoming{{Manager: managerID, ResultKey: key, Identifier: "all", Type: "worker", State: tasker.Running}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Attempts.FinishAttempts(t.Context(), []ledger.End{{ResultKey: key, Attempt: 1, State: tasker.ResultDone}}); err != nil {
		t.Fatal(err)
	}
	if body := string(s.get(t, "/worker/all").body); !strings.Contains(body, `"missing":["byhand"]`) {
		t.Fatalf("the endpoint is not missing: %s", body)
	}
	s.do(t, http.MethodDelete, "/v1/endpoints/byhand", nil).want(t, http.StatusOK)
	body := string(s.get(t, "/worker/all").body)
	if !strings.Contains(body, `"status":"DONE"`) || !strings.Contains(body, `"removed_endpoints":["byhand"]`) || !strings.Contains(body, `"missing":[]`) {
		t.Errorf("after the removal: %s", body)
	}
	s.get(t, "/worker/all/events").want(t, http.StatusOK) // to the contract
	if err := s.broker.DeleteQueue(t.Context(), broker.Queue{TaskType: "worker", Endpoint: "console1"}); err == nil {
		t.Error("a queue with a consumer was deleted")
	}
}
