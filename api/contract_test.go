package api_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
)

// contract checks responses against openapi.yaml, and records which of the documented
// ones the tests have seen.
type contract struct {
	doc    *openapi3.T
	router routers.Router
	mu     sync.Mutex
	seen   map[string]bool // "GET /readyz 503"
}

var theContract = sync.OnceValues(func() (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("load openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("validate openapi.yaml: %w", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("route openapi.yaml: %w", err)
	}
	return &contract{doc: doc, router: router, seen: make(map[string]bool)}, nil
})

// TestMain fails the package if a goroutine leaks, and, if all tests ran, if the
// document has a response that no test has seen.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(wholeRun{m})
}

type wholeRun struct{ m *testing.M }

func (w wholeRun) Run() int {
	code := w.m.Run()
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.bench", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return code
		}
	}
	c, err := theContract()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if missing := c.untested(); len(missing) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: openapi.yaml documents answers that no test has seen:\n  %s\n", strings.Join(missing, "\n  "))
		return 1
	}
	return code
}

func (c *contract) untested() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	for path, item := range c.doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if key := method + " " + path + " " + status; !c.seen[key] {
					missing = append(missing, key)
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// check checks one request and its response against the document.
func (c *contract) check(req *http.Request, reqBody []byte, resp *http.Response, body []byte) error {
	if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := c.checkProblem(req, resp, body); err != nil {
			return err
		}
	}
	lookup := req.Clone(context.Background())
	if req.Method == http.MethodHead {
		lookup.Method = http.MethodGet
	}
	route, params, err := c.router.FindRoute(lookup)
	switch {
	case errors.Is(err, routers.ErrMethodNotAllowed):
		if resp.StatusCode == http.StatusNotFound && strings.HasPrefix(req.URL.Path, "/v1/") {
			return nil // the document's router takes v1 for a task type
		}
		if resp.StatusCode != http.StatusMethodNotAllowed && resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("a method that is not documented got %d", resp.StatusCode)
		}
		return nil
	case errors.Is(err, routers.ErrPathNotFound):
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("a path that is not documented got %d", resp.StatusCode)
		}
		return nil
	case err != nil:
		return fmt.Errorf("find the route: %w", err)
	}
	lookup.Body = io.NopCloser(bytes.NewReader(reqBody))
	in := &openapi3filter.RequestValidationInput{
		Request: lookup, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
			IncludeResponseStatus: true,
			ExcludeResponseBody:   req.Method == http.MethodHead || isStream(resp), // see checkEvent
		},
	}
	if resp.StatusCode < 400 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return fmt.Errorf("an accepted request violates the document: %w", err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: in.Options,
	}
	out.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		return fmt.Errorf("the response violates the document: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[route.Method+" "+route.Path+" "+strconv.Itoa(resp.StatusCode)] = true
	return nil
}

// checkProblem checks all errors, also for undocumented paths.
func (c *contract) checkProblem(req *http.Request, resp *http.Response, body []byte) error {
	if req.Method == http.MethodHead {
		return nil
	}
	var p map[string]any
	if err := unmarshal(body, &p); err != nil {
		return err
	}
	if err := c.doc.Components.Schemas["Problem"].Value.VisitJSON(p); err != nil {
		return fmt.Errorf("the problem violates the document: %w", err)
	}
	for name, want := range map[string]any{
		"status": float64(resp.StatusCode), "instance": req.URL.EscapedPath(),
		"request_id": resp.Header.Get("X-Request-Id"), "type": "urn:tasker:problem:" + p["code"].(string),
	} {
		if p[name] != want {
			return fmt.Errorf("the problem's %s is %v, want %v", name, p[name], want)
		}
	}
	return nil
}

// Document and code have the same paths and methods.
func TestDocumentAndRoutesAgree(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string][]string)
	for path, item := range c.doc.Paths.Map() {
		for method := range item.Operations() {
			documented[path] = append(documented[path], method)
		}
		slices.Sort(documented[path])
	}
	routes := newHarness(t).server.Operations()
	for path := range routes {
		slices.Sort(routes[path])
	}
	if diff := cmp.Diff(documented, routes); diff != "" {
		t.Errorf("document (-) and routes (+) differ:\n%s", diff)
	}
}

func TestDocumentKnowsTheStates(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	enum := func(schema string) (values []string) {
		for _, v := range c.doc.Components.Schemas[schema].Value.Enum {
			values = append(values, v.(string))
		}
		return values
	}
	var statuses, states []string
	for _, s := range tasker.TaskStatuses() {
		statuses = append(statuses, string(s))
	}
	for _, s := range tasker.ResultStates() {
		states = append(states, string(s))
	}
	if diff := cmp.Diff(statuses, enum("TaskStatus")); diff != "" {
		t.Errorf("task statuses (-) and document (+) differ:\n%s", diff)
	}
	if diff := cmp.Diff(states, enum("ResultState")); diff != "" {
		t.Errorf("result states (-) and document (+) differ:\n%s", diff)
	}
}

func TestDocumentIsServed(t *testing.T) {
	h := newHarness(t)
	a := h.get(t, "/openapi.yaml")
	a.want(t, http.StatusOK)
	if a.header.Get("Content-Type") != "application/yaml" || !bytes.Equal(a.body, api.OpenAPI()) {
		t.Errorf("the document is not served verbatim as application/yaml: %v, %d bytes", a.header, len(a.body))
	}
	tag := a.header.Get("ETag")
	for _, value := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		b := h.do(t, http.MethodGet, "/openapi.yaml", nil, "If-None-Match", value)
		b.want(t, http.StatusNotModified)
		if len(b.body) != 0 {
			t.Errorf("If-None-Match: %s: a body of %d bytes", value, len(b.body))
		}
	}
	h.do(t, http.MethodGet, "/openapi.yaml", nil, "If-None-Match", `"other"`).want(t, http.StatusOK)
}
