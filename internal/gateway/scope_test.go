package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// valid has a valid request of each operation, about an endpoint.
func valid(endpoint string) map[string]protocol.Request {
	scope := protocol.Scope{Endpoint: endpoint}
	return map[string]protocol.Request{
		protocol.OpRegister:  &protocol.Register{Scope: scope, Manager: "m", TaskTypes: []string{"job"}},
		protocol.OpHeartbeat: &protocol.Heartbeat{Scope: scope, Manager: "m"},
		protocol.OpRelease:   &protocol.Release{Scope: scope, Manager: "m"},
		protocol.OpForget:    &protocol.Forget{Scope: scope, Manager: "m"},
		protocol.OpReturn:    &protocol.Return{Scope: scope},
		protocol.OpReceive: &protocol.Receive{Scope: scope, Manager: "m", Messages: []protocol.Message{
			{TaskID: 1, Type: "job", Identifier: "one", State: tasker.Received},
		}},
		protocol.OpUnreceived:  &protocol.Unreceived{Scope: scope, TaskTypes: []string{"job"}, Limit: 1},
		protocol.OpTake:        &protocol.Take{Scope: scope, Manager: "m", TaskType: "job", Limit: 1},
		protocol.OpPayload:     &protocol.Payload{Scope: scope, TaskID: 1},
		protocol.OpStart:       &protocol.Start{Scope: scope, Manager: "m", Starts: []protocol.Started{{TaskID: 1}}},
		protocol.OpGiveBack:    &protocol.GiveBack{Scope: scope, Manager: "m", Starts: []protocol.Started{{TaskID: 1, Attempt: 1}}},
		protocol.OpResume:      &protocol.Resume{Scope: scope, Manager: "m", Starts: []protocol.Started{{TaskID: 1}}},
		protocol.OpFinish:      &protocol.Finish{Scope: scope, Ends: []protocol.End{{TaskID: 1, Attempt: 1, State: tasker.ResultDone}}},
		protocol.OpAttempts:    &protocol.Attempts{Scope: scope, TaskID: 1},
		protocol.OpAwaitReboot: &protocol.AwaitReboot{Scope: scope, TaskID: 1, Attempt: 1, Step: 2, Boot: "b"},
		protocol.OpUnfinished:  &protocol.Unfinished{Scope: scope, Manager: "m"},
		protocol.OpInterrupted: &protocol.Interrupted{Scope: scope, Manager: "m", Limit: 1},
		protocol.OpHolds:       &protocol.Holds{Scope: scope},
		protocol.OpCanceled:    &protocol.Canceled{Scope: scope, Manager: "m", Limit: 1},
		protocol.OpWaiting:     &protocol.Waiting{Scope: scope, TaskType: "job", Limit: 1},
		protocol.OpDue:         &protocol.Due{Scope: scope, TaskType: "job", Limit: 1},
		protocol.OpNextRetry:   &protocol.NextRetry{Scope: scope, TaskType: "job"},
		protocol.OpLive:        &protocol.Live{Scope: scope, Updates: []protocol.LiveUpdate{{TaskID: 1, Attempt: 1}}},
	}
}

