package client_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// roundTripper answers without a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOptions(t *testing.T) {
	t.Parallel()
	sent := 0
	away := roundTripper(func(r *http.Request) (*http.Response, error) {
		sent++
		if r.URL.String() != "http://api/v1/tasks?limit=1" || r.Header.Get("Authorization") != "Bearer s3cret" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		return &http.Response{
			StatusCode: http.StatusServiceUnavailable, Status: "503", Header: http.Header{"Retry-After": {"60"}},
			Body: io.NopCloser(strings.NewReader("")),
		}, nil
	})
	c, err := client.New("http://api", "s3cret", client.WithRoundTripper(away), client.WithTries(1))
	if err != nil {
		t.Fatal(err)
	}
	err = c.Get(t.Context(), url.Values{"limit": {"1"}}, nil, "v1", "tasks")
	if tasker.CodeOf(err) != tasker.Unavailable || sent != 1 {
		t.Errorf("sent %d times: %v", sent, err)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	answers := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"tasks":[{"id":7}],"next":"7"}`))}, nil
	})
	c, err := client.New("http://api", "", client.WithRoundTripper(answers))
	if err != nil {
		t.Fatal(err)
	}
	var page client.TaskPage[client.TaskView]
	if err := c.Get(t.Context(), nil, &page, "v1", "tasks"); err != nil || len(page.Tasks) != 1 || page.Tasks[0].ID != 7 || *page.Next != "7" {
		t.Errorf("%+v, %v", page, err)
	}
}
