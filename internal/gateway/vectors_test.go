package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
)

// vectors is docs/protocol/gateway-v1.vectors.json.
type vectors struct {
	Description string     `json:"description"`
	Scenarios   []scenario `json:"scenarios"`
}

// scenario is a sequence of exchanges with a server whose database has the tasks.
type scenario struct {
	Name      string       `json:"name"`
	Tasks     []vectorTask `json:"tasks"`
	Exchanges []exchange   `json:"exchanges"`
}

type vectorTask struct {
	ID         int64    `json:"id"`
	Type       string   `json:"type"`
	Identifier string   `json:"identifier"`
	Payload    string   `json:"payload"`
	Endpoints  []string `json:"endpoints"`
	// Deliver is as in a POST.
	Deliver tasker.Places `json:"deliver"`
}

type exchange struct {
	Comment   string            `json:"comment,omitempty"`
	Operation string            `json:"operation"`
	Method    string            `json:"method,omitempty"`  // POST if absent
	Token     *string           `json:"token,omitempty"`   // of node1 if absent; none if empty
	Headers   map[string]string `json:"headers,omitempty"` // in addition
	Request   json.RawMessage   `json:"request,omitempty"`
	Body      *string           `json:"body,omitempty"` // in place of Request, if that is no JSON
	Status    int               `json:"status"`
	Answer    json.RawMessage   `json:"answer"` // what the answer has at least
}

// TestVectors plays the vectors against the server, and checks requests and answers
// against the document.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../../docs/protocol/gateway-v1.vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectors
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	answered := map[string]bool{}
	for _, s := range file.Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			server := newVectorServer(t, s.Tasks)
			for i, e := range s.Exchanges {
				play(t, server, fmt.Sprintf("%d %s", i, e.Operation), e)
				if e.Status == http.StatusOK {
					answered[e.Operation] = true
				}
			}
		})
	}
	for path := range document(t).Paths.Map() {
		if operation := strings.TrimPrefix(path, "/"); !answered[operation] {
			t.Errorf("no vector has an answer to %s", operation)
		}
	}
}

// newVectorServer returns a server whose database has the tasks.
func newVectorServer(t *testing.T, tasks []vectorTask) *gateway.Server {
	t.Helper()
	s := newStore(t)
	for _, task := range tasks {
		if err := s.Tasks.CountFrom(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		slices.Sort(task.Endpoints)
		stored, _, err := s.Tasks.CreateTask(t.Context(), tasker.Task{
			Type: task.Type, Identifier: task.Identifier, Payload: json.RawMessage(task.Payload), Endpoints: task.Endpoints,
			Deliver: task.Deliver,
		})
		if err != nil || stored.ID != task.ID {
			t.Fatalf("create task %d: got %d, %v", task.ID, stored.ID, err)
		}
	}
	server := gateway.NewServer(gateway.Config{}, storesOf(s), byName{}, &notes{}, testLog(t))
	run(t, server)
	return server
}

// play sends a request and compares the answer.
func play(t *testing.T, server *gateway.Server, name string, e exchange) {
	t.Helper()
	body := string(e.Request)
	if e.Body != nil {
		body = *e.Body
	}
	method := http.MethodPost
	if e.Method != "" {
		method = e.Method
	}
	r := httptest.NewRequestWithContext(t.Context(), method, protocol.Prefix+e.Operation, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(protocol.HeaderRevision, "1")
	if e.Token == nil {
		r.Header.Set("Authorization", "Bearer token-node1")
	} else if *e.Token != "" {
		r.Header.Set("Authorization", "Bearer "+*e.Token)
	}
	for key, value := range e.Headers {
		r.Header.Set(key, value)
	}
	recorder := httptest.NewRecorder()
	server.Handler().ServeHTTP(recorder, r)
	answer, _ := io.ReadAll(recorder.Body)
	if recorder.Code != e.Status {
		t.Errorf("%s: got %d, want %d: %s", name, recorder.Code, e.Status, answer)
		return
	}
	if diff := missing(t, e.Answer, answer); diff != "" {
		t.Errorf("%s: wanted (-) and got (+):\n%s\n%s", name, diff, answer)
	}
	for _, header := range []string{protocol.HeaderRevision, protocol.HeaderTime, protocol.HeaderTook} {
		if recorder.Header().Get(header) == "" {
			t.Errorf("%s: no header %s", name, header)
		}
	}
	checkDocumented(t, name, e, answer)
}

// checkDocumented checks an accepted request and any answer against the document.
func checkDocumented(t *testing.T, name string, e exchange, answer []byte) {
	t.Helper()
	doc := document(t)
	schema := doc.Components.Schemas["Problem"]
	if e.Status == http.StatusOK {
		post := doc.Paths.Value("/" + e.Operation).Post
		schema = post.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema
		request := post.RequestBody.Value.Content.Get("application/json").Schema
		if err := request.Value.VisitJSON(decodeAny(t, e.Request)); err != nil {
			t.Errorf("%s: an accepted request violates the document: %v", name, err)
		}
	}
	if err := schema.Value.VisitJSON(decodeAny(t, answer)); err != nil {
		t.Errorf("%s: the answer violates the document: %v", name, err)
	}
}

func decodeAny(t *testing.T, data []byte) (value any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return value
}

// missing returns how an answer differs from what it must have at least.
func missing(t *testing.T, want, got []byte) string {
	t.Helper()
	return cmp.Diff(decodeAny(t, want), atLeast(decodeAny(t, want), decodeAny(t, got)))
}

// atLeast returns got without the members that want does not have.
func atLeast(want, got any) any {
	switch want := want.(type) {
	case map[string]any:
		if got, ok := got.(map[string]any); ok {
			kept := map[string]any{}
			for name := range want {
				if value, ok := got[name]; ok {
					kept[name] = atLeast(want[name], value)
				}
			}
			return kept
		}
	case []any:
		if got, ok := got.([]any); ok && len(got) == len(want) {
			kept := make([]any, len(got))
			for i := range got {
				kept[i] = atLeast(want[i], got[i])
			}
			return kept
		}
	}
	return got
}