// post sends a body to a handler with the token of endpoint a.
func post(t *testing.T, h http.Handler, operation, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, protocol.Prefix+operation, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer token-a")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// No request about another endpoint than the token's reaches an operation, and there
// is one place in a request that names an endpoint.
func TestNoRequestAboutAnotherEndpoint(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	// Without stores: an operation that is reached panics.
	guarded := gateway.NewServer(gateway.Config{}, gateway.Stores{
		Endpoints: reached{}, Results: reached{}, Attempts: reached{}, Work: reached{}, Live: reached{}, Database: s.DB,
	}, byName{}, &notes{}, testLog(t))
	run(t, guarded)
	open := newServer(t, s, gateway.Config{})
	own, others := valid("a"), valid("b")
	for operation, empty := range guarded.Requests() {
		request := own[operation]
		if request == nil {
			t.Errorf("%s: give an example of its request", operation)
			continue
		}
		if got, want := reflect.TypeOf(request), reflect.TypeOf(empty); got != want {
			t.Errorf("%s: the example is a %v, want %v", operation, got, want)
		}
		if places := endpointsIn(reflect.TypeOf(request).Elem(), nil, ""); len(places) != 1 || places[0] != "/endpoint" {
			t.Errorf("%s: names endpoints at %v, want /endpoint only", operation, places)
		}
		if w := post(t, open.Handler(), operation, string(jsonx.MustEncode(request))); w.Code != http.StatusOK && w.Code != http.StatusNotFound {
			t.Errorf("%s about its own endpoint: %d %s", operation, w.Code, w.Body)
		}
		body := string(jsonx.MustEncode(others[operation]))
		for name, body := range map[string]string{
			"another":           body,
			"none":              strings.Replace(body, `"endpoint":"b"`, `"endpoint":""`, 1),
			"in capital":        strings.Replace(body, `"endpoint":"b"`, `"endpoint":"A"`, 1),
			"the second of two": strings.Replace(body, `"endpoint":"b"`, `"endpoint":"a","Endpoint":"b"`, 1),
		} {
			w := post(t, guarded.Handler(), operation, body)
			if w.Code != http.StatusForbidden && (w.Code != http.StatusUnprocessableEntity || name != "the second of two") {
				t.Errorf("%s about %s: %d %s", operation, name, w.Code, w.Body)
			}
		}
	}
}

// attempts has another name than its method, to be embedded.
type attempts = gateway.Attempts

// reached panics whenever it is used.
type reached struct {
	gateway.Endpoints
	gateway.Results
	attempts
	gateway.Work
	gateway.Live
}

func (reached) CommandMark(context.Context) (string, error) { return "", nil }

func (reached) CountSeen(context.Context, time.Time) (int, error) { return 0, nil }

// endpointsIn returns where values of a type name endpoints, by the names of fields.
func endpointsIn(typ reflect.Type, above []reflect.Type, at string) (places []string) {
	if slices.Contains(above, typ) {
		return nil
	}
	above = append(above, typ)
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return endpointsIn(typ.Elem(), above, at)
	case reflect.Map:
		return append(endpointsIn(typ.Key(), above, at), endpointsIn(typ.Elem(), above, at)...)
	case reflect.Struct:
		for field := range typ.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			below := at + "/" + name
			if field.Anonymous && name == "" {
				below = at
			}
			if strings.Contains(strings.ToLower(name+field.Name), "endpoint") {
				places = append(places, below)
				continue
			}
			places = append(places, endpointsIn(field.Type, above, below)...)
		}
	}
	return places
}

// Answers hold only tasks of the endpoint that asks.
func TestAnswersAreOfTheEndpoint(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	server := newServer(t, s, gateway.Config{})
	a, b := newClient(t, server, "a"), newClient(t, server, "b")
	task, _, err := s.Tasks.CreateTask(t.Context(), tasker.Task{
		Type: "job", Identifier: "secret", Payload: []byte(`"` + strings.Repeat("s", 100<<10) + `"`), Endpoints: []string{"b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	acquire(t, a, "a", "m1")
	acquire(t, b, "b", "m2")
	recordings, err := a.Results.ReceiveResults(t.Context(), messages("a", "m1", task))
	if err != nil || recordings[0].Task.ID != 0 || strings.Contains(recordings[0].Reason, "secret") {
		t.Errorf("%+v, %v", recordings, err)
	}
	if payload, err := a.Results.TaskPayload(t.Context(), task.ID); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("%d bytes, %v", len(payload), err)
	}
	if _, err := b.Results.ReceiveResults(t.Context(), messages("b", "m2", task)); err != nil {
		t.Fatal(err)
	}
	if payload, err := b.Results.TaskPayload(t.Context(), task.ID); err != nil || len(payload) != 100<<10+2 {
		t.Errorf("%d bytes, %v", len(payload), err)
	}
	if payload, err := a.Results.TaskPayload(t.Context(), task.ID); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("%d bytes, %v", len(payload), err)
	}
	if attempts, err := a.Attempts.Attempts(t.Context(), task.ID, "a"); tasker.CodeOf(err) != tasker.NotFound && len(attempts) != 0 {
		t.Errorf("%+v, %v", attempts, err)
	}
}
