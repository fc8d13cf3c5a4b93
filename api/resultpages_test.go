package api_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// many stores a task for 250 endpoints, of which the first 120 have received it,
// and every tenth of these has failed. It returns their names.
func many(t *testing.T, h *harness) []string { return thousands(t, h, 250, 120) }

// thousands is many for n endpoints, of which some have received it.
func thousands(t *testing.T, h *harness, n, received int) (endpoints []string) {
	t.Helper()
	for i := range n {
		endpoints = append(endpoints, fmt.Sprintf("e%03d", i))
	}
	slices.Sort(endpoints)
	h.post(t, "/worker", `{"identifier":"many"}`).want(t, http.StatusCreated)
	h.store.update("many", func(t *tasker.Task) { t.Expected = endpoints })
	for i, name := range endpoints[:received] {
		state := tasker.ResultDone
		if i%10 == 0 {
			state = tasker.ResultFailed
		}
		h.store.results = append(h.store.results, tasker.TaskResult{
			ID: int64(i + 1), TaskID: 1, Endpoint: name, State: state, Attempt: 1, StartTime: h.store.now, LastModifiedTime: h.store.now,
		})
	}
	return endpoints
}

// walk reads all pages of a list and returns what each has.
func walk[P any, T any](t *testing.T, h *harness, path string, of func(P) ([]T, *string)) (all []T, pages int) {
	t.Helper()
	for path != "" {
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		part, next := of(decode[P](t, a.body))
		all = append(all, part...)
		link, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), `>; rel="next"`)
		if (next == nil) != (link == "") || next != nil && !strings.Contains(link, "cursor="+*next) {
			t.Fatalf("next %v, Link %q", next, link)
		}
		path = link
		if pages++; pages > 50 {
			t.Fatal("the pages do not end")
		}
	}
	return all, pages
}

func TestResultPages(t *testing.T) {
	h := newHarness(t)
	endpoints := many(t, h)
	results := func(p client.ResultPage) ([]tasker.TaskResult, *string) { return p.Results, p.Next }
	name := func(r tasker.TaskResult) string { return r.Endpoint }

	all, pages := walk(t, h, "/worker/many/results?limit=50", results)
	if got := mapped(all, name); !slices.Equal(got, endpoints[:120]) || pages != 3 {
		t.Errorf("%d pages have %v", pages, got)
	}
	failed, pages := walk(t, h, "/worker/many/results?limit=5&state=FAILED", results)
	if got := mapped(failed, name); len(got) != 12 || got[11] != "e110" || pages != 3 {
		t.Errorf("%d pages of those that failed have %v", pages, got)
	}
	if a := h.get(t, "/worker/many/results?state=RUNNING"); string(a.body) != `{"results":[],"next":null}`+"\n" {
		t.Errorf("an empty page is %s", a.body)
	}
	missing, pages := walk(t, h, "/worker/many/missing?limit=100", func(p client.MissingPage) ([]string, *string) { return p.Endpoints, p.Next })
	if !slices.Equal(missing, endpoints[120:]) || pages != 2 {
		t.Errorf("%d pages of those that are missing have %v", pages, missing)
	}
}

func mapped[T, U any](list []T, of func(T) U) []U {
	out := make([]U, len(list))
	for i := range list {
		out[i] = of(list[i])
	}
	return out
}

// A summary has numbers, the first of the missing endpoints, and the status that
// the results imply.
func TestTaskSummary(t *testing.T) {
	h := newHarness(t)
	endpoints := many(t, h)
	got := decode[client.TaskSummary](t, h.get(t, "/worker/many/summary").body)
	s := got.Summary
	if s.Expected != 250 || s.Received != 120 || s.Finished != 120 || s.Failed != 12 || !slices.Equal(s.Missing, endpoints[120:220]) ||
		got.Task.Status != tasker.Sent {
		t.Errorf("%+v", got)
	}
	for i, name := range endpoints[120:] {
		h.store.results = append(h.store.results, tasker.TaskResult{ID: int64(200 + i), TaskID: 1, Endpoint: name, State: tasker.ResultDone, Attempt: 1})
	}
	if got := decode[client.TaskSummary](t, h.get(t, "/worker/many/summary").body); got.Task.Status != tasker.Failed || len(got.Summary.Missing) != 0 {
		t.Errorf("%+v", got)
	}
	if h.store.called("Aggregate") != 1 || h.store.called("Results") != 0 {
		t.Errorf("the store was asked to %v", h.store.calls)
	}
}

// Answers are compressed for who asks, unless they are short.
func TestCompressed(t *testing.T) {
	h := newHarness(t)
	many(t, h)
	plain := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer plain.CloseIdleConnections()
	ask := func(path, accept string) (http.Header, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.http.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if accept != "" {
			req.Header.Set("Accept-Encoding", accept)
		}
		resp, err := plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 500 {
			t.Fatal(resp.Status, err)
		}
		return resp.Header, body
	}
	const long, short = "/worker/many", "/worker/none"
	_, want := ask(long, "")
	for accept, compressed := range map[string]bool{
		"": false, "gzip": true, "br, gzip;q=0.5": true, "GZIP": true, "gzip;q=0": false, "identity": false, "gzip; q=0.0": false,
	} {
		header, body := ask(long, accept)
		if got := header.Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("Accept-Encoding %q: %v", accept, header)
			continue
		}
		if compressed {
			unpacked, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if len(body) > len(want)/2 || header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%d bytes are compressed to %d, %v", len(want), len(body), header)
			}
			if body, err = io.ReadAll(unpacked); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, want) {
			t.Errorf("Accept-Encoding %q: the answer is %.100s", accept, body)
		}
	}
	if header, body := ask(short, "gzip"); header.Get("Content-Encoding") != "" || !bytes.HasPrefix(body, []byte("{")) {
		t.Errorf("a short answer is %v", header)
	}
}

func TestNoSuchPages(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"summary", "groups", "missing", "results", "rollout"} {
		h.get(t, "/worker/nosuch/"+name).want(t, http.StatusNotFound)
		h.get(t, "/worker/nosuch/"+name+"?%zz").want(t, http.StatusBadRequest)
	}
}

// A task of thousands of endpoints is answered like any other, in pages.
func TestThousandsOfResults(t *testing.T) {
	h := newHarness(t)
	endpoints := thousands(t, h, 1700, 1234)
	a := h.get(t, "/worker/many")
	a.want(t, http.StatusOK)
	got := decode[client.TaskAnswer](t, a.body)
	if names := mapped(got.Results, func(r tasker.TaskResult) string { return r.Endpoint }); !slices.Equal(names, endpoints[:1234]) {
		t.Errorf("there are %d results", len(names))
	}
	if s := got.Summary; s.Expected != 1700 || s.Received != 1234 || !slices.Equal(s.Missing, endpoints[1234:]) || got.Task.Status != tasker.Sent {
		t.Errorf("the task is %s, %d of %d", got.Task.Status, s.Received, s.Expected)
	}
	if h.store.called("Results") != 0 || h.store.called("ResultPage") != 3 {
		t.Errorf("the store was asked to %v", h.store.calls)
	}
	// A later page fails: the answer must not look complete.
	h.store.failPage = 3
	if resp, err := http.Get(h.http.URL + "/worker/many"); err == nil { //nolint:noctx // a test
		_, err = io.ReadAll(resp.Body)
		if _ = resp.Body.Close(); err == nil {
			t.Error("an answer that was broken off looks complete")
		}
	}
}
